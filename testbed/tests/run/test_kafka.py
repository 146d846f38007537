"""
Tests of ``make run BUS=kafka``, and of the brokers and the schema registries that it starts.

``KAFKA`` says which, as for ``make test-kafka``.
"""

import json
import os
import socket
import subprocess
import sys
import time

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from testbed import ROOT
from testbed.run.__main__ import DATA, compare
from testbed.run.inputs import AWARDED, REVOKED, expected_events, read_learners, read_programs
from testbed.servers.kafka import apache
from testbed.servers.kafka.proxy import Proxy
from testbed.servers.processes import wait_for
from testbed.site.kafka import KafkaSite
from testbed.site.site import TOPIC

pytestmark = pytest.mark.e2e

EXPECTED = sum(expected_events(read_programs(DATA / "programs.json"), read_learners(DATA / "learners.json")), [])


def events_in(text):
    """Read the events that a run has printed."""
    return [json.loads(line.removeprefix("EVENT ")) for line in text.splitlines() if line.startswith("EVENT ")]


@pytest.mark.kafka
@pytest.mark.representative
def test_certificates_become_events_on_kafka(run, kafka):
    started = run(BUS="kafka", KAFKA=kafka)

    assert started.wait() == 0, started.text
    events = events_in(started.text)
    assert compare(EXPECTED, events) == []
    assert {event["type"] for event in events} == {AWARDED, REVOKED}
    assert {event["topic"] for event in events} == {TOPIC}
    assert all(list(event) == ["type", "id", "source", "time", "topic", "data"] for event in events)
    assert "OK: exactly the 4 expected events arrived." in started.text
    assert [path.name for path in started.directory.iterdir()] == ["output"]


@pytest.mark.kafka
def test_run_on_brokers_of_ones_own(run, processes, tmp_path, kafka):
    site = KafkaSite(processes, tmp_path, kafka)
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
        ({"BUS": "kafka", "KAFKA": "real"}, "error: KAFKA: 'real' is neither mock nor apache"),
        ({"BUS": "kafka", "KAFKA": "apache", "PATH": "/"}, "error: KAFKA: java was not found"),
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


@pytest.mark.kafka
@pytest.mark.representative
def test_schema_registry(processes, tmp_path, kafka):
    site = KafkaSite(processes, tmp_path, kafka)
    site.start_registry()
    client = SchemaRegistryClient({"url": site.registry_url})
    schemas = [Schema(f'"{name}"', "AVRO") for name in ("string", "long")]

    ids = [client.register_schema(f"topic-{schema.schema_str}", schema) for schema in schemas]

    assert len(set(ids)) == 2
    other = SchemaRegistryClient({"url": site.registry_url})
    assert [other.get_schema(id_).schema_str for id_ in ids] == ['"string"', '"long"']
    assert other.register_schema("other", schemas[0]) == ids[0]
    with pytest.raises(SchemaRegistryError) as caught:
        other.get_schema(1000)
    assert (caught.value.http_status_code, caught.value.error_code) == (404, 40403)


@pytest.mark.parametrize(
    ("wanted", "path", "code", "chosen", "said"),
    [
        ("", "/", 0, "mock\n", "Kafka of the tests: librdkafka's mock cluster, the testbed's own (java was not found)"),
        ("mock", "/", 0, "mock\n", "Kafka of the tests: librdkafka's mock cluster, the testbed's own"),
        ("apache", "/", 2, "", "error: KAFKA: java was not found"),
        ("real", "/", 2, "", "error: KAFKA: 'real' is neither mock nor apache"),
    ],
)
def test_choice_of_a_kafka(wanted, path, code, chosen, said):
    done = subprocess.run(
        [sys.executable, "-m", "testbed.servers.kafka"],
        cwd=ROOT,
        env={**os.environ, "KAFKA": wanted, "PATH": path},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stdout, done.stderr.strip()) == (code, chosen, said)


def test_maven_fails(monkeypatch, tmp_path):
    # Whatever is wrong with Maven is said in one line.
    (tmp_path / "mvn").write_text("#!/bin/sh\necho '[ERROR] no network'\necho '[ERROR] more'\nexit 1\n")
    (tmp_path / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(apache, "INSTALLED", tmp_path / "installed")

    assert apache.install() == "Maven: [ERROR] no network"
    assert not (tmp_path / "installed" / "pom.xml").exists()


def test_proxy():
    proxy = Proxy()
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy.target = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
        there, _address = server.accept()
        there.settimeout(10)
        client.sendall(b"asked")
        assert there.recv(100) == b"asked"

        proxy.rtt, started = 0.2, time.monotonic()
        for piece in (b"1", b"2"):
            there.sendall(piece)
            time.sleep(0.1)
        proxy.rtt = 0
        there.sendall(b"3")
        received = b""
        while len(received) < 3:
            received += client.recv(100)
        assert received == b"123"
        assert time.monotonic() - started >= 0.3

        there.close()
        assert client.recv(100) == b""
        client.close()
    proxy.close()
    wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", proxy.port)), "connections to be refused")
    proxy.open()
    socket.create_connection(("127.0.0.1", proxy.port)).close()
