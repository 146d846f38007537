"""
Tests of ``./manage.py lms republish_program_certificate_events`` with a real Credentials API, bus, worker and consumer.
"""

import itertools
import signal
import sqlite3
import subprocess
import threading
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
import requests

from testbed.run.inputs import AWARDED, REVOKED
from testbed.servers.processes import PATIENCE, Processes, free_port, wait_for
from testbed.site.large import insert
from testbed.site.site import Site
from testbed.tests.conftest import leftovers

pytestmark = pytest.mark.e2e

COMMAND = "republish_program_certificate_events"
STATUS = {AWARDED: "awarded", REVOKED: "revoked"}
COURSE_RUN = "course-v1:OpenX+R1+2026"
PROGRAM = {
    "uuid": "2c7e4b7c-0f0d-4f57-9b8e-2f6f3f0d0001",
    "title": "Repair",
    "type": "MicroMasters",
    "status": "active",
    "courses": [{"course_runs": [{"key": COURSE_RUN, "type": "verified"}]}],
}
# A certificate of each, in Credentials.
RECORDS = {f"learner{number}": "awarded" if number % 3 else "revoked" for number in range(6)}
# Those whose course certificate changed lately.
CHANGED = ["learner0", "learner1", "learner2"]
READ = {"method": "GET", "path": "credentials/", "type": "program"}


class RepublishSite(Site):
    """A site with learners who have course certificates, and whose program certificates each test stores."""

    def __init__(self, processes, directory):
        super().__init__(processes, directory)
        self.start_for_commands([PROGRAM])
        self.do("create_courses", keys=[COURSE_RUN])
        now = datetime.now(UTC).replace(tzinfo=None)
        rows = [
            (
                self.do("create_learner", username=username, email=f"{username}@example.com", name=username),
                *(COURSE_RUN, "downloadable", "verified"),
                str(now if username in CHANGED else now - timedelta(days=9)),
            )
            for username in RECORDS
        ]
        with closing(sqlite3.connect(directory / "lms.sqlite3")) as database:  # without signals
            columns = "user_id course_id status mode modified_date"
            insert(database, "certificates_generatedcertificate", columns, rows)
        self.start_consumer()
        self.seen = 0

    def store(self, records=None, program_uuid=PROGRAM["uuid"]):
        """Store certificates in Credentials: username -> status."""
        now = datetime.now(UTC).isoformat()
        self.credentials.store(
            {"username": username, "program_uuid": program_uuid, "status": status, "modified": now}
            for username, status in (records or RECORDS).items()
        )

    def new_events(self):
        """Return what the consumer has received since the test began."""
        self.wait_for_events(len(self.stream()))
        return self.events()[self.seen :]

    def count_lists(self):
        """Count the requests for certificates so far."""
        return sum(request["method"] == "GET" for request in self.credentials.requests())


class Run:
    """A run of the command that goes on while the test does."""

    numbers = itertools.count(1)

    def __init__(self, site, *argv):
        self.processes = site.processes
        self.process = site.processes.python(
            f"run{next(self.numbers)}",
            *("manage.py", "lms", COMMAND, *argv),
            env=site.env(),
            stdout=subprocess.PIPE,
            text=True,
            # Whoever starts the tests in a shell's background has them ignore it, and so all that they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    @property
    def log(self):
        """str: what it has logged so far."""
        return self.process.log.read_text(encoding="utf-8", errors="replace")

    def end(self):
        """Wait for its end; return its exit code and what it printed."""
        output, _ = self.process.popen.communicate(timeout=PATIENCE)
        self.processes.forget(self.process)
        return self.process.popen.returncode, output


def summary(learners, awarded=0, revoked=0, failed=0):
    """Return the command's last line."""
    return f"learners={learners} awarded={awarded} revoked={revoked} skipped=0 failed={failed} bus_errors=0\n"


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory):
    """Start the site that all tests here use, one after the other."""
    directory = tmp_path_factory.mktemp("republish")
    with Processes(directory) as processes:
        yield RepublishSite(processes, directory)
    assert not leftovers(directory)


@pytest.fixture
def site(shared_site):
    """The site, with no certificate in Credentials."""
    shared_site.seen = len(shared_site.events())
    assert len(shared_site.stream()) == shared_site.seen
    running = list(shared_site.processes.running)
    yield shared_site
    # Also if the test ended early.
    for process in set(shared_site.processes.running) - set(running):
        process.kill()
        shared_site.processes.forget(process)
    shared_site.credentials.clear()
    if stored := {item["username"] for item in shared_site.credentials.credentials() if item["type"] == "program"}:
        shared_site.credentials.delete(stored)
    shared_site.wait_for_events(len(shared_site.stream()))


def known(events):
    """Return what a consumer knows that keeps the event with the latest time: username -> status."""
    return {
        event["data"]["program_certificate"]["user"]["pii"]["username"]: STATUS[event["type"]]
        for event in sorted(events, key=lambda event: datetime.fromisoformat(event["time"]))
    }


