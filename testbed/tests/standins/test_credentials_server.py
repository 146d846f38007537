"""Tests of the stand-in of Credentials as a process: its events, its end, its log."""

import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
import yaml
from openedx_events.event_bus.avro.deserializer import deserialize_bytes_to_event_data
from openedx_events.learning.data import ProgramData
from openedx_events.tooling import OpenEdxPublicSignal

from testbed.run.inputs import AWARDED, REVOKED
from testbed.servers.processes import Processes, wait_for
from testbed.servers.valkey import Valkey, connect
from testbed.site.site import TOPIC, Site
from testbed.tests.standins.conftest import PROGRAM, PROGRAMS, RUN, Caller

pytestmark = pytest.mark.e2e


def test_events_and_the_end(monkeypatch: pytest.MonkeyPatch, processes: Processes, tmp_path: Path) -> None:
    bus = Valkey(processes, "bus", tmp_path / "bus")
    enabled = {TOPIC: {"event_key_field": "program_certificate.program.uuid", "enabled": True}}
    config = {"EVENT_BUS_PRODUCER_CONFIG": {AWARDED: enabled, REVOKED: enabled}}
    path = tmp_path / "credentials.yml"
    path.write_text(yaml.safe_dump(config | {"EVENT_BUS_REDIS_CONNECTION_URL": bus.url}), encoding="utf-8")
    monkeypatch.setenv("CREDENTIALS_CFG", str(path))
    site = Site(processes, tmp_path)
    process = site.start_credentials(PROGRAMS)
    service, control = Caller(site, "credentials_service_user", administrator=True), site.credentials
    Caller(site, "learner", user_id=42, email="somebody@example.com").list(username="learner")
    control.set_clock(3600)
    for status in ("awarded", "awarded", "revoked"):
        assert service.award("learner", status=status).status_code == 201
    service.award("learner", RUN)
    stored = control.credentials()[0]
    with connect(bus.url) as client:  # the topic has the prefix that Credentials has by default
        entries = [entry for _id, entry in client.xrange(f"dev-{TOPIC}")]
    assert [entry[b"type"].decode() for entry in entries] == [AWARDED, AWARDED, REVOKED]
    assert {entry[b"source"] for entry in entries} == {b"openedx/SERVICE_NAME_UNSET/web"}
    times = [datetime.fromisoformat(entry[b"time"].decode()) for entry in entries]
    assert times == sorted(set(times))
    assert [times[0], times[-1]] == [datetime.fromisoformat(stored[name]) for name in ("created", "modified")]
    assert times[0] > datetime.now(UTC) + timedelta(minutes=59)
    event = OpenEdxPublicSignal.get_signal_by_type(REVOKED)
    data = deserialize_bytes_to_event_data(entries[-1][b"event_data"], event)["program_certificate"]
    pii = data.user.pii
    assert (data.user.id, pii.username, pii.email, pii.name) == (42, "learner", "somebody@example.com", "")
    assert data.program == ProgramData(PROGRAM, "Teaching Online", "professional-certificate")
    assert (data.uuid, data.status) == (stored["uuid"], "revoked")
    # Under the domain of its Site, whatever the host that was asked.
    assert data.url == f"https://credentials.example.com/credentials/{stored['uuid'].replace('-', '')}/"

    # A bus that is down hurts no certificate.
    bus.stop()
    assert service.award("learner").status_code == 201

    # A signal ends it while requests are held and connections open; what it had accepted is stored.
    control.fault("hold", method="POST")
    control.fault("delay", method="GET", seconds=3600)
    with ThreadPoolExecutor() as pool:
        held = pool.submit(service.award, "learner")
        delayed = pool.submit(Caller(site, "learner").list)
        wait_for(lambda: control.held() == 1 and control.applied() == 2, "both requests")
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(60) == 0
        assert isinstance(held.exception(), requests.ConnectionError)
        assert isinstance(delayed.exception(), requests.ConnectionError)
    with sqlite3.connect(tmp_path / "credentials.sqlite3") as database:
        [history] = database.execute("SELECT history FROM credentials_credential WHERE type = 'program'").fetchone()
    assert history.count("awarded") == 4


def test_log_has_no_personal_data(site: Site, service: Caller, name: str) -> None:
    service.award(name)
    service.award("never seen at all")
    service.list(username=name)
    Caller(site, name, exp=1).list(username=name)
    log = (site.directory / "credentials.log").read_text(encoding="utf-8")
    assert "POST /api/v2/credentials/ 201" in log and "GET /api/v2/credentials/ 200\n" in log
    for secret in (name, "never seen", "@example.com", "JWT"):
        assert secret not in log
