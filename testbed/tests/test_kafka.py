"""
Tests of ``make run BUS=kafka``, and of the broker and the schema registry that it starts.

The broker is librdkafka's mock cluster, which is no Apache Kafka. With ``KAFKA_BOOTSTRAP_SERVERS`` and
``SCHEMA_REGISTRY_URL`` the first test runs on brokers of one's own.
"""

import json

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from testbed.inputs import AWARDED, REVOKED, expected_events, read_learners, read_programs
from testbed.kafka.site import KafkaSite
from testbed.run import DATA, compare
from testbed.site import TOPIC

pytestmark = pytest.mark.e2e

EXPECTED = sum(expected_events(read_programs(DATA / "programs.json"), read_learners(DATA / "learners.json")), [])


def events_in(text):
    """Read the events that a run has printed."""
    return [json.loads(line.removeprefix("EVENT ")) for line in text.splitlines() if line.startswith("EVENT ")]


def test_certificates_become_events_on_kafka(run):
    started = run(BUS="kafka")

    assert started.wait() == 0, started.text
    events = events_in(started.text)
    assert compare(EXPECTED, events) == []
    assert {event["type"] for event in events} == {AWARDED, REVOKED}
    assert {event["topic"] for event in events} == {TOPIC}
    assert all(list(event) == ["type", "id", "source", "time", "topic", "data"] for event in events)
    assert "OK: exactly the 4 expected events arrived." in started.text
    assert [path.name for path in started.directory.iterdir()] == ["output"]


@pytest.mark.kafka
def test_run_on_brokers_of_ones_own(run, processes, tmp_path):
    site = KafkaSite(processes, tmp_path)
    site.start_cluster()
    site.start_registry()

    started = run(BUS="kafka", KAFKA_BOOTSTRAP_SERVERS=site.servers, SCHEMA_REGISTRY_URL=site.registry_url)

    assert started.wait() == 0, started.text
    assert compare(EXPECTED, events_in(started.text)) == []
    assert "Kafka broker" not in started.text
    assert "schema registry" not in started.text


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"BUS": "rabbit"}, "error: BUS: 'rabbit' is neither redis nor kafka"),
        ({"BUS": "kafka", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}, "error: SCHEMA_REGISTRY_URL: cannot reach"),
        ({"BUS": "kafka", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "error: KAFKA_BOOTSTRAP_SERVERS: "),
        ({"BUS": "kafka", "KAFKA_BOOTSTRAP_SERVERS": "a:b:c"}, "error: KAFKA_BOOTSTRAP_SERVERS: "),
    ],
)
def test_unusable_bus_is_refused(run, variables, message):
    started = run(**variables)

    assert started.wait() == 2
    [line] = started.text.splitlines()
    assert line.startswith(message)


def test_schema_registry(processes, tmp_path):
    site = KafkaSite(processes, tmp_path)
    site.start_registry()
    client = SchemaRegistryClient({"url": site.registry_url})
    text, number = Schema('"string"', "AVRO"), Schema('"long"', "AVRO")

    ids = [client.register_schema("topic-key", text), client.register_schema("topic-value", number)]

    assert ids == [1, 2]
    other = SchemaRegistryClient({"url": site.registry_url})
    assert [other.get_schema(id_).schema_str for id_ in ids] == ['"string"', '"long"']
    assert other.register_schema("other-key", text) == 1
    with pytest.raises(SchemaRegistryError, match="Schema not found"):
        other.get_schema(3)
