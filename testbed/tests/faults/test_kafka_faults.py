"""
The fault suite on Kafka: what becomes of events whose producer sends in the background.

A certificate is awarded whatever happens to its event. Each test lets a worker award some, and something go wrong,
twice: as it is, and with the block of settings that the operators' page gives (``kafka-flush``). It makes one row of
the table that is printed at the end, and has to show that after one run of ``republish_program_certificate_events``
every event has arrived.

How many are lost as it is depends on what ends first, a process or the sending of its events, so on how busy this
machine is. What is asserted is what does not: that none is lost with the block where it helps.

``KAFKA`` says which broker and which schema registry it is, as for ``make test-kafka``.
"""

import contextlib
import shlex
import signal
import subprocess
import time
from collections import Counter

import pytest
import yaml
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from testbed.pages.blocks import named_block
from testbed.run.inputs import AWARDED, REVOKED
from testbed.servers.kafka import APACHE
from testbed.servers.kafka.apache import command as kafka_command
from testbed.servers.processes import PATIENCE, Processes, free_port, wait_for
from testbed.servers.valkey import connect
from testbed.site.kafka import KafkaSite
from testbed.site.site import QUEUE, TOPIC
from testbed.tests.conftest import leftovers
from testbed.tests.faults.table import KAFKA_ROWS, KafkaRow

pytestmark = [pytest.mark.e2e, pytest.mark.kafka]

COURSE_RUN = "course-v1:OpenX+KAFKA+2026"
PROGRAM = {
    "uuid": "7a1e4b7c-0f0d-4f57-9b8e-2f6f3f0d0000",
    "title": "Kafka",
    "type": "MicroMasters",
    "status": "active",
    "courses": [{"course_runs": [{"key": COURSE_RUN, "type": "verified"}]}],
}
LEARNERS = [f"learner{number}" for number in range(200)]
# So few that a slow broker still has none of their events when the last task is through.
FEW = 4

PRODUCTION = "lms.envs.production"
# Kafka's scripts, and what they start.
PROGRAMS = {"kafka-topics.sh": "org.apache.kafka.tools.TopicCommand"}
REPUBLISH = "republish_program_certificate_events"
STARTED_BY_TESTS = ("worker", "republish", "consumer")
NOT_DELIVERED = "Error delivering message to Kafka event bus"

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

