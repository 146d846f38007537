"""
Tests of ``make run BUS=kafka``, and of the brokers and the schema registries that it starts.

``KAFKA`` says which, as for ``make test-kafka``.
"""

import os
import socket
import time
from pathlib import Path

import pytest

from testbed.run.comparing import compare
from testbed.servers.kafka import __main__ as choice
from testbed.servers.kafka import apache
from testbed.servers.kafka.proxy import Proxy
from testbed.servers.processes import Processes, wait_for
from testbed.site.kafka import KafkaSite
from testbed.tests.run.test_run import EXPECTED, end_run, events_in, start_run

pytestmark = pytest.mark.e2e


@pytest.mark.kafka
@pytest.mark.representative
def test_certificates_become_events_on_kafka(processes: Processes, tmp_path: Path, kafka: str) -> None:
    printed = end_run(start_run(processes, BUS="kafka", KAFKA=kafka))

    assert compare(EXPECTED, events_in(printed)) == []
    assert "Traceback" not in printed
    assert list(tmp_path.glob("tmp/*")) == []


@pytest.mark.kafka
def test_run_on_own_brokers(processes: Processes, tmp_path: Path, kafka: str) -> None:
    site = KafkaSite(processes, tmp_path, kafka)
    site.start_cluster()
    site.start_registry()

    run = start_run(processes, BUS="kafka", KAFKA_BOOTSTRAP_SERVERS=site.servers, SCHEMA_REGISTRY_URL=site.registry_url)

    printed = end_run(run)
    assert compare(EXPECTED, events_in(printed)) == []
    assert "Kafka broker" not in printed
    assert "schema registry" not in printed


@pytest.mark.parametrize(
    ("wanted", "code", "chosen", "said"),
    [
        ("", 0, "mock\n", "Kafka of the tests: librdkafka's mock cluster, the testbed's own (java was not found)"),
        ("mock", 0, "mock\n", "Kafka of the tests: librdkafka's mock cluster, the testbed's own"),
        ("apache", 2, "", "error: KAFKA: java was not found"),
        ("real", 2, "", "error: KAFKA: 'real' is neither mock nor apache"),
    ],
)
def test_choice_of_a_kafka(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wanted: str, code: int, chosen: str, said: str
) -> None:
    monkeypatch.setenv("KAFKA", wanted)
    monkeypatch.setenv("PATH", "/")

    assert choice.main() == code
    assert capsys.readouterr() == (chosen, f"{said}\n")


def test_an_error_of_maven_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mvn").write_text("#!/bin/sh\necho '[ERROR] no network'\necho '[ERROR] more'\nexit 1\n")
    (tmp_path / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(apache, "INSTALLED", tmp_path / "installed")

    assert apache.install() == "Maven: [ERROR] no network"
    assert not (tmp_path / "installed" / "pom.xml").exists()


def test_proxy() -> None:
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
