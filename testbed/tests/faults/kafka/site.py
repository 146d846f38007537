"""
The site of the fault suite on Kafka: ``test_faults.py`` and ``test_consumers.py`` break it.
"""

import shlex
import signal
import subprocess
import time
from collections.abc import Collection, Iterable
from pathlib import Path

import yaml
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from testbed.pages.blocks import named_block
from testbed.run.inputs import AWARDED, REVOKED
from testbed.servers.kafka import MOCK
from testbed.servers.kafka.apache import command as kafka_command
from testbed.servers.processes import PATIENCE, Process, Processes, wait_for
from testbed.servers.valkey import connect
from testbed.site.kafka import KafkaSite
from testbed.site.programs import make_program
from testbed.site.site import QUEUE, REPUBLISH, TOPIC
from testbed.tests.faults.site import BrokenSite
from testbed.tests.faults.table import KAFKA_ROWS, Row, compare, documented

COURSE_RUN = "course-v1:OpenX+KAFKA+2026"
PROGRAM = make_program(0, [COURSE_RUN])
LEARNERS = [f"learner{number}" for number in range(200)]
# Kafka's scripts, and what they start.
SCRIPTS = {"kafka-topics.sh": "org.apache.kafka.tools.TopicCommand"}
STARTED_BY_TESTS = ("worker", "command", "consumer")


