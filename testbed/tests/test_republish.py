"""
Tests of ``./manage.py lms republish_program_certificate_events``, with a real Credentials API, bus and consumer.
"""

import itertools
import signal
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from testbed.credentials.client import CredentialsControl
from testbed.inputs import AWARDED, REVOKED, read_programs
from testbed.processes import PATIENCE, Processes, wait_for
from testbed.run import DATA
from testbed.site import Site
from testbed.tests.conftest import leftovers

pytestmark = pytest.mark.e2e

COMMAND = "republish_program_certificate_events"
STATUS = {AWARDED: "awarded", REVOKED: "revoked"}

# More than two pages of 20.
LEARNERS = [f"learner{number}" for number in range(45)]
START = datetime(2026, 11, 1, tzinfo=UTC)
READ = {"method": "GET", "path": "credentials/", "type": "program", "times": 1}


class RepublishSite(Site):
    """A site with learners, whose certificates each test stores and reads in Credentials."""

    def __init__(self, processes, directory):
        super().__init__(processes, directory)
        programs = read_programs(DATA / "programs.json")
        self.program_uuid = programs[0]["uuid"]
        self.start_redis()
        self.start_credentials(programs)
        self.start_discovery(programs)
        self.credentials = CredentialsControl(self.credentials_url)
        self.configure()
        self.manage("migrate", "--verbosity=0")
        self.start_shell()
        self.do("configure", catalog_url=f"{self.discovery_url}/api/v1")
        for username in LEARNERS:
            self.do("create_learner", username=username, email=f"{username}@example.com", name=username)
        self.start_consumer()
        self.seen = 0

    def store(self):
        """Store a certificate of each learner, an hour after the other; return username -> (status, modified)."""
        records = {
            username: ("awarded" if number % 3 else "revoked", START + timedelta(hours=number))
            for number, username in enumerate(LEARNERS)
        }
        self.credentials.store(
            {
                "username": username,
                "program_uuid": self.program_uuid,
                "status": status,
                "modified": modified.isoformat(),
            }
            for username, (status, modified) in records.items()
        )
        return records

    def new_events(self):
        """Return what the consumer has received since the test began."""
        return self.events()[self.seen :]

    def wait_for_new_events(self, count):
        """Wait until the consumer has received so many events since the test began."""
        self.wait_for_events(self.seen + count)


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

    def wait_for_log(self, text):
        """Wait until it has logged a text."""
        wait_for(lambda: text in self.log, f"{text!r} in {self.process.log}", alive=[self.process])

    def end(self):
        """Wait for its end; return its exit code and what it printed."""
        output, _ = self.process.popen.communicate(timeout=PATIENCE)
        self.processes.forget(self.process)
        return self.process.popen.returncode, output


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
    if stored := shared_site.credentials.credentials():
        shared_site.credentials.delete({item["username"] for item in stored})
    shared_site.wait_for_events(len(shared_site.stream()))


def known(events):
    """Return what a consumer knows that keeps the event with the latest time: username -> status."""
    return {
        event["data"]["program_certificate"]["user"]["pii"]["username"]: STATUS[event["type"]]
        for event in sorted(events, key=lambda event: datetime.fromisoformat(event["time"]))
    }


def statuses(records):
    """Return username -> status."""
    return {username: status for username, (status, _modified) in records.items()}


def test_all_pages_reach_the_consumer(site):
    records = site.store()

    run = Run(site, "--all", "--dry-run")
    code, output = run.end()
    assert code == 0
    assert "would_publish_awarded=30 would_publish_revoked=15 " in output
    assert site.new_events() == []

    # Half of them, from an API that is not always well.
    middle = START + timedelta(hours=len(LEARNERS) // 2)
    site.credentials.fault("status", status=429, headers={"Retry-After": "1"}, **READ)
    site.credentials.fault("status", status=503, **READ)
    site.credentials.fault("close", **READ)
    began = datetime.now(UTC)
    run = Run(site, "--start-date", middle.isoformat())
    code, output = run.end()
    ended = datetime.now(UTC)
    expected = statuses({username: record for username, record in records.items() if record[1] >= middle})
    assert (code, site.credentials.applied()) == (0, 3)
    assert f" read=45 not_selected={45 - len(expected)} " in output
    site.wait_for_new_events(len(expected))
    assert known(site.new_events()) == expected
    assert all(began <= datetime.fromisoformat(event["time"]) <= ended for event in site.new_events())
    assert "example.com" not in run.log

    # All of them: what came twice changes nothing.
    run = Run(site, "--all")
    code, output = run.end()
    assert code == 0
    assert " published_awarded=30 published_revoked=15 " in output and "failed=0" in output
    site.wait_for_new_events(len(expected) + len(LEARNERS))
    assert known(site.new_events()) == statuses(records)
    assert len(site.new_events()) == len(expected) + len(LEARNERS)
    assert all(datetime.fromisoformat(event["time"]) > ended for event in site.new_events()[len(expected) :])
    assert "example.com" not in run.log


def test_certificates_deleted_while_the_list_is_read(site):
    records = site.store()
    site.credentials.fault("delay", seconds=0, **READ)  # page 1 passes
    site.credentials.fault("hold_before", **READ)
    run = Run(site, "--all")
    wait_for(lambda: site.credentials.held() == 1, "the run to ask for page 2", alive=[run.process])
    site.wait_for_new_events(20)
    # What is on page 2 moves up onto page 1, which was read.
    deleted = sorted(known(site.new_events()))[:5]
    site.credentials.delete(deleted)
    site.credentials.clear()
    code, output = run.end()

    assert code == 0
    assert "failed=0" in output
    assert run.log.count("moved while it was read") == 1
    site.wait_for_events(len(site.stream()))
    assert known(site.new_events()) == statuses(records)  # a deletion is announced by nobody


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_between_two_pages(site, number):
    records = site.store()
    run = Run(site, "--all", "--delay", "3600")
    run.wait_for_log("up to page 1")
    run.process.popen.send_signal(number)
    code, output = run.end()

    assert code == 1
    assert output.startswith("Program certificates: read=20 not_selected=0 ")
    assert "Run the same command again" in run.log
    assert "Traceback" not in run.log
    site.wait_for_new_events(20)
    assert len(site.new_events()) == 20

    code, output = Run(site, "--all").end()
    assert (code, " read=45 " in output) == (0, True)
    site.wait_for_new_events(20 + 45)
    assert known(site.new_events()) == statuses(records)


def test_unknown_username(site):
    site.store()
    before = site.credentials.requests()
    run = Run(site, "--usernames", LEARNERS[0], "nogzi")

    assert run.end() == (2, "")
    assert "--usernames" in run.log
    assert "nogzi" not in run.log
    assert site.credentials.requests() == before
    assert len(site.stream()) == site.seen


def test_nothing_to_read(site):
    run = Run(site, "--all")
    code, output = run.end()

    assert code == 1
    assert output.startswith("Program certificates: read=0 ")
    assert "Credentials has no such program certificate at all" in run.log


def test_some_lists_are_empty(site):
    [with_one, without] = LEARNERS[:2]
    site.store()
    site.credentials.delete([without])
    run = Run(site, "--usernames", without, with_one)
    code, output = run.end()

    assert (code, " read=1 " in output) == (0, True)
    assert run.log.count("Credentials has no program certificate of user") == 1

    site.credentials.delete([with_one])
    run = Run(site, "--usernames", without, with_one)
    code, output = run.end()

    assert (code, " read=0 " in output) == (1, True)
    assert run.log.count("Credentials has no program certificate of user") == 2
