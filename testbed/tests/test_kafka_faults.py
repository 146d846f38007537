"""
The fault suite on Kafka: what becomes of events whose producer sends in the background.

A certificate is awarded whatever happens to its event. Each test lets a worker award some, and something go wrong,
twice: as it is, and with the block of settings that the operators' page gives (``kafka-flush``). It makes one row of
the table that is printed at the end, and has to show that after one run of ``republish_program_certificate_events``
every event has arrived.

How many are lost as it is depends on what ends first, a process or the sending of its events, so on how busy this
machine is. What is asserted is what does not: that none is lost with the block where it helps.

The broker is librdkafka's mock cluster, which is no Apache Kafka. With ``KAFKA_BOOTSTRAP_SERVERS`` and
``SCHEMA_REGISTRY_URL`` the tests run on brokers of one's own, those that stop a broker or make it slow excepted.
"""

import contextlib
import os
import shlex
import signal
import time
from collections import Counter

import pytest

from testbed.credentials.client import CredentialsControl
from testbed.docs import named_block
from testbed.inputs import AWARDED
from testbed.kafka.site import KafkaSite
from testbed.processes import PATIENCE, Processes, free_port, wait_for
from testbed.site import QUEUE, TOPIC, connect
from testbed.tests.conftest import leftovers
from testbed.tests.fault_table import KAFKA_ROWS, KafkaRow

pytestmark = [pytest.mark.e2e, pytest.mark.kafka]

COURSE_RUN = "course-v1:OpenX+KAFKA+2026"
PROGRAM = {
    "uuid": "7a1e4b7c-0f0d-4f57-9b8e-2f6f3f0d0000",
    "title": "Kafka",
    "type": "MicroMasters",
    "status": "active",
    "courses": [{"course_runs": [{"key": COURSE_RUN, "type": "verified"}]}],
}
LEARNERS = [f"learner{number}" for number in range(100)]
# So few that a slow broker still has none of their events when the last task is through.
FEW = 4

PRODUCTION = "lms.envs.production"
REPUBLISH = "republish_program_certificate_events"
STARTED_BY_TESTS = ("worker", "republish")
NOT_DELIVERED = "Error delivering message to Kafka event bus"
WAITING = "Waiting for the event bus to take what is under way to it."

# Put into the settings of a worker. A plugin that sends an event when the LMS starts does the same.
EARLY_PRODUCER = """
from celery.signals import worker_init
from openedx_events.event_bus import get_producer

worker_init.connect(lambda **kwargs: get_producer(), weak=False)
"""

# Says so when a producer is built.
NO_PRODUCER = """
EVENT_BUS_PRODUCER = f"{__name__}.create_producer"


def create_producer():
    print("built a producer")
"""

# The back end's producer, as if it had no way to wait for what is under way.
HASTY_PRODUCER = """
EVENT_BUS_PRODUCER = f"{__name__}.create_producer"


def create_producer():
    import edx_event_bus_kafka

    producer = edx_event_bus_kafka.create_producer()
    del type(producer).prepare_for_shutdown
    return producer
"""