def test_selected_learners_reach_the_consumer(site):
    site.store()
    assert Run(site, "--all", "--dry-run").end() == (0, "learners=6\n")
    assert site.new_events() == []

    # From an API that is not always well.
    site.credentials.fault("status", status=503, headers={"Retry-After": "86400"}, times=2, **READ)
    lists, began = site.count_lists(), datetime.now(UTC)
    run = Run(site, "--start-date", "4h")
    code, output = run.end()
    ended = datetime.now(UTC)
    assert code == 0, run.log
    assert output.startswith("start=")
    assert output.endswith(summary(3, awarded=2, revoked=1))
    assert (site.credentials.applied(), site.count_lists() - lists) == (2, 3 + 2)
    assert known(site.new_events()) == {username: RECORDS[username] for username in CHANGED}
    assert all(began <= datetime.fromisoformat(event["time"]) <= ended for event in site.new_events())
    assert "example.com" not in run.log

    # What comes twice changes nothing.
    assert Run(site, "--program-uuids", PROGRAM["uuid"]).end() == (0, summary(6, awarded=4, revoked=2))
    assert known(site.new_events()) == RECORDS
    assert len(site.new_events()) == 3 + 6


def test_credentials_that_accepts_a_connection_and_never_answers(site):
    site.store()
    site.credentials.fault("hold_before", times=1, **READ)
    run = Run(site, "--usernames", "learner1", "learner2")
    wait_for(lambda: site.credentials.held() == 1, "the run to ask", alive=[run.process])
    began = time.monotonic()
    code, output = run.end()

    assert time.monotonic() - began < 35
    assert (code, output) == (1, summary(2, awarded=1, failed=1))
    assert known(site.new_events()) == {"learner2": "awarded"}


@contextmanager
def gateway_without_query(url):
    """Have a gateway in front of Credentials that drops the query string, and give its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            headers = {"Authorization": self.headers["Authorization"]}
            answer = requests.get(url + self.path.partition("?")[0], headers=headers, timeout=PATIENCE)
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.end_headers()
            self.wfile.write(answer.content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_gateway_that_drops_the_query_string(site):
    site.store({f"learner{number}": "awarded" for number in range(41)})
    lists, url = site.count_lists(), site.credentials_url
    with gateway_without_query(url) as site.credentials_url:
        site.configure()
        run = Run(site, "--usernames", "learner1")
        code, output = run.end()
    site.credentials_url = url
    site.configure()

    assert (code, output) == (1, summary(1, failed=1))
    assert "certificates of other learners" in run.log
    assert site.count_lists() - lists == 1
    assert site.new_events() == []


def test_answer_that_is_not_a_page(site):
    site.credentials.fault("status", status=200, body={}, times=1, **READ)
    run = Run(site, "--usernames", "learner1")

    assert run.end() == (1, summary(1, failed=1))
    assert "ValueError" in run.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_between_two_learners(site, number):
    site.store()
    site.credentials.fault("delay", seconds=0, times=1, **READ)  # the first passes
    site.credentials.fault("hold_before", times=1, **READ)
    run = Run(site, "--all")
    wait_for(lambda: site.credentials.held() == 1, "the run to ask about the second", alive=[run.process])
    run.process.popen.send_signal(number)
    code, output = run.end()

    assert (code, output) == (1, summary(2, revoked=1))
    assert "run the command again" in run.log
    assert "Traceback" not in run.log
    assert known(site.new_events()) == {"learner0": "revoked"}


def test_tasks_of_a_worker(site):
    site.store()
    assert Run(site, "--all", "--enqueue").end() == (0, "enqueued=6\n")
    assert site.new_events() == []

    # An error of Credentials is retried.
    site.credentials.fault("status", status=500, times=1, **READ)
    site.start_worker(TESTBED_RETRY_DIVISOR="100")
    site.wait_for_tasks()

    assert known(site.new_events()) == RECORDS
    assert len(site.new_events()) == len(RECORDS)
    assert [task["state"] for task in site.tasks()].count("retried") == 1


def test_broker_that_is_unreachable(site):
    config = site.config_file.read_text(encoding="utf-8")
    broker = f"CELERY_BROKER_HOSTNAME: 127.0.0.1:{urlsplit(site.redis_url).port}"
    assert broker in config
    try:
        broken = config.replace(broker, f"CELERY_BROKER_HOSTNAME: 127.0.0.1:{free_port()}")
        site.config_file.write_text(broken, encoding="utf-8")
        run = Run(site, "--usernames", "learner1", "--enqueue")
        code, output = run.end()
    finally:
        site.config_file.write_text(config, encoding="utf-8")

    assert (code, output) == (1, "enqueued=0\n")
    assert "Traceback" not in run.log


@pytest.fixture
def late(site):
    """A learner who has no course certificate yet, and whom Credentials knows."""
    site.do("create_learner", username="late", email="late@example.com", name="Late")
    site.do("enrol", username="late", course_run=COURSE_RUN, mode="verified")
    site.do("open_record", username="late")
    yield "late"
    site.do("delete", username="late")


def test_award_that_is_answered_late(site, late):
    """Credentials stores an award at once and answers it after a revocation. No consumer may keep the award."""

    def stored():
        return [item["status"] for item in site.credentials.credentials() if item["type"] == "program"]

    site.start_worker(TESTBED_RETRY_DIVISOR="100")
    site.credentials.fault("hold", times=1, method="POST", path="credentials/", type="program")
    site.do("certify", username=late, course_run=COURSE_RUN, mode="verified")
    wait_for(lambda: site.credentials.held() == 1, "the award to be held", alive=[site.worker])
    site.do("invalidate", username=late, course_run=COURSE_RUN)
    wait_for(lambda: stored() == ["revoked"], "the revocation", alive=[site.worker])
    wait_for(lambda: len(site.new_events()) == 1, "its event", alive=[site.worker])
    site.credentials.clear()
    site.wait_for_tasks()

    assert [STATUS[event["type"]] for event in site.new_events()] == ["revoked", "awarded"]
    assert known(site.new_events()) == {late: "revoked"}
