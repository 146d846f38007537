"""
Tests on a MySQL-protocol server, as every real site has one: it takes usernames for equal that SQLite tells apart, and
it closes connections that are idle.
"""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from testbed import ROOT
from testbed.run.inputs import AWARDED, REVOKED
from testbed.servers import mysql
from testbed.servers.processes import PATIENCE, Processes, wait_for
from testbed.site.large import PROGRAM
from testbed.site.site import Site
from testbed.tests.conftest import leftovers

pytestmark = [pytest.mark.e2e, pytest.mark.mysql]

COMMAND = "republish_program_certificate_events"
STATUS = {AWARDED: "awarded", REVOKED: "revoked"}
COURSE_RUNS = [run["key"] for course in PROGRAM["courses"] for run in course["course_runs"]]
READ = {"method": "GET", "path": "credentials/", "type": "program", "times": 1}
POST = READ | {"method": "POST"}

# What openedx-events and the bus's producer say of each event.
NOISE = ("[openedx_events.", "[edx_event_bus_redis.", "general_signal_handler")

LEARNERS = [f"learner{number}" for number in range(5)]

# Seconds after which the server closes an idle connection, and for which the tests leave one idle.
WAIT_TIMEOUT = 2
IDLE = 4


class MysqlSite(Site):
    """A site whose LMS has its database on a MySQL-protocol server."""

    def __init__(self, processes, directory, database):
        super().__init__(processes, directory)
        self.database = database
        self.start_for_commands([PROGRAM], database)
        self.do("create_courses", keys=COURSE_RUNS)
        self.start_consumer()
        self.learners = {}
        self.seen = 0
        self.runs = 0

    def create_learners(self, *usernames):
        """Create learners; ``learners`` has their ids."""
        for username in usernames:
            email = f"learner{len(self.learners)}@example.com"
            self.learners[username] = self.do("create_learner", username=username, email=email, name="Name")

    def store(self, *usernames):
        """Store a certificate in Credentials under each username; return their uuids."""
        now = datetime.now(UTC).isoformat()
        self.credentials.store(
            {"username": username, "program_uuid": PROGRAM["uuid"], "status": "awarded", "modified": now}
            for username in usernames
        )
        uuids = {stored["username"]: stored["uuid"] for stored in self.credentials.credentials()}
        return [uuids[username] for username in usernames]

    def start_command(self, *argv):
        """Start the command; its output and its log are one file."""
        self.runs += 1
        return self.processes.python(f"run{self.runs}", "manage.py", "lms", COMMAND, *argv, env=self.env())

    def end(self, run):
        """Wait for the end of the command; return its exit code and what it said, without what others say."""
        code = run.popen.wait(PATIENCE)
        self.processes.forget(run)
        lines = run.log.read_text(encoding="utf-8").splitlines()
        return code, "\n".join(line for line in lines if not any(text in line for text in NOISE))

    def republish(self, *argv):
        """Run the command; return its exit code and its output."""
        return self.end(self.start_command(*argv))

    def close_idle_connections(self, max_age):
        """Have the server close connections that are idle for ``WAIT_TIMEOUT`` seconds, of these processes only."""
        options = {"init_command": f"SET wait_timeout = {WAIT_TIMEOUT}"}
        self.configure(database={**self.database, "CONN_MAX_AGE": max_age, "OPTIONS": options})

    def announced(self):
        """Return user id and status of the new events, once all have arrived, and forget them."""
        self.wait_for_events(len(self.stream()))
        new = self.events()[self.seen :]
        self.seen += len(new)
        return [(event["data"]["program_certificate"]["user"]["id"], STATUS[event["type"]]) for event in new]

    def clean(self):
        """Remove what a test has left."""
        self.configure(database=self.database)
        self.credentials.clear()
        if stored := {item["username"] for item in self.credentials.credentials() if item["type"] == "program"}:
            self.credentials.delete(stored)
        for username in self.learners:
            self.do("delete", username=username)
        self.learners = {}
        self.announced()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory):
    """A server of the tests' own, None if they have been given one."""
    if os.environ.get("MYSQL_URL"):
        yield None
        return
    if problem := mysql.find_problem():
        pytest.skip(problem)
    directory = tmp_path_factory.mktemp("mariadb")
    with Processes(directory) as processes:
        yield mysql.MariaDB(processes, "mariadb", directory / "mariadb")
    assert not leftovers(directory)


@pytest.fixture(scope="module")
def url(own_server):
    """Where the server is."""
    return own_server.url if own_server else os.environ["MYSQL_URL"]


@pytest.fixture(scope="module")
def shared_site(url, tmp_path_factory):
    """Start the site that the tests use, one after the other."""
    directory = tmp_path_factory.mktemp("mysql")
    with mysql.database(url) as database:
        with Processes(directory) as processes:
            yield MysqlSite(processes, directory, database)
    assert not leftovers(directory)