class KafkaFaultSite(KafkaSite, BrokenSite):
    """A site with learners who have completed a program, and with no worker yet."""

    def __init__(self, processes: Processes, directory: Path, kafka: str) -> None:
        super().__init__(processes, directory, kafka)
        self.start_redis()
        for _what, begin in self.bus_steps():
            begin()
        self.settings_module = "lms.envs.production"
        self.block = ""  # the page's block of settings, if the play has it
        self.seconds = 0.0  # that the play has measured
        self.asked = self.played = self.tasks_before = 0
        self.ends_before: list[int] | None = None
        self.prefix = self.run_id
        self.create_topic()
        self.begin_group()
        self.begin_site([PROGRAM])
        self.do("register_schemas", event_types=[AWARDED, REVOKED])
        for username in LEARNERS:
            self.do("create_learner", username=username, enrolled={COURSE_RUN: "verified"}, known=False)
            self.do("certify", username=username, course_run=COURSE_RUN)
        self.store(LEARNERS)  # Credentials knows them now
        self.republish(LEARNERS[:1])
        [self.event] = self.messages()
        with connect(self.redis_url) as client:
            client.delete(f"{self.run_id}-{QUEUE}")  # no worker has taken the tasks of these certificates

    @property
    def stream_key(self) -> str:
        """The topic of the play."""
        return f"{self.prefix}-{TOPIC}"

    @property
    def group(self) -> str:  # type: ignore[override]
        """The group of the play's consumers."""
        return f"group-{self.played}"

    def bus_settings(self) -> dict:
        """Return what the page gives, with the addresses of this site."""
        text = named_block("kafka-yaml").replace("kafka:9092", self.servers)
        return yaml.safe_load(text.replace("http://registry:8081", self.registry_url))

    def env(self, **extra: str) -> dict[str, str]:
        """Return the environment of an LMS process, with the settings of the play."""
        return super().env(DJANGO_SETTINGS_MODULE=self.settings_module, PYTHONPATH=str(self.directory), **extra)

    def heal(self) -> None:
        """Have everything answer again, and nothing run that a test has started."""
        self.go_on(self.cluster.process)
        self.cluster.set_rtt(0)
        self.go_on(self.registry)
        self.processes.kill(*STARTED_BY_TESTS)

    # A play: certificates are awarded, or stored, and their events sent

    def begin(self, settings: str = "", own_topic: bool = False) -> None:
        """Begin again with these settings added to the LMS's, and with no certificate in Credentials."""
        if awarded := self.awarded():
            self.credentials.delete(awarded)
        self.asked = 0
        self.played += 1
        self.settings_module = f"settings_{self.played}"
        file = self.directory / f"{self.settings_module}.py"
        self.prefix = f"{self.run_id}-{self.played}" if own_topic else self.run_id
        settings += f'\nEVENT_BUS_TOPIC_PREFIX = "{self.prefix}"\n'
        file.write_text(f"from lms.envs.production import *\n\n{settings}", encoding="utf-8")
        self.consumed_file = self.directory / f"{self.group}.jsonl"
        self.tasks_before = len(super().tasks())
        self.ends_before = None if own_topic else self.ends()

    def store(self, usernames: Collection[str]) -> None:
        """Store certificates in Credentials, of which nobody has sent an event."""
        self.asked = len(usernames)
        stored = {"program_uuid": PROGRAM["uuid"], "status": "awarded", "modified": "2026-11-25T00:00Z"}
        self.credentials.store({"username": username, **stored} for username in usernames)

    def award(self, count: int, wait: bool = True) -> None:
        """Have the certificates of so many more learners awarded; wait until their tasks have ended."""
        for username in LEARNERS[self.asked : self.asked + count]:
            self.do("award_again", username=username)
        self.asked += count
        if wait:
            self.wait_for_tasks()

    def end(self, process: Process, number: int = signal.SIGTERM) -> float:
        """End a process by a signal, its children too if that kills; return how many seconds it took."""
        started = time.monotonic()
        if number == signal.SIGKILL:
            process.kill()
        process.popen.send_signal(number)
        process.finish()
        return time.monotonic() - started

    def silence(self, process: Process) -> None:
        """Have a server accept connections and never answer."""
        process.popen.send_signal(signal.SIGSTOP)

    def go_on(self, process: Process) -> None:
        """Have it answer again."""
        process.popen.send_signal(signal.SIGCONT)

    # The outcome

    def tasks(self) -> list[dict]:
        """Leave out the tasks of earlier plays."""
        return super().tasks()[self.tasks_before :]

    def awarded(self) -> set[str]:
        """Return the learners who have the certificate in Credentials."""
        return {item["username"] for item in self.credentials.credentials() if item["status"] == "awarded"}

    def lost(self) -> int:
        """Count the awards no event on the bus tells of."""
        told = {data["program_certificate"]["user"]["pii"]["username"] for data in self.stream(self.ends_before)}
        return len(self.awarded() - told)

    def documented(self, fault: str, injected: str) -> Row:
        """Find a row of ``docs/faults-kafka.md``, with the cells that are about this Kafka."""
        row = documented(fault, "faults-kafka.md", injected)
        first = 1 if self.kafka == MOCK else 4
        return row._replace(cells=(row.cells[0], *row.cells[first : first + 3], row.cells[-1]))

    def compare(self, fault: str, injected: str, *numbers: object, note: str = "") -> None:
        """Fill a row of the table, and compare it with what is documented."""
        expected = self.documented(fault, injected)
        compare(expected._replace(cells=(*numbers, note or expected.cells[-1])), expected, KAFKA_ROWS)

    def wait_until_none_is_lost(self) -> None:
        """Wait until every award's event is on the bus."""
        wait_for(lambda: not self.lost(), "the events")

    # The repair

    def finish(self, run: Process, code: int = 0) -> str:
        """Wait for the end of a command, and check its exit code; return what it logged and printed."""
        found, output = run.finish()
        text = run.log.read_text(encoding="utf-8") + output
        assert found == code, text
        return text

    def manage(self, *argv: str) -> str:
        """Run a command to its end; return what it logged and printed."""
        return self.finish(self.start_command(*argv))

    def republish(self, usernames: Collection[str] = ()) -> None:
        """Republish what was awarded, as an operator does once the cause is gone; in the LMS that runs, to be quick."""
        awarded = sorted(usernames or self.awarded())
        number = len(awarded)
        output = self.command(REPUBLISH, "--usernames", *awarded)
        assert f"learners={number} awarded={number} revoked=0 skipped=0 failed=0 bus_errors=0" in output

    # A topic, and a group of consumers, of a play's own

    def begin_topic(self, numbers: Iterable[int] = (), settings: str = "") -> None:
        """Begin again with a topic that the page's command creates, and with an event in each of these partitions."""
        self.begin(settings, own_topic=True)
        command = named_block("kafka-topic").replace(TOPIC, self.stream_key).replace("kafka:9092", self.servers)
        [script, *arguments] = shlex.split(command)
        subprocess.run(kafka_command(SCRIPTS[script], *arguments), check=True, capture_output=True, timeout=PATIENCE)
        self.publish(*numbers)

    def publish(self, *numbers: int) -> None:
        """Publish the site's first event again, once to each of these partitions of the play's topic."""
        event, producer = self.event, Producer({"bootstrap.servers": self.servers})
        for number in numbers:
            producer.produce(self.stream_key, event.value(), event.key(), number, headers=event.headers())
        assert not producer.flush(PATIENCE)

    def committed(self) -> list[int]:
        """List what the play's group has committed of each partition."""
        with self._reading() as (reader, partitions):
            return [place.offset for place in reader.committed(partitions)]

    def give_first_position(self) -> None:
        """Do what the page says of a new group."""
        self.manage("shell", "-c", named_block("kafka-first-start").replace("my-group", self.group))

    def start_page_consumer(self, *options: str) -> Process:
        """Start the page's consumer in the play's group."""
        [_manage, _lms, *command] = shlex.split(named_block("kafka-consumer").replace("my-group", self.group))
        return self.start_command(*command, *options, TESTBED_CONSUMED=str(self.consumed_file), TESTBED_TOPIC=TOPIC)

    def start_group(self, *options: str) -> Process:
        """Start the same; return it once the group's partitions are its own."""
        consumer = self.start_page_consumer(*options)
        # There is no such group yet.
        wait_for(self.members, f"{consumer.name} to join {self.group}", alive=[consumer], despite=[KafkaException])
        time.sleep(2)  # it asks for its position then
        return consumer

    def members(self) -> list:
        """List the group's members that have partitions, also ended ones whose session has not timed out yet."""
        admin = AdminClient({"bootstrap.servers": self.servers})
        members = admin.describe_consumer_groups([self.group])[self.group].result().members
        return [member for member in members if member.assignment.topic_partitions]