# Sends three events as one task would that awards three programs.
THREE_EVENTS = """
from django.contrib.auth import get_user_model
from django.utils.timezone import now
from openedx.core.djangoapps.programs.events import emit_program_certificate
user = get_user_model().objects.first()
sent = [emit_program_certificate(user, str(number), "awarded", now()) for number in range(3)]
print("each was handed over:", sent)
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

    far = True

    def __init__(self, processes, directory, kafka):
        super().__init__(processes, directory, kafka)
        self.start_redis()
        for _what, begin in self.bus_steps():
            begin()
        self.start_credentials([PROGRAM])
        self.start_discovery([PROGRAM])
        self.settings_module = PRODUCTION
        self.asked = self.played = self.runs = 0
        self.tasks_before, self.ends_before = 0, None
        self.configure()
        self.create_topic()
        self.begin_group()
        self.start_lms()
        self.do("register_schemas", event_types=[AWARDED, REVOKED])
        self.do("create_courses", keys=[COURSE_RUN])
        for username in LEARNERS:
            self.do("create_learner", username=username, email=f"{username}@example.com", name=f"Name of {username}")
            self.do("enrol", username=username, course_run=COURSE_RUN, mode="verified")
            self.do("certify", username=username, course_run=COURSE_RUN, mode="verified")
        self.store(LEARNERS)  # Credentials knows them now
        with connect(self.redis_url) as client:
            client.delete(f"{self.run_id}-{QUEUE}")  # no worker has taken the tasks of these certificates

    def bus_settings(self):
        """Return what the page gives, with the addresses of this site."""
        text = named_block("kafka-yaml").replace("kafka:9092", self.servers)
        return yaml.safe_load(text.replace("http://registry:8081", self.registry_url))

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

    def start_republish(self, *options):
        """Start a republish run; its output and its log are one file."""
        self.runs += 1
        return self.processes.python(
            f"republish{self.runs}",
            *("manage.py", "lms", REPUBLISH, *options),
            env=self.env(),
        )

    def end_republish(self, run):
        """Wait for the end of a republish run; return its exit code and its output."""
        code = run.popen.wait(PATIENCE)
        self.processes.forget(run)
        return code, run.log.read_text(encoding="utf-8")

    def republish(self):
        """Republish what was awarded, as an operator does once the cause is gone; in the LMS that runs, to be quick."""
        awarded = sorted(self.awarded())
        done = self.do("command", name=REPUBLISH, options={"usernames": awarded})
        assert (done["error"], done["returncode"]) == (None, 0)
        number = len(awarded)
        assert f"learners={number} awarded={number} revoked=0 skipped=0 failed=0 bus_errors=0" in done["output"]

    def begin_topic(self, numbers=(), settings=""):
        """
        Begin again with a topic of its own, which the page's command creates.

        Args:
            numbers (list[int]): for each event that the topic has at first, its partition.
            settings (str): as of ``begin``.

        Returns:
            str: the topic's full name.
        """
        prefix = f"{self.run_id}-{self.played}"
        self.begin(f'{settings}\nEVENT_BUS_TOPIC_PREFIX = "{prefix}"')
        topic = f"{prefix}-{TOPIC}"
        command = named_block("kafka-topic").replace(TOPIC, topic).replace("kafka:9092", self.servers)
        [program, *arguments] = shlex.split(command)
        subprocess.run(kafka_command(PROGRAMS[program], *arguments), check=True, capture_output=True, timeout=PATIENCE)
        self.publish(topic, numbers)
        return topic

    def publish(self, topic, numbers):
        """Publish the site's first event again, once to each of these partitions of a topic."""
        with self._reading() as (reader, partitions):
            [first] = [place for place, end in zip(partitions, self._ends(reader, partitions), strict=True) if end][:1]
            first.offset = 0
            reader.assign([first])
            event = reader.poll(PATIENCE)
        producer = Producer({"bootstrap.servers": self.servers})
        for number in numbers:
            producer.produce(topic, event.value(), event.key(), number, headers=event.headers())
        assert not producer.flush(PATIENCE)

    def count_in(self, topic):
        """int: how many events are in a topic."""
        reader = Consumer({"bootstrap.servers": self.servers, "group.id": "nobody"})
        numbers = reader.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
        ends = [reader.get_watermark_offsets(TopicPartition(topic, number), timeout=PATIENCE)[1] for number in numbers]
        reader.close()
        return sum(ends)

    def start_group(self, group, *options):
        """Start the page's consumer as one of this group; return it once the group's partitions are its own."""
        [_manage, _lms, *command] = shlex.split(named_block("kafka-consumer").replace("my-group", group))
        self.runs += 1
        consumer = self.processes.python(
            f"consumer{self.runs}",
            *("manage.py", "lms", *command, *options),
            env=self.env(TESTBED_CONSUMED=str(self.directory / f"{group}.jsonl"), TESTBED_TOPIC=TOPIC),
        )
        wait_for(lambda: self.members(group), f"{consumer.name} to join {group}", alive=[consumer])
        time.sleep(2)  # it asks for its position then
        return consumer

    def members(self, group):
        """list: the members of a group that have partitions, also ended ones whose session has not timed out yet."""
        admin = AdminClient({"bootstrap.servers": self.servers})
        with contextlib.suppress(KafkaException):  # there is no such group yet
            members = admin.describe_consumer_groups([group])[group].result().members
            return [member for member in members if member.assignment.topic_partitions]
        return []

    def consumed(self, group):
        """int: how many events a group has received."""
        path = self.directory / f"{group}.jsonl"
        return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0

    def give_first_position(self, group):
        """Do what the page says of a new group."""
        self.manage("shell", "-c", named_block("kafka-first-start").replace("my-group", group), name="first-start")

    def end(self, process, number=signal.SIGINT):
        """End a process by a signal."""
        process.popen.send_signal(number)
        process.popen.wait(PATIENCE)
        self.processes.forget(process)

    @contextlib.contextmanager
    def rtt(self, milliseconds):
        """Have brokers whose answers take a while."""
        self.cluster.set_rtt(milliseconds)
        try:
            yield
        finally:
            self.cluster.set_rtt(0)


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory, kafka):
    """Start the site that all faults happen to, one after the other."""
    directory = tmp_path_factory.mktemp("kafka")
    with Processes(directory) as processes:
        yield FaultSite(processes, directory, kafka)
    assert not leftovers(directory)


@pytest.fixture
def site(shared_site):
    """The site, with a broker and a registry that answer at once, and no worker."""
    yield shared_site
    for server in (shared_site.cluster.process, shared_site.registry):
        server.popen.send_signal(signal.SIGCONT)
    # If the test ended early, they may still run.
    for process in [running for running in shared_site.processes.running if running.name.startswith(STARTED_BY_TESTS)]:
        process.kill()
        shared_site.processes.forget(process)


