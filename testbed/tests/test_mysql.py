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

from testbed import mysql
from testbed.inputs import AWARDED, read_programs
from testbed.processes import PATIENCE, Processes, wait_for
from testbed.run import DATA
from testbed.site import Site
from testbed.tests.conftest import ROOT, leftovers

pytestmark = [pytest.mark.e2e, pytest.mark.mysql]

COMMAND = "republish_program_certificate_events"
READ = {"method": "GET", "path": "credentials/", "type": "program", "times": 1}

# What openedx-events and the bus's producer say of each event.
NOISE = ("[openedx_events.", "[edx_event_bus_redis.", "general_signal_handler")

# Two pages.
LEARNERS = [f"learner{number}" for number in range(25)]

# Seconds after which the server closes an idle connection, and for which the tests leave one idle.
WAIT_TIMEOUT = 2
IDLE = 4


class MysqlSite(Site):
    """A site whose LMS has its database on a MySQL-protocol server; it runs no worker."""

    def __init__(self, processes, directory, database):
        super().__init__(processes, directory)
        programs = read_programs(DATA / "programs.json")
        self.program_uuid = programs[0]["uuid"]
        self.database = database
        self.start_for_commands(programs, database)
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
            {"username": username, "program_uuid": self.program_uuid, "status": "awarded", "modified": now}
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

    def restart_shell(self):
        """Start the LMS process anew: its connection to the database died with the server."""
        self.shell.stop()
        self.processes.forget(self.shell)
        self.start_shell()

    def announced(self):
        """Return whom the new events are for, by id and username, once all have arrived; and forget them."""
        self.wait_for_events(len(self.stream()))
        new = self.events()[self.seen :]
        self.seen += len(new)
        assert {event["type"] for event in new} <= {AWARDED}
        users = [event["data"]["program_certificate"]["user"] for event in new]
        return [(user["id"], user["pii"]["username"]) for user in users]

    def clean(self):
        """Remove what a test has left."""
        self.configure(database=self.database)
        self.credentials.clear()
        if stored := self.credentials.credentials():
            self.credentials.delete({item["username"] for item in stored})
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
    for process in [process for process in shared_site.processes.running if process.name.startswith("run")]:
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

    assert re.match(r"[1-9]\d* passed in ", done.stdout.splitlines()[-1]), done.stdout
    assert ("auth_user",) in tables


@pytest.mark.representative
def test_username_in_another_case(site):
    site.create_learners("ada.k")
    site.store("Ada.K")

    for options in (["--all"], ["--usernames", "Ada.K"]):
        code, output = site.republish(*options)

        assert code == 0, output
        assert " published_awarded=1 " in output
        assert " skipped_unknown_learner=0 " in output
        assert site.announced() == [(site.learners["ada.k"], "ada.k")]


def test_two_usernames_of_one_learner(site):
    site.create_learners("ada.k", "grace")
    uuids = site.store("Ada.K", "ada.k")
    site.store("grace")

    code, output = site.republish("--all")

    assert code == 1, output
    assert " published_awarded=1 " in output
    assert "failed: 2" in output
    assert all(uuid in output for uuid in uuids)
    assert site.announced() == [(site.learners["grace"], "grace")]


def test_usernames_that_the_server_takes_for_equal(site, url):
    pairs = {"jose": "José", "zoe ": "zoe", "strasse": "straße", "ada.k": "ADA.K", "renée": "renee", "o'hara": "ohara"}
    site.create_learners(*pairs)
    site.store(*pairs.values())
    sql = f"SELECT id, username FROM {site.database['NAME']}.auth_user WHERE username = %s"
    found = {row for username in pairs.values() for row in mysql.query(url, sql, username)}
    assert {"jose", "zoe ", "ada.k", "renée"} <= {username for _id, username in found}

    code, output = site.republish("--all")

    assert code == 0, output
    assert f" skipped_unknown_learner={len(pairs) - len(found)} " in output
    assert sorted(site.announced()) == sorted(found)


@pytest.mark.parametrize("max_age", [0, None])
@pytest.mark.parametrize("idle", ["between pages", "during a request"])
def test_connection_that_the_server_closes(site, max_age, idle):
    site.create_learners(*LEARNERS)
    site.store(*LEARNERS)
    site.configure(
        database={
            **site.database,
            "CONN_MAX_AGE": max_age,
            # As the server's own setting would, but for these connections only.
            "OPTIONS": {"init_command": f"SET wait_timeout = {WAIT_TIMEOUT}"},
        }
    )
    if idle == "during a request":
        site.credentials.fault("delay", seconds=0, **READ)  # page 1 passes
        site.credentials.fault("delay", seconds=IDLE, **READ)

    code, output = site.republish("--all", *(["--delay", IDLE] if idle == "between pages" else []))

    assert code == 0, output
    assert f" published_awarded={len(LEARNERS)} " in output
    assert "failed=0" in output
    assert sorted(site.announced()) == sorted((id_, username) for username, id_ in site.learners.items())


def test_server_that_stops(site, own_server):
    if not own_server:
        pytest.skip("MYSQL_URL: that server is not for the tests to stop")
    site.create_learners(*LEARNERS)
    site.store(*LEARNERS)
    site.credentials.fault("delay", seconds=0, **READ)  # page 1 passes
    site.credentials.fault("hold_before", **READ)
    run = site.start_command("--all")
    wait_for(lambda: site.credentials.held() == 1, "the run to ask for page 2", alive=[run])
    own_server.stop()
    try:
        site.credentials.clear()
        code, output = site.end(run)
    finally:
        own_server.start()
        site.restart_shell()

    assert code == 1, output
    assert "the LMS's database failed (OperationalError)" in output
    assert "Program certificates: read=20 " in output
    assert "Traceback" not in output
    assert len(site.announced()) == 20

    code, output = site.republish("--all")

    assert code == 0, output
    assert len(site.announced()) == len(LEARNERS)