class FaultSite(KafkaSite):
    """A site with learners who have completed a program, and with no worker yet."""

    def __init__(self, processes, directory):
        servers, registry_url = os.environ.get("KAFKA_BOOTSTRAP_SERVERS"), os.environ.get("SCHEMA_REGISTRY_URL")
        super().__init__(processes, directory, servers, registry_url)
        self.start_redis()
        for _what, begin in self.bus_steps():
            begin()
        self.start_credentials([PROGRAM])
        self.start_discovery([PROGRAM])
        self.credentials = CredentialsControl(self.credentials_url)
        self.settings_module = PRODUCTION
        self.asked = self.played = self.runs = 0
        self.tasks_before, self.ends_before = 0, None
        self.configure()
        self.create_topic()
        self.manage("migrate", "--verbosity=0")
        self.start_shell()
        self.do("configure", catalog_url=f"{self.discovery_url}/api/v1")
        self.do("create_courses", keys=[COURSE_RUN])
        self.do("command", name="cache_programs", options={})
        for username in LEARNERS:
            self.do("create_learner", username=username, email=f"{username}@example.com", name=f"Name of {username}")
            self.do("enrol", username=username, course_run=COURSE_RUN, mode="verified")
            self.do("certify", username=username, course_run=COURSE_RUN, mode="verified")
        self.store(LEARNERS)  # Credentials knows them now
        with connect(self.redis_url) as client:
            client.delete(f"{self.run_id}-{QUEUE}")  # no worker has taken the tasks of these certificates

    def env(self, **extra):
        """Return the environment of an LMS process, with the settings of the play."""
        return super().env(DJANGO_SETTINGS_MODULE=self.settings_module, PYTHONPATH=str(self.directory), **extra)

    def store(self, usernames):
        """Store certificates in Credentials, of which nobody has sent an event."""
        self.asked = len(usernames)
        self.credentials.store(
            {"username": name, "program_uuid": PROGRAM["uuid"], "status": "awarded", "modified": "2026-11-25T00:00Z"}
            for name in usernames
        )

    def begin(self, settings=""):
        """
        Begin again, with no certificate in Credentials.

        Args:
            settings (str): added to the LMS's settings.
        """
        if awarded := self.awarded():
            self.credentials.delete(awarded)
        self.asked = 0
        self.played += 1
        self.settings_module = f"settings_{self.played}"
        file = self.directory / f"{self.settings_module}.py"
        file.write_text(f"from lms.envs.production import *\n\n{settings}\n", encoding="utf-8")
        self.tasks_before = len(super().tasks())
        self.ends_before = self.ends()

    def tasks(self):
        """Leave out the tasks of earlier plays."""
        return super().tasks()[self.tasks_before :]

    def award(self, count):
        """Have the certificates of so many more learners awarded."""
        for username in LEARNERS[self.asked : self.asked + count]:
            self.do("award_again", username=username)
        self.asked += count

    def end_worker(self, number=signal.SIGTERM):
        """End the worker by a signal, its children too if that kills; return how many seconds it took."""
        started = time.monotonic()
        if number == signal.SIGKILL:
            self.worker.kill()
        else:
            self.worker.popen.send_signal(number)
            self.worker.popen.wait(PATIENCE)
        self.processes.forget(self.worker)
        return time.monotonic() - started

    def slowest_task(self):
        """float: how many seconds the slowest of the play's tasks took."""
        times = {(task["id"], task["state"]): task["at"] for task in self.tasks()}
        return max(at - times[id_, "started"] for (id_, state), at in times.items() if state == "succeeded")

    def awarded(self):
        """set[str]: the learners who have the certificate in Credentials."""
        return {item["username"] for item in self.credentials.credentials() if item["status"] == "awarded"}

    def arrived(self):
        """set[str]: the learners whose event is on the bus."""
        return {data["program_certificate"]["user"]["pii"]["username"] for data in self.stream(self.ends_before)}

    def lost(self):
        """int: how many awards no event tells of."""
        return len(self.awarded() - self.arrived())

    def wait_until_none_is_lost(self):
        """Wait until every award's event is on the bus."""
        wait_for(lambda: not self.lost(), "the events")

    def start_republish(self):
        """Start a republish run of everything; its output and its log are one file."""
        self.runs += 1
        return self.processes.python(
            f"republish{self.runs}",
            *("manage.py", "lms", REPUBLISH, "--all"),
            env=self.env(),
        )

    def end_republish(self, run):
        """Wait for the end of a republish run; return its exit code and its output."""
        code = run.popen.wait(PATIENCE)
        self.processes.forget(run)
        return code, run.log.read_text(encoding="utf-8")

    def republish(self):
        """Republish everything, as an operator would once the cause is gone; in the LMS that runs, to save time."""
        done = self.do("command", name=REPUBLISH, options={"all": True})
        assert (done["error"], done["returncode"]) == (None, 0)
        assert f" published_awarded={len(self.awarded())} " in done["output"]
        assert WAITING in done["output"]

    @contextlib.contextmanager
    def rtt(self, milliseconds):
        """Have brokers whose answers take a while."""
        if not milliseconds:
            yield
            return
        if not self.cluster:
            pytest.skip("KAFKA_BOOTSTRAP_SERVERS: those brokers cannot be made slow")
        self.cluster.set_rtt(milliseconds)
        try:
            yield
        finally:
            self.cluster.set_rtt(0)

    def need_cluster(self):
        """Skip a test that stops brokers."""
        if not self.cluster:
            pytest.skip("KAFKA_BOOTSTRAP_SERVERS: those brokers are not for the tests to stop")

    def need_registry(self):
        """Skip a test that stops the schema registry."""
        if not self.registry:
            pytest.skip("SCHEMA_REGISTRY_URL: that registry is not for the tests to stop")


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory):
    """Start the site that all faults happen to, one after the other."""
    directory = tmp_path_factory.mktemp("kafka")
    with Processes(directory) as processes:
        site = FaultSite(processes, directory)
        yield site
        if not site.cluster:
            site.remove_topic()
    assert not leftovers(directory)