@pytest.fixture
def apache(site):
    """The site, if its broker is Apache Kafka: the mock cluster has no admin API, and lets consumers join slowly."""
    if site.kafka != APACHE:
        pytest.skip("KAFKA: this shows itself on Apache Kafka only")
    if not site.count_published():
        site.store(LEARNERS[:1])
        site.republish()
    return site


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

    def play():
        site.start_worker()
        site.award(10)
        site.wait_for_tasks()
        site.wait_until_none_is_lost()
        site.cluster.stop()
        try:
            site.award(10)
            site.wait_for_tasks()
        finally:
            site.cluster.start()
        site.wait_until_none_is_lost()
        site.end_worker()

    compare(play, "broker restarted while awarding, with its data", "SIGTERM, then started again", as_is=0)


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
    awards = iter([2, 4])  # that are made meanwhile: one by each process, and with the block all

    def play():
        site.registry.popen.send_signal(signal.SIGSTOP)
        site.start_worker()
        site.award(4)
        expected = next(awards)
        wait_for(lambda: len(site.awarded()) == expected, "the awards")
        if expected == 2:
            states = Counter(task["state"] for task in site.tasks())
            assert states == {"published": 4, "started": 2}
        else:
            site.wait_for_tasks()
        site.registry.popen.send_signal(signal.SIGCONT)
        site.wait_for_tasks()
        if expected == 2:
            site.wait_until_none_is_lost()
        site.end_worker()

    compare(
        play,
        "schema registry accepts, never answers for a while",
        "SIGSTOP, SIGCONT",
        as_is=0,
        block=4,
        note=lambda: "as is, each process holds one award, and makes no other, until the registry answers",
    )


def test_registry_silent_and_a_time_limit(site, compare):

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


def test_registry_silent_and_three_events_of_a_process(site):
    # Without the block, the first would not return: `site.manage` fails then.
    site.begin(named_block("kafka-flush"))
    site.registry.popen.send_signal(signal.SIGSTOP)
    try:
        site.manage("shell", "-c", THREE_EVENTS, name="three-events")
    finally:
        site.registry.popen.send_signal(signal.SIGCONT)
    assert site.count_in_log("three-events", "each was handed over: [True, True, True]") == 1


def test_registry_silent_while_a_consumer_starts(apache):
    # A consumer that gave the registry a time-out would commit past what it cannot decode.
    topic, group = apache.begin_topic([0, 1], settings=named_block("kafka-flush")), f"silent-{apache.played}"
    apache.give_first_position(group)
    apache.registry.popen.send_signal(signal.SIGSTOP)
    try:
        consumer = apache.start_group(group)
        time.sleep(4)  # longer than the block's time-out
    finally:
        apache.registry.popen.send_signal(signal.SIGCONT)
    apache.publish(topic, [2])
    wait_for(lambda: apache.consumed(group) == 3, "the events")
    apache.end(consumer)


def test_first_events_of_a_topic(apache, request):
    lost = []
    for settings in ("", named_block("kafka-flush")):
        topic = apache.begin_topic(settings=settings)
        apache.start_worker(concurrency=FEW)
        before = apache.count_in_log("worker", "(HTTP status code 409")
        apache.award(FEW)
        apache.wait_for_tasks()
        apache.end_worker()
        lost.append(FEW - apache.count_in(topic))
    refused = apache.count_in_log("worker", "already exists. (HTTP status code 409") - before
    before = apache.count_in(topic)
    code, output = apache.end_republish(apache.start_republish("--usernames", *apache.awarded()))
    after = FEW - (apache.count_in(topic) - before)
    note = "Apicurio refuses a process that registers a subject at the same moment as another one"
    add_row(request, "several processes send the first events of a topic", f"{FEW} processes", FEW, lost, note, after)
    assert (code, after) == (0, 0), output
    assert (lost[1] > 0) == (refused > 0)


# The republish command


@pytest.mark.parametrize("rtt", [50, 400])
def test_republish_ends_with_events_under_way(site, compare, rtt):
    def play():
        site.store(LEARNERS[:FEW])
        code, output = site.end_republish(site.start_republish("--usernames", *LEARNERS[:FEW]))
        assert code == 0, output
        assert f" awarded={FEW} " in output

    compare(
        play,
        "republish run ends with its events under way",
        "producer without `prepare_for_shutdown`",
        rtt=rtt,
        settings=HASTY_PRODUCER,
        note=lambda: "a run waits for a producer that has it",
    )


