"""A site whose event bus is Kafka, for ``make run BUS=kafka``, the tests on Kafka and the benchmarks."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from testbed.run.inputs import AWARDED, REVOKED
from testbed.servers.kafka import APACHE, KAFKAS, MOCK
from testbed.servers.kafka.apache import ApacheKafka, Apicurio
from testbed.servers.kafka.mock_cluster import MockCluster
from testbed.servers.processes import Process, ProcessError, Processes, wait_for
from testbed.site.site import GROUP, Site

# As many as the mock cluster makes of a topic that somebody asks for.
PARTITIONS = 4

# Seconds within which brokers that are at hand answer.
PATIENCE = 5


class KafkaSite(Site):
    """
    The site, with Kafka as its event bus; the Celery broker and the cache are still Redis.

    Args, beside those of ``Site``:
        kafka: a key of ``KAFKAS``.
        servers: bootstrap servers of brokers to use in place of one that is started.
        registry_url: the same for a schema registry.
    """

    bus_app = "edx_event_bus_kafka"
    consumer_options = {}  # it takes no name
    cluster: ApacheKafka | MockCluster
    registry: Process

    def __init__(
        self,
        processes: Processes,
        directory: str | Path,
        kafka: str = MOCK,
        servers: str | None = None,
        registry_url: str | None = None,
    ) -> None:
        super().__init__(processes, directory)
        self.kafka = kafka
        self.servers, self.registry_url = servers or "", registry_url or ""
        self.overdue = 0  # events that have not come in time

    def bus_steps(self) -> list[tuple[str, Callable[[], None]]]:
        broker, registry = KAFKAS[self.kafka]
        steps = [] if self.servers else [(f"Kafka broker, {broker}", self.start_cluster)]
        return steps if self.registry_url else [*steps, (f"schema registry, {registry}", self.start_registry)]

    def start_cluster(self) -> None:
        if self.kafka == APACHE:
            self.cluster = ApacheKafka(self.processes, self.directory / "kafka")
        else:
            self.cluster = MockCluster(self.processes)
        self.servers = self.cluster.servers

    def start_registry(self) -> None:
        if self.kafka == APACHE:
            registry = Apicurio(self.processes)
            self.registry, self.registry_url = registry.process, registry.url
        else:
            self.registry, self.registry_url = self.processes.server(
                "registry", "-m", "testbed.standins.schema_registry"
            )

    def bus_settings(self) -> dict[str, Any]:
        return {
            "EVENT_BUS_PRODUCER": "edx_event_bus_kafka.create_producer",
            "EVENT_BUS_CONSUMER": "edx_event_bus_kafka.KafkaEventConsumer",
            "EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS": self.servers,
            "EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL": self.registry_url,
        }

    @property
    def group(self) -> str:  # type: ignore[override]
        """The consumer's group, on brokers that may have many."""
        return f"{self.run_id}-{GROUP}"

    def create_topic(self) -> None:
        """Create the topic: a consumer of one that is not there ends."""
        admin, producer = AdminClient(_client(self.servers)), Producer(_client(self.servers))
        # The mock cluster has no admin API, and has each topic that anybody asks for.
        _finish(admin.create_topics([NewTopic(self.stream_key, PARTITIONS)], request_timeout=PATIENCE))

        def exists() -> bool:
            topic = producer.list_topics(self.stream_key, timeout=PATIENCE).topics[self.stream_key]
            return not topic.error and all(partition.leader >= 0 for partition in topic.partitions.values())

        wait_for(exists, f"the topic {self.stream_key} on {self.servers}", despite=[KafkaException])

    def start_consumer(self, name: str = "consumer", **extra: Any) -> Process:
        """Start a consumer that receives all that is in the topic, whenever it was published."""
        self.create_topic()
        self.do("register_schemas", event_types=[AWARDED, REVOKED])
        self.begin_group()
        return super().start_consumer(name, **extra)

    def has_group(self) -> bool:
        return True

    def begin_group(self) -> None:
        """Let the group begin at the topic's start: as long as it has committed nothing, it begins at the end."""
        with self._reading() as (reader, partitions):
            for partition in partitions:
                partition.offset = 0
            # The first group of a new Apache Kafka is refused until the topic is there in which offsets are kept.
            wait_for(
                lambda: reader.commit(offsets=partitions, asynchronous=False),
                f"{self.servers} to take the offsets of {self.group}",
                despite=[KafkaException],
            )

    def wait_for_arrival(self, due: int) -> None:
        """Wait for what is due, but not for long: it may be under way when its task is through, or lost."""
        with contextlib.suppress(ProcessError):
            wait_for(lambda: len(self.events()) >= due - self.overdue, "the events", PATIENCE)
        super().wait_for_arrival(due)
        self.overdue = max(due - len(self.events()), 0)

    def count_published(self) -> int:
        return sum(self.ends())

    def ends(self) -> list[int]:
        """Return how many messages each partition of the topic has received."""
        with self._reading() as (reader, partitions):
            return self._ends(reader, partitions)

    def stream(self, since: list[int] | None = None) -> list[dict[str, Any]]:
        """Return the data of ``messages()``."""
        # These take long to load, and `make run` does without them.
        from confluent_kafka.schema_registry import SchemaRegistryClient
        from confluent_kafka.schema_registry.avro import AvroDeserializer
        from confluent_kafka.serialization import MessageField, SerializationContext

        deserialize = AvroDeserializer(SchemaRegistryClient({"url": self.registry_url}))
        context = SerializationContext(self.stream_key, MessageField.VALUE)
        return [deserialize(message.value(), context) for message in self.messages(since)]

    def messages(self, since: list[int] | None = None) -> list[Message]:
        """Return the events, those of each partition in order; ``since`` is an earlier ``ends()`` to begin at."""
        with self._reading() as (reader, partitions):
            starts = since or [0] * len(partitions)
            for partition, start in zip(partitions, starts, strict=True):
                partition.offset = start
            missing = sum(self._ends(reader, partitions)) - sum(starts)
            reader.assign(partitions)
            messages = [message for message in reader.consume(missing, 4 * PATIENCE) if not message.error()]
            if len(messages) < missing:
                raise ProcessError(f"{missing - len(messages)} messages of {self.stream_key} cannot be read")
            return messages

    @contextlib.contextmanager
    def _reading(self) -> Iterator[tuple[Consumer, list[TopicPartition]]]:
        """Have a client of the consumer's group, which it does not join, and the topic's partitions."""
        reader = Consumer(_client(self.servers) | {"group.id": self.group, "enable.auto.commit": False})
        try:
            topic = reader.list_topics(self.stream_key, timeout=PATIENCE).topics[self.stream_key]
            yield reader, [TopicPartition(self.stream_key, number) for number in sorted(topic.partitions)]
        except KafkaException as exc:
            raise ProcessError(f"Kafka: {exc}") from exc
        finally:
            reader.close()

    @staticmethod
    def _ends(reader: Consumer, partitions: list[TopicPartition]) -> list[int]:
        # For a moment after it was stopped, Apache Kafka leads no partition.
        return wait_for(
            lambda: [reader.get_watermark_offsets(partition, timeout=PATIENCE)[1] for partition in partitions],
            "Kafka to say how many events it has",
            patience=4 * PATIENCE,
            despite=[KafkaException],
        )

    def remove_topic(self) -> None:
        """Remove the topic from brokers that outlive the run, if they let anybody do so."""
        admin = AdminClient(_client(self.servers))
        _finish(admin.delete_topics([self.stream_key], request_timeout=PATIENCE))


def find_problem(servers: str) -> str:
    """Return why brokers do not answer, in one line; "" if they do."""
    try:
        Producer(_client(servers)).list_topics(timeout=PATIENCE)
    except KafkaException as exc:
        return exc.args[0].str()
    return ""


def _client(servers: str) -> dict[str, Any]:
    # What is wrong is raised; librdkafka would also write it to this process's standard error.
    return {"bootstrap.servers": servers, "log_level": 0}


def _finish(futures: dict[str, Future]) -> None:
    """Wait until brokers have done, or refused, what an admin client has asked for."""
    for future in futures.values():
        with contextlib.suppress(KafkaException):
            future.result()