@pytest.fixture
def site(shared_site):
    """The site, with no learner in the LMS and no certificate in Credentials."""
    yield shared_site
    # If the test ended early, the command may still run.
    for process in [item for item in shared_site.processes.running if item.name.startswith(("run", "worker"))]:
        process.kill()
        shared_site.processes.forget(process)
    shared_site.clean()


def test_the_tests_of_the_change(url):
    with mysql.database(url) as database:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "openedx/core/djangoapps/programs/tests"],
            cwd=ROOT,
            env={**os.environ, **mysql.environment(database)},
            capture_output=True,
            text=True,
        )
        tables = mysql.query(url, f"SHOW TABLES FROM {database['NAME']}")

    assert re.match(r"[1-9]\d* passed", done.stdout.splitlines()[-1]), done.stdout
    assert ("auth_user",) in tables


@pytest.mark.representative
def test_usernames_that_differ_in_case(site):
    """Credentials may have a learner in another case than the LMS, and an operator may type a third one."""
    site.create_learners("ada.k")
    site.store("Ada.K")
    site.credentials.fault("status", status=200, body=_page("Ada.K"), **READ)

    code, output = site.republish("--usernames", "ADA.K")

    assert code == 0, output
    assert "learners=1 awarded=1 revoked=0 skipped=0 failed=0 " in output
    assert site.announced() == [(site.learners["ada.k"], "awarded")]


def _page(username):
    """Return a page with a certificate, as a Credentials on MySQL finds it under the username in any case."""
    record = {
        "username": username,
        "uuid": PROGRAM["uuid"],
        "credential": {"type": "program", "program_uuid": PROGRAM["uuid"]},
        "status": "awarded",
        "created": "2026-11-25T12:00:00Z",
    }
    return {"next": None, "results": [record]}


@pytest.mark.parametrize("max_age", [0, None])
def test_connection_that_the_server_closes_during_a_run(site, max_age):
    site.create_learners(*LEARNERS)
    site.store(*LEARNERS)
    site.close_idle_connections(max_age)
    site.credentials.fault("delay", seconds=0, **READ)  # the first passes
    site.credentials.fault("delay", seconds=IDLE, **READ)

    code, output = site.republish("--usernames", *LEARNERS)

    # A connection that Django keeps is noticed by the next learner, who fails. The others go on with a new one.
    failed = 0 if max_age == 0 else 1
    assert f"learners=5 awarded={5 - failed} revoked=0 skipped=0 failed={failed} " in output
    assert code == failed, output
    missing = {LEARNERS[2]} if failed else set()
    assert dict(site.announced()) == {site.learners[name]: "awarded" for name in set(LEARNERS) - missing}

    if failed:
        code, output = site.republish("--usernames", *LEARNERS)
        assert code == 0, output
        assert len(site.announced()) == len(LEARNERS)


@pytest.mark.parametrize("max_age", [0, None])
def test_connection_that_the_server_closes_during_a_live_task(site, max_age):
    """The tasks fetch the learner with the profile, so the event needs no query after the answer."""
    site.create_learners("ada")
    for course_run in COURSE_RUNS:
        site.do("enrol", username="ada", course_run=course_run, mode="verified")
    site.do("open_record", username="ada")
    site.close_idle_connections(max_age)
    site.start_worker(TESTBED_RETRY_DIVISOR="100")

    site.credentials.fault("delay", seconds=IDLE, **POST)
    for course_run in COURSE_RUNS:
        site.do("certify", username="ada", course_run=course_run, mode="verified")
        site.wait_for_tasks()
    assert site.announced() == [(site.learners["ada"], "awarded")]

    site.credentials.fault("delay", seconds=IDLE, **POST)
    site.do("invalidate", username="ada", course_run=COURSE_RUNS[0])
    site.wait_for_tasks()
    assert site.announced() == [(site.learners["ada"], "revoked")]
    log = site.worker.log.read_text(encoding="utf-8")
    assert "Failed to send" not in log


def test_server_that_stops(site, own_server):
    if not own_server:
        pytest.skip("MYSQL_URL: that server is not for the tests to stop")
    site.create_learners(*LEARNERS)
    site.store(*LEARNERS)
    site.credentials.fault("delay", seconds=0, **READ)  # the first passes
    site.credentials.fault("hold_before", **READ)
    run = site.start_command("--usernames", *LEARNERS)
    wait_for(lambda: site.credentials.held() == 1, "the run to ask about the second", alive=[run])
    own_server.stop()
    try:
        site.credentials.clear()
        code, output = site.end(run)
    finally:
        own_server.start()
        site.shell.stop()  # its connection to the database is lost, too
        site.processes.forget(site.shell)
        site.start_shell()

    # The second was read before the server stopped, so its event needed no query.
    assert code == 1, output
    assert "learners=5 awarded=2 revoked=0 skipped=0 failed=3 " in output
    assert len(site.announced()) == 2

    code, output = site.republish("--usernames", *LEARNERS)

    assert code == 0, output
    assert len(site.announced()) == len(LEARNERS)
