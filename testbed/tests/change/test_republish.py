"""
Tests of ``./manage.py lms republish_program_certificate_events`` on sites of two sizes, with a real Credentials API,
bus, worker and consumer. ``testbed/tests/faults/test_repair_faults.py`` breaks more while it runs.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from testbed.servers.processes import PATIENCE, Process, Processes, free_port, wait_for
from testbed.site.large import COMMAND, PROGRAM, RepairSite
from testbed.tests.change.conftest import WatchedSite, known

pytestmark = pytest.mark.e2e

READ = {"method": "GET", "path": "credentials/", "type": "program"}
# Learners with a certificate each.
STATES = {"learner0": "revoked", "learner1": "awarded", "learner2": "awarded"}
SOME = ["--usernames", *STATES]


class RepublishSite(WatchedSite, RepairSite):
    """A site with many learners and a consumer."""

    def __init__(self, processes: Processes, size: int, changed: int) -> None:
        super().__init__(processes, processes.directory, size, changed)
        self.start_consumer()

    def republish(self, *argv: str) -> tuple[int, str]:
        """Run the command in the LMS process that is there; return its exit code and its last line."""
        done = self.do("command", name=COMMAND, arguments=argv)
        return done["returncode"], done["output"].splitlines()[-1]

    def end(self, run: Process) -> tuple[int, str]:
        """Wait for the end of a run; return its exit code and its last line."""
        output, _ = run.popen.communicate(timeout=3 * PATIENCE)
        self.processes.forget(run)
        return run.popen.returncode, output.splitlines()[-1]


def summary(learners: int, awarded: int = 0, revoked: int = 0, failed: int = 0) -> str:
    """Return the command's last line."""
    return f"learners={learners} awarded={awarded} revoked={revoked} skipped=0 failed={failed} bus_errors=0"


@pytest.fixture(
    scope="module", params=[(2000, 50), pytest.param((100_000, 500), marks=pytest.mark.scale)], ids=lambda size: size[0]
)
def shared_site(shared_processes: Processes, request: pytest.FixtureRequest) -> Iterator[RepublishSite]:
    yield RepublishSite(shared_processes, *request.param)
    for path in shared_processes.directory.glob("*.sqlite3*"):
        path.unlink()


@pytest.fixture
def site(shared_site: RepublishSite) -> Iterator[RepublishSite]:
    """The site that all tests here use, one after the other."""
    yield shared_site
    shared_site.end_all("run", "worker")
    shared_site.credentials.clear()
    shared_site.new_events()


def test_as_many_requests_as_learners_who_changed(site: RepublishSite) -> None:
    lists, began, lost = site.count_lists(), datetime.now(UTC), list(site.expected.values()).count("revoked")
    run = site.start_command("--start-date", "2h")
    code, output = site.end(run)
    log = run.log.read_text(encoding="utf-8")

    assert (code, output) == (0, summary(site.changed, awarded=site.changed - lost, revoked=lost)), log
    assert not any(text in log for text in ("Traceback", " ERROR ", " WARNING ", "example.com")), log
    assert site.count_lists() - lists == site.changed
    events = site.new_events()
    assert len(events) == site.changed
    assert known(events) == site.expected
    assert all(began <= datetime.fromisoformat(event["time"]) <= datetime.now(UTC) for event in events)


@pytest.mark.parametrize("selection", [["--all"], ["--program-uuids", PROGRAM["uuid"]]], ids=lambda argv: argv[0])
def test_dry_run(site: RepublishSite, selection: list[str]) -> None:
    assert site.republish(*selection, "--dry-run") == (0, f"learners={site.size}")
    assert site.new_events() == []


def test_credentials_is_unavailable_for_a_moment(site: RepublishSite) -> None:
    site.credentials.fault("status", status=503, headers={"Retry-After": "86400"}, times=2, **READ)
    lists = site.count_lists()
    assert site.republish(*SOME) == (0, summary(3, awarded=2, revoked=1))
    assert (site.credentials.applied(), site.count_lists() - lists) == (2, 3 + 2)
    assert known(site.new_events()) == STATES


def test_credentials_accepts_a_connection_and_never_answers(site: RepublishSite) -> None:
    site.credentials.fault("hold_before", times=1, **READ)
    began = time.monotonic()
    assert site.republish(*SOME) == (1, summary(3, awarded=2, failed=1))
    assert time.monotonic() - began < 40
    assert known(site.new_events()) == {"learner1": "awarded", "learner2": "awarded"}


def test_stopped_between_two_learners(site: RepublishSite) -> None:
    site.credentials.fault("delay", seconds=0, times=1, **READ)  # the first passes
    site.credentials.fault("hold_before", times=1, **READ)
    run = site.start_command(*SOME)
    wait_for(lambda: site.credentials.held() == 1, "the run to ask about the second", alive=[run])
    run.popen.terminate()

    assert site.end(run) == (1, summary(2, revoked=1))
    log = run.log.read_text(encoding="utf-8")
    assert "run the command again" in log
    assert "Traceback" not in log
    assert known(site.new_events()) == {"learner0": "revoked"}


def test_tasks_of_a_worker(site: RepublishSite) -> None:
    assert site.republish(*SOME, "--enqueue") == (0, "enqueued=3")
    assert site.new_events() == []

    site.credentials.fault("status", status=500, times=1, **READ)  # it is retried
    site.start_worker(TESTBED_RETRY_DIVISOR="100")
    site.wait_for_tasks()

    events = site.new_events()
    assert (len(events), known(events)) == (3, STATES)
    assert [task["state"] for task in site.tasks()].count("retried") == 1


def test_broker_that_is_unreachable(site: RepublishSite) -> None:
    config = site.config_file.read_text(encoding="utf-8")
    broker = f"CELERY_BROKER_HOSTNAME: 127.0.0.1:{urlsplit(site.redis_url).port}"
    assert broker in config
    broken = config.replace(broker, f"CELERY_BROKER_HOSTNAME: 127.0.0.1:{free_port()}")
    try:
        site.config_file.write_text(broken, encoding="utf-8")
        run = site.start_command(*SOME, "--enqueue")
        assert site.end(run) == (1, "enqueued=0")
    finally:
        site.config_file.write_text(config, encoding="utf-8")
    assert "Traceback" not in run.log.read_text(encoding="utf-8")