@pytest.fixture
def site(shared_site):
    """The site, with brokers and a registry that answer at once, and no worker."""
    yield shared_site
    for server in filter(None, [shared_site.cluster and shared_site.cluster.process, shared_site.registry]):
        server.popen.send_signal(signal.SIGCONT)
    if shared_site.cluster:
        shared_site.cluster.set_down(False)
    # If the test ended early, they may still run.
    for process in [running for running in shared_site.processes.running if running.name.startswith(STARTED_BY_TESTS)]:
        process.kill()
        shared_site.processes.forget(process)


@pytest.fixture
def compare(site, request):
    """Play something twice, and add the row of the table."""

    def compare(play, fault, injected, *, rtt=0, settings="", as_is=None, block=0, note=str):
        """
        Compare what is lost as is, and with the block of settings.

        Args:
            play (callable): has certificates awarded, and events lost.
            fault (str): the fault.
            injected (str): how it is brought about.
            rtt (int): how many milliseconds the brokers' answers take.
            settings (str): added to the LMS's settings.
            as_is (int): how many events have to be lost; None if that may differ.
            block (int): the same with the block.
            note (callable): for the table: what it says once all is over.
        """
        lost = []
        for added in ("", named_block("kafka-flush")):
            site.begin(f"{added}\n{settings}")
            with site.rtt(rtt):
                play()
            lost.append(site.lost())
            assert len(site.awarded()) == site.asked  # whatever became of the events
            if not added or lost[-1]:
                with site.rtt(rtt):
                    site.republish()
                after = site.lost()
        row = KafkaRow(fault, injected + (f", {rtt} ms" if rtt else ""), site.asked, *lost, after, note())
        KAFKA_ROWS[request.node.name] = row
        assert row.lost_after == 0
        if as_is is not None:
            assert row.as_is == as_is
        if block is not None:
            assert row.block == block

    return compare


# The worker ends, or its children do


@pytest.mark.parametrize(
    ("tasks", "rtt", "awards", "concurrency"),
    [
        *[(1, 0, 12, 4), (1, 50, 12, 4), (1, 400, 4, 2)],
        *[(5, 0, 40, 4), (5, 50, 40, 4)],
        *[(100, 0, 100, 1), (100, 50, 100, 1)],
    ],
)
def test_worker_retires(site, compare, tasks, rtt, awards, concurrency):
    def play():
        site.start_worker(concurrency=concurrency, options=[f"--max-tasks-per-child={tasks}"])
        site.award(awards)
        site.wait_for_tasks()
        site.end_worker()

    compare(play, "a worker's child retires after its tasks", f"--max-tasks-per-child={tasks}", rtt=rtt)