@pytest.mark.parametrize("options", [[], ["--enqueue"]], ids=["in-process", "enqueue"])
def test_repair(site, compare, options):
    seconds = []

    def play():
        site.store(LEARNERS)
        site.start_worker(options=["--max-tasks-per-child=100"])
        started = time.monotonic()
        code, output = site.end_republish(site.start_republish("--all", *options))
        assert code == 0, output
        assert (f"enqueued={len(LEARNERS)}" if options else f" awarded={len(LEARNERS)} ") in output
        site.wait_for_tasks()
        seconds.append(time.monotonic() - started)
        site.end_worker()

    compare(
        play,
        "repair of 200 lost events",
        " ".join([REPUBLISH, "--all", *options]),
        rtt=50,
        as_is=0,
        note=lambda: f"it took up to {max(seconds):.1f} s",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_waiting_republish_is_interrupted(site, number):
    site.begin()
    site.store(LEARNERS[:20])
    site.cluster.process.popen.send_signal(signal.SIGSTOP)
    asked = len(site.credentials.requests())
    run = site.start_republish("--all")
    wait_for(lambda: len(site.credentials.requests()) == asked + len(LEARNERS), "the run to ask", alive=[run])
    time.sleep(1)
    run.popen.send_signal(number)
    code, output = site.end_republish(run)
    site.cluster.process.popen.send_signal(signal.SIGCONT)

    assert code == 1, output
    assert " awarded=20 " in output
    assert "Not complete: KeyboardInterrupt." in output
    assert "Traceback" not in output
    assert site.lost() == 20

    site.republish()
    assert site.lost() == 0


# Consumers. What is compared is a group without a first position, and one that was given it as the page says.


def test_topic_of_the_page(apache):
    topic = apache.begin_topic()

    admin = AdminClient({"bootstrap.servers": apache.servers})
    assert len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 3
    [described] = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    values = {name: entry.value for name, entry in described.result().items()}
    assert (values["retention.ms"], values["cleanup.policy"]) == ("604800000", "delete")


def test_new_group(apache, request):
    lost = []
    for is_given in (False, True):
        topic, group = apache.begin_topic([0, 0, 0]), f"new-{apache.played}"
        if is_given:
            apache.give_first_position(group)
        consumer = apache.start_group(group)
        apache.publish(topic, [0, 0, 0])
        wait_for(lambda group=group, due=6 if is_given else 3: apache.consumed(group) >= due, "the events")
        lost.append(6 - apache.consumed(group))
        apache.end(consumer)
    add_row(request, "new group on a topic that has events", "3 events before its first start", 6, lost)
    assert lost == [3, 0]


def test_idle_partition_of_a_group(apache, request):
    lost = []
    for is_given in (False, True):
        topic, group = apache.begin_topic([0]), f"idle-{apache.played}"
        if is_given:
            apache.give_first_position(group)
        apache.end(apache.start_group(group))
        apache.publish(topic, [0, 1])
        consumer = apache.start_group(group)
        apache.publish(topic, [2])
        wait_for(lambda group=group, due=4 if is_given else 1: apache.consumed(group) >= due, "the events")
        lost.append(4 - apache.consumed(group))
        apache.end(consumer)
    add_row(request, "consumer restarted before it has consumed anything", "SIGINT", 4, lost)
    assert lost == [3, 0]


def test_offset_time_and_an_empty_partition(apache, request):
    topic, group = apache.begin_topic([0]), f"offset-{apache.played}"
    resetting = apache.start_group(group, "--extra", '{"offset_time": "2020-01-01T00:00:00+00:00"}')
    wait_for(lambda: apache.count_in_log(resetting.name, "Found offsets for timestamp"), "the offsets")
    apache.end(resetting)
    wait_for(lambda: not apache.members(group), "the session to time out")  # it does not leave the group
    reader = Consumer({"bootstrap.servers": apache.servers, "group.id": group})
    committed = [place.offset for place in reader.committed([TopicPartition(topic, number) for number in range(3)])]
    reader.close()
    apache.publish(topic, [1])
    consumer = apache.start_group(group)
    apache.publish(topic, [2])
    wait_for(lambda: apache.consumed(group) >= 2, "the events")
    lost = 3 - apache.consumed(group)
    apache.end(consumer)
    fault, note = "offset_time, and a partition that is empty until then", "nothing is committed for that partition"
    add_row(request, fault, "--extra", 3, [lost, "–"], note)
    assert (committed, lost) == ([0, OFFSET_INVALID, OFFSET_INVALID], 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_consumer_restarted(apache, request, number):
    topic, group = apache.begin_topic([0]), f"restarted-{apache.played}"
    apache.give_first_position(group)
    consumer = apache.start_group(group)
    wait_for(lambda: apache.consumed(group) == 1, "the event")
    apache.end(consumer, number)
    apache.publish(topic, [0, 1])
    started = time.time()
    consumer = apache.start_group(group)
    wait_for(lambda: apache.consumed(group) >= 3, "the events")
    seconds = (apache.directory / f"{group}.jsonl").stat().st_mtime - started
    apache.end(consumer)
    note = f"the next consumer had its events {seconds:.0f} s after its start"
    add_row(request, "consumer restarted", number.name, 3, ["–", 3 - apache.consumed(group)], note)
    assert apache.consumed(group) == 3
    assert (seconds > 30) == (number == signal.SIGTERM)


def add_row(request, fault, injected, published, lost, note="", after="–"):
    """Add a row of the table that shows itself on Apache Kafka only."""
    KAFKA_ROWS[request.node.name] = KafkaRow(fault, injected, published, *lost, after, note)


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
