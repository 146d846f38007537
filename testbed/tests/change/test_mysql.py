"""
Tests on a MySQL-protocol server, as every real site has one: it takes usernames for equal that SQLite tells apart, and
it closes connections that are idle. ``make test-mysql`` runs them.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from testbed.servers import mysql
from testbed.servers.processes import Process, Processes, wait_for
from testbed.site.events import known
from testbed.site.large import COURSES, PROGRAM
from testbed.site.site import REPUBLISH
from testbed.tests.change.conftest import WatchedSite, run_python, summary

pytestmark = [pytest.mark.e2e, pytest.mark.mysql]

READ = {"method": "GET", "path": "credentials/", "type": "program", "times": 1}
POST = READ | {"method": "POST"}
LEARNERS = [f"learner{number}" for number in range(5)]
ALL_AWARDED = dict.fromkeys(LEARNERS, "awarded")
# Seconds after which the server closes an idle connection, and for which the tests leave one idle.
WAIT_TIMEOUT = 2
IDLE = 4


class MysqlSite(WatchedSite):
    """A site whose LMS has its database on a MySQL-protocol server. Its learners have a certificate each."""

    def __init__(self, processes: Processes, database: dict) -> None:
        super().__init__(processes, processes.directory)
        self.database = database
        self.start_for_commands([PROGRAM], database)
        self.do("create_courses", keys=COURSES)
        self.start_consumer()
        self.create_learners(*LEARNERS)
        certificate = {"program_uuid": PROGRAM["uuid"], "status": "awarded", "modified": datetime.now(UTC).isoformat()}
        self.credentials.store({"username": username, **certificate} for username in LEARNERS)

    def create_learners(self, *usernames: str) -> None:
        for username in usernames:
            self.do("create_learner", username=username, enrolled=dict.fromkeys(COURSES, "verified"))

    def republish(self, *usernames: str) -> Process:
        """Start the command."""
        return self.start_command(REPUBLISH, "--usernames", *(usernames or LEARNERS))

    def end(self, run: Process, awarded: int, failed: int = 0) -> None:
        """Wait for the end of the command, and check what it says."""
        assert run.finish() == (bool(failed), f"{summary(awarded, failed=failed)}\n")

    def close_idle_connections(self, max_age: int | None) -> None:
        """Have the server close connections that are idle for ``WAIT_TIMEOUT`` seconds, of these processes only."""
        options = {"init_command": f"SET wait_timeout = {WAIT_TIMEOUT}"}
        self.configure(database={**self.database, "CONN_MAX_AGE": max_age, "OPTIONS": options})

    def clean(self) -> None:
        """Undo ``close_idle_connections``, too."""
        super().clean()
        self.configure(database=self.database)


@pytest.fixture(scope="module")
def shared_site(url: str, shared_processes: Processes) -> Iterator[MysqlSite]:
    with mysql.database(url) as database:
        yield MysqlSite(shared_processes, database)


def test_the_tests_of_the_change(url: str, processes: Processes) -> None:
    options = ["-q", "-p", "no:cacheprovider", "openedx/core/djangoapps/programs/tests"]
    with mysql.database(url) as database:
        output = run_python(processes, database, "-m", "pytest", *options)
        tables = mysql.query(url, f"SHOW TABLES FROM {database['NAME']}")

    assert re.match(r"[1-9]\d* passed", output.splitlines()[-1]), output
    assert ("auth_user",) in tables


@pytest.mark.representative
def test_usernames_that_differ_in_case(site: MysqlSite) -> None:
    """Credentials may have a learner in another case than the LMS, and an operator may type a third one."""
    site.create_learners("ada.k")
    record = {
        "username": "Ada.K",
        "uuid": PROGRAM["uuid"],
        "credential": {"type": "program", "program_uuid": PROGRAM["uuid"]},
        "status": "awarded",
        "created": "2026-11-25T12:00:00Z",
    }
    # As a Credentials on MySQL finds it under the username in any case.
    site.credentials.fault("status", status=200, body={"next": None, "results": [record]}, **READ)

    site.end(site.republish("ADA.K"), awarded=1)

    assert known(site.new_events()) == {"ada.k": "awarded"}


@pytest.mark.parametrize("max_age", [0, None])
def test_connection_that_the_server_closes_during_a_run(site: MysqlSite, max_age: int | None) -> None:
    site.close_idle_connections(max_age)
    site.credentials.fault("delay", seconds=0, **READ)  # the first passes
    site.credentials.fault("delay", seconds=IDLE, **READ)

    # A connection that Django keeps is noticed by the next learner, who fails. The others go on with a new one.
    failed = LEARNERS[2:3] if max_age is None else []
    site.end(site.republish(), awarded=5 - len(failed), failed=len(failed))
    assert known(site.new_events()) == {name: "awarded" for name in LEARNERS if name not in failed}

    if failed:
        site.end(site.republish(), awarded=5)
        assert known(site.new_events()) == ALL_AWARDED


@pytest.mark.parametrize("max_age", [0, None])
def test_connection_that_the_server_closes_during_a_live_task(site: MysqlSite, max_age: int | None) -> None:
    """The tasks fetch the learner with the profile, so the event needs no query after the answer."""
    ada = f"ada-{max_age}"
    site.create_learners(ada)
    site.close_idle_connections(max_age)
    site.start_worker(TESTBED_RETRY_DIVISOR="100")

    site.credentials.fault("delay", seconds=IDLE, **POST)
    for course_run in COURSES:
        site.do("certify", username=ada, course_run=course_run)
        site.wait_for_tasks()
    assert [known([event]) for event in site.new_events()] == [{ada: "awarded"}]

    site.credentials.fault("delay", seconds=IDLE, **POST)
    site.do("invalidate", username=ada, course_run=COURSES[0])
    site.wait_for_tasks()
    assert [known([event]) for event in site.new_events()] == [{ada: "revoked"}]
    assert " ERROR " not in site.worker.log.read_text(encoding="utf-8")


def test_server_that_stops(site: MysqlSite, own_server: mysql.MariaDB | None) -> None:
    if not own_server:
        pytest.skip("MYSQL_URL: that server is not for the tests to stop")
    site.credentials.fault("delay", seconds=0, **READ)  # the first passes
    site.credentials.fault("hold_before", **READ)
    run = site.republish()
    wait_for(lambda: site.credentials.held() == 1, "the run to ask about the second", alive=[run])
    own_server.stop()
    try:
        site.credentials.clear()
        # The second was read before the server stopped, so its event needs no query.
        site.end(run, awarded=2, failed=3)
    finally:
        own_server.start()
        site.shell.stop()  # its connection to the database is lost, too
        site.start_shell()
    assert len(site.new_events()) == 2

    site.end(site.republish(), awarded=5)
    assert known(site.new_events()) == ALL_AWARDED


def test_a_url_is_percent_encoded() -> None:
    parsed = mysql.parse("mysql://user%40:p%2F%25@127.0.0.1:1/")
    assert parsed == {"host": "127.0.0.1", "port": 1, "user": "user@", "password": "p/%"}