@pytest.mark.parametrize(
    ("name", "number", "block"),
    [
        ("warm shutdown", signal.SIGTERM, 0),
        ("cold shutdown", signal.SIGQUIT, 0),
        ("worker killed", signal.SIGKILL, None),
    ],
    ids=["warm", "cold", "killed"],
)
def test_worker_ends(site, compare, name, number, block):
    def play():
        site.start_worker()
        site.award(FEW)
        site.wait_for_tasks()
        site.end_worker(number)

    compare(play, f"{name} right after the last task", number.name, rtt=400, block=block)


def test_worker_without_processes(site, compare):
    def play():
        site.start_worker(options=["--pool=threads"])
        # One thread builds the producer. Two that do so at once build two, and the block flushes one of them.
        site.award(1)
        site.wait_for_tasks()
        site.award(FEW - 1)
        site.wait_for_tasks()
        site.end_worker()

    compare(play, "warm shutdown of a pool of threads", "--pool=threads, SIGTERM", rtt=400)


def test_producer_built_before_the_fork(site, compare):
    def play():
        site.start_worker()
        before = site.count_in_log("worker", NOT_DELIVERED)
        site.award(20)
        site.wait_for_tasks()
        site.end_worker()
        assert site.count_in_log("worker", NOT_DELIVERED) == before

    compare(
        play,
        "producer built in the parent process, before the fork",
        "get_producer() in worker_init",
        settings=EARLY_PRODUCER,
        as_is=20,
        note=lambda: "no error, no log line",
    )


# The broker


def test_broker_silent_until_the_worker_has_ended(site, compare):
    site.need_cluster()
    seconds = []

    def play():
        site.start_worker()
        site.cluster.process.popen.send_signal(signal.SIGSTOP)
        site.award(20)
        site.wait_for_tasks()
        seconds.append(site.end_worker())
        site.cluster.process.popen.send_signal(signal.SIGCONT)

    compare(
        play,
        "broker accepts, never answers; worker ends meanwhile",
        "SIGSTOP, SIGTERM",
        as_is=20,
        block=20,
        note=lambda: "the worker took {:.1f} s to end, with the block {:.1f} s".format(*seconds),
    )
    lines = (site.directory / "worker.log").read_text(encoding="utf-8").splitlines()
    left = [int(line.partition(f"{NOT_DELIVERED}: ")[2].split()[0]) for line in lines if f"{NOT_DELIVERED}: " in line]
    assert sum(left) == 20  # of the two children, with the block


def test_broker_silent_for_a_while(site, compare):
    site.need_cluster()

    def play():
        site.start_worker()
        site.cluster.process.popen.send_signal(signal.SIGSTOP)
        site.award(20)
        site.wait_for_tasks()
        site.cluster.process.popen.send_signal(signal.SIGCONT)
        site.wait_until_none_is_lost()
        site.end_worker()

    compare(
        play, "broker accepts, never answers for a while", "SIGSTOP, SIGCONT", as_is=0, note=lambda: "less than 300 s"
    )


def test_broker_restarted(site, compare):
    site.need_cluster()

    def play():
        site.start_worker()
        site.award(10)
        site.wait_for_tasks()
        site.wait_until_none_is_lost()
        site.cluster.set_down(True)
        site.award(10)
        site.wait_for_tasks()
        site.cluster.set_down(False)
        site.wait_until_none_is_lost()
        site.end_worker()

    compare(play, "broker restarted while awarding", "connections cut and refused, then taken again", as_is=0)


# The schema registry


def test_registry_refuses(site, compare):
    seconds = []

    def play():
        site.start_worker()
        site.award(2)
        site.wait_for_tasks()
        seconds.append(site.slowest_task())
        site.end_worker()

    compare(
        play,
        "schema registry refuses connections",
        "nobody listens",
        settings=f'EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL = "http://127.0.0.1:{free_port()}"',
        as_is=2,
        block=2,
        note=lambda: f"each task took up to {max(seconds):.1f} s",
    )


