"""
Tests of ``./manage.py lms republish_program_certificate_events`` on sites, with a real Credentials API, bus, worker and
consumer: on a site of two sizes, on a million learners, and beside a slow consumer. Those marked ``scale`` are long.
``testbed/tests/faults/test_repair_faults.py`` breaks more while it runs.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from openedx_events.event_bus.avro.deserializer import deserialize_bytes_to_event_data
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED

from benchmarks.measurements.repair import MeasuredRepairSite
from testbed.servers import mysql
from testbed.servers.processes import PATIENCE, Processes, free_port, wait_for
from testbed.servers.valkey import connect
from testbed.site.events import known
from testbed.site.large import RepairSite
from testbed.site.site import GROUP, QUEUE, REPUBLISH
from testbed.tests.change.conftest import WatchedSite, run_python, summary

pytestmark = pytest.mark.e2e

READ = {"method": "GET", "path": "credentials/", "type": "program"}
# Learners with a certificate each.
STATES = {"learner0": "revoked", "learner1": "awarded", "learner2": "awarded"}
SOME = ["--usernames", *STATES]

# A million learners with two course certificates each; of every hundredth learner, they changed in the last hour.
FILL = """
from testbed.site.lms import create_tables  # sets Django up
from testbed.site.large import fill_lms
create_tables()
fill_lms(2_000_000, 20_000, courses=2)
"""
# Takes the hours of the window; counts how often each learner comes. Not ``ru_maxrss``: a process begins with its
# parent's, and so would hide what it needs itself.
FIND = """
import re, sys
from datetime import timedelta
from pathlib import Path
import django
django.setup()
from django.utils.timezone import now
from lms.djangoapps.certificates.models import GeneratedCertificate
from openedx.core.djangoapps.programs.management.commands.republish_program_certificate_events import Command
runs = [f"course-v1:Org+Course{number}+2026" for number in range(500)]
start = now() - timedelta(hours=int(sys.argv[1]))
changed = GeneratedCertificate.objects.filter(modified_date__gte=start, course_id__in=runs)
times = bytearray(1_000_001)
for user_id in Command().each_learner(changed):
    times[user_id] += 1
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(times.count(0), times.count(1), int(peak) / 1024)
"""

# A slow consumer: its events, the learners that the command hands to Celery at once, and the stream's maximum length,
# which is above a batch. The stream keeps more: whole nodes of 100 entries are trimmed.
LEARNERS, BATCH, CAP = 400, 100, 150
# Events that it takes in a second, and the delay for a third of them: on a busy machine it takes fewer.
RATE = 20
DELAY = 3 * BATCH / RATE


class RepublishSite(WatchedSite, RepairSite):
    """A site with many learners and a consumer."""

    def __init__(self, processes: Processes, size: int, changed: int) -> None:
        super().__init__(processes, processes.directory, size, changed)
        self.start_consumer()

    def republish(self, *argv: str) -> tuple[int, str]:
        """Run the command in the LMS process that is there; return its exit code and its last line."""
        done = self.do("command", name=REPUBLISH, arguments=argv)
        return done["returncode"], done["output"].splitlines()[-1]


SIZES = [(2000, 50), pytest.param((100_000, 500), marks=pytest.mark.scale)]


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: size[0])
def shared_site(shared_processes: Processes, request: pytest.FixtureRequest) -> Iterator[RepublishSite]:
    size, changed = request.param
    directory = shared_processes.directory / str(size)
    directory.mkdir()
    with Processes(directory) as processes:
        yield RepublishSite(processes, size, changed)


def test_as_many_requests_as_learners_who_changed(site: RepublishSite) -> None:
    lists, began = site.count_lists(), datetime.now(UTC)
    changed, lost = len(site.expected), list(site.expected.values()).count("revoked")
    run = site.start_command(REPUBLISH, "--start-date", "2h")
    code, output = run.finish(3 * PATIENCE)
    log = run.log.read_text(encoding="utf-8")

    assert (code, output.splitlines()[-1]) == (0, summary(awarded=changed - lost, revoked=lost)), log
    assert not any(text in log for text in ("Traceback", " ERROR ", " WARNING ", "example.com")), log
    assert site.count_lists() - lists == changed
    events = site.new_events()
    assert len(events) == changed
    assert known(events) == site.expected
    assert all(began <= datetime.fromisoformat(event["time"]) <= datetime.now(UTC) for event in events)


def test_credentials_is_unavailable_for_a_moment(site: RepublishSite) -> None:
    site.credentials.fault("status", status=503, headers={"Retry-After": "86400"}, times=2, **READ)
    lists = site.count_lists()
    assert site.republish(*SOME) == (0, summary(awarded=2, revoked=1))
    assert (site.credentials.applied(), site.count_lists() - lists) == (2, 3 + 2)
    assert known(site.new_events()) == STATES


def test_credentials_accepts_a_connection_and_never_answers(site: RepublishSite) -> None:
    site.credentials.fault("hold_before", times=1, **READ)
    lists, began = site.count_lists(), time.monotonic()
    assert site.republish(*SOME) == (1, summary(awarded=2, failed=1))
    assert time.monotonic() - began < 40
    assert known(site.new_events()) == {"learner1": "awarded", "learner2": "awarded"}
    site.credentials.clear()
    wait_for(lambda: site.count_lists() - lists == 3, "Credentials to answer the first one")


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
    broken = site.directory / "broken.yml"
    broken.write_text(config.replace(broker, f"CELERY_BROKER_HOSTNAME: 127.0.0.1:{free_port()}"), encoding="utf-8")
    run = site.start_command(REPUBLISH, *SOME, "--enqueue", LMS_CFG=str(broken))
    assert run.finish() == (1, "enqueued=0\n")
    assert "Traceback" not in run.log.read_text(encoding="utf-8")


@pytest.mark.scale
def test_more_tasks_need_no_more_memory(processes: Processes) -> None:
    site = MeasuredRepairSite(processes, processes.directory, 100_000, 10_000)
    few, many = (
        site.do("republish", argv=[*selection, "--enqueue", "--delay", "0"])
        for selection in (["--start-date", "2h"], ["--all"])
    )
    with connect(site.redis_url) as client:
        assert client.llen(f"{site.run_id}-{QUEUE}") == 110_000
    assert many["peak"] - few["peak"] <= 10, (few, many)


@pytest.mark.scale
def test_a_million_learners_come_once_each_and_need_no_more_memory(url: str, processes: Processes) -> None:
    if "MariaDB" not in mysql.query(url, "SELECT VERSION()")[0][0]:
        pytest.skip("MYSQL_URL: it is not a MariaDB, whose tables of numbers fill the database")
    with mysql.database(url) as database:
        run_python(processes, database, "-c", FILL)
        *few, few_peak = run_python(processes, database, "-c", FIND, "1").split()
        *many, many_peak = run_python(processes, database, "-c", FIND, "100000").split()

    # Place 0 of a million and one is nobody's.
    assert few == ["990001", "10000"]
    assert many == ["1", "1000000"]
    assert float(many_peak) - float(few_peak) < 20, (few_peak, many_peak)


class SmallStreamSite(RepairSite):
    """A site whose learners have a certificate each, and whose stream does not take them all."""

    over: threading.Event  # no more events will come

    def bus_settings(self) -> dict:
        return {**super().bus_settings(), "EVENT_BUS_REDIS_STREAM_MAX_LEN": CAP}

    def consume(self, wait: Callable[[int], object]) -> list[int]:
        """
        Take events as ``consume_events`` does: one, then its work, then the acknowledgement.

        Args:
            wait: takes the time that the work takes, given how many events were taken before.

        Returns:
            The ids of the learners whose events came.
        """
        learners: list[int] = []
        with connect(self.bus_url) as client:
            while True:
                over = self.over.is_set()  # before the look, which then is the last one
                found = client.xreadgroup(GROUP, "slow", {self.stream_key: ">"}, count=1, block=100)
                if not found and over:
                    return learners
                for entry_id, fields in found[0][1] if found else []:
                    wait(len(learners))
                    data = deserialize_bytes_to_event_data(fields[b"event_data"], PROGRAM_CERTIFICATE_AWARDED)
                    learners.append(data["program_certificate"].user.id)
                    client.xack(self.stream_key, GROUP, entry_id)

    def republish(self, wait: Callable[[int], object], *options: str) -> list[int]:
        """Run the command for everything beside a slow consumer, and return whose certificates that heard of."""
        sent, self.over = self.count_added(), threading.Event()
        with ThreadPoolExecutor() as pool:
            consumer = pool.submit(self.consume, wait)
            try:
                code, _ = self.start_command(REPUBLISH, "--all", *options).finish(2 * PATIENCE)
                assert code == 0
                self.wait_for_tasks()
                assert self.count_added() - sent == LEARNERS
            finally:
                self.over.set()
            return consumer.result(PATIENCE)


@pytest.mark.scale
def test_slow_consumer(processes: Processes) -> None:
    site = SmallStreamSite(processes, processes.directory, LEARNERS, 1)
    with connect(site.bus_url) as client:
        client.xgroup_create(site.stream_key, GROUP, mkstream=True)

    # It takes one event for four that are sent.
    def wait(taken: int) -> None:
        wait_for(lambda: site.over.is_set() or site.count_added() > 4 * taken, "more events")

    heard = site.republish(wait)
    assert CAP <= len(site.stream()) < CAP + 100
    # Nobody notices: the run has sent them all, and the consumer has read and acknowledged all that it was given.
    assert len(set(heard)) == len(heard) < LEARNERS

    site.start_worker()
    heard = site.republish(lambda _taken: time.sleep(1 / RATE), "--enqueue", "--delay", str(DELAY))
    assert len(set(heard)) == len(heard) == LEARNERS