def test_registry_silent(site, compare):
    site.need_registry()

    def play():
        site.registry.popen.send_signal(signal.SIGSTOP)
        site.start_worker()
        site.award(4)
        wait_for(lambda: len(site.awarded()) == 2, "the awards for which there are processes")
        states = Counter(task["state"] for task in site.tasks())
        assert states == {"published": 4, "started": 2}
        site.registry.popen.send_signal(signal.SIGCONT)
        site.wait_for_tasks()
        site.wait_until_none_is_lost()
        site.end_worker()

    compare(
        play,
        "schema registry accepts, never answers for a while",
        "SIGSTOP, SIGCONT",
        as_is=0,
        note=lambda: "each process holds one award, and awards no other, until the registry answers",
    )


def test_registry_silent_and_a_time_limit(site, compare):
    site.need_registry()

    def play():
        site.registry.popen.send_signal(signal.SIGSTOP)
        site.start_worker(concurrency=4, options=["--soft-time-limit=4"])
        site.award(4)
        site.wait_for_tasks()
        assert {task["state"] for task in site.tasks()} == {"published", "started", "succeeded"}
        site.end_worker()
        site.registry.popen.send_signal(signal.SIGCONT)

    compare(
        play,
        "schema registry accepts, never answers; worker with a time limit",
        "SIGSTOP, --soft-time-limit=4",
        as_is=4,
        block=4,
        note=lambda: "each task succeeds, after 4 s",
    )


# The republish command


@pytest.mark.parametrize("rtt", [50, 400])
def test_republish_ends_with_events_under_way(site, compare, rtt):
    def play():
        site.store(LEARNERS[:60])
        code, output = site.end_republish(site.start_republish())
        assert code == 0, output
        assert " published_awarded=60 " in output
        assert WAITING not in output

    compare(
        play,
        "republish run ends with its events under way",
        "producer without `prepare_for_shutdown`",
        rtt=rtt,
        settings=HASTY_PRODUCER,
        note=lambda: "a run waits for a producer that has it",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_waiting_republish_is_interrupted(site, number):
    site.need_cluster()
    site.begin()
    site.store(LEARNERS[:20])
    site.cluster.process.popen.send_signal(signal.SIGSTOP)
    run = site.start_republish()
    wait_for(lambda: site.count_in_log(run.name, WAITING), "the run to wait", alive=[run])
    run.popen.send_signal(number)
    code, output = site.end_republish(run)
    site.cluster.process.popen.send_signal(signal.SIGCONT)

    assert code == 1, output
    assert " published_awarded=20 " in output
    assert "Interrupted while waiting for the event bus: what was under way to it may be lost." in output
    assert "Traceback" not in output
    assert site.lost() == 20

    site.republish()
    assert site.lost() == 0


# What the operators' page says


def test_block_builds_no_producer(site):
    site.begin(f"{named_block('kafka-flush')}\n{NO_PRODUCER}")

    site.manage("check", name="republish-check")

    assert not site.count_in_log("republish-check", "built a producer")


def test_first_start_of_a_consumer(site):
    site.begin()
    site.store(LEARNERS[:3])
    site.republish()
    site.manage("shell", "-c", named_block("kafka-first-start"))

    [_manage, _lms, *command] = shlex.split(named_block("kafka-consumer"))
    consumer = site.processes.python(
        "republish-consumer",
        *("manage.py", "lms", *command),
        env=site.env(TESTBED_CONSUMED=str(site.consumed_file), TESTBED_TOPIC=TOPIC),
    )
    # All that the topic has ever received, published before the group was there.
    site.wait_for_events(site.count_published())
    consumer.popen.send_signal(signal.SIGINT)
    consumer.popen.wait(PATIENCE)

    usernames = [event["data"]["program_certificate"]["user"]["pii"]["username"] for event in site.events()]
    assert len(usernames) == site.count_published()
    assert set(usernames) >= set(LEARNERS[:3])
    assert {event["type"] for event in site.events()} == {AWARDED}


def test_look_at_the_topic(site):
    site.begin()
    site.store(LEARNERS[:1])
    site.republish()

    site.manage("shell", "-c", named_block("kafka-look"), name="republish-look")

    assert site.count_in_log("republish-look", AWARDED)
