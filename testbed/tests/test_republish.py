"""
Test of ``./manage.py lms republish_program_certificate_events``, with a real Credentials API, bus and consumer.
"""

from datetime import UTC, datetime, timedelta

import pytest

from testbed.credentials.client import CredentialsControl
from testbed.inputs import AWARDED, REVOKED, read_programs
from testbed.run import DATA
from testbed.site import Site

pytestmark = pytest.mark.e2e

COMMAND = "republish_program_certificate_events"

# More than two pages of 20.
LEARNERS = 45


def test_all_pages_reach_the_consumer(processes, tmp_path):
    programs = read_programs(DATA / "programs.json")
    uuid = programs[0]["uuid"]
    site = Site(processes, tmp_path)
    site.start_redis()
    site.start_credentials(programs)
    site.start_discovery(programs)
    site.configure()
    site.manage("migrate", "--verbosity=0")
    site.start_shell()
    site.do("configure", catalog_url=f"{site.discovery_url}/api/v1")
    site.start_consumer()
    credentials = CredentialsControl(site.credentials_url)
    start = datetime(2026, 11, 1, tzinfo=UTC)
    records = {}
    for number in range(LEARNERS):
        username = f"learner{number}"
        site.do("create_learner", username=username, email=f"{username}@example.com", name=username)
        status = "revoked" if number % 3 == 0 else "awarded"
        records[username] = (status, start + timedelta(hours=number))
    credentials.store(
        {"username": username, "program_uuid": uuid, "status": status, "modified": modified.isoformat()}
        for username, (status, modified) in records.items()
    )

    site.manage(COMMAND, "--all", "--dry-run", name="dry-run")
    assert "would publish awarded: 30, would publish revoked: 15" in (tmp_path / "dry-run.log").read_text()
    assert site.stream() == []

    # Half of them, from an API that is not always well.
    middle = start + timedelta(hours=LEARNERS // 2)
    fault = {"method": "GET", "path": "credentials/", "type": "program", "times": 1}
    credentials.fault("status", status=429, headers={"Retry-After": "1"}, **fault)
    credentials.fault("status", status=503, **fault)
    credentials.fault("close", **fault)
    site.manage(COMMAND, "--start-date", middle.isoformat(), name="second-half")
    expected = {username: record for username, record in records.items() if record[1] >= middle}
    site.wait_for_events(len(expected))
    assert credentials.applied() == 3
    assert states(site) == expected

    # All of them: what came twice changes nothing.
    site.manage(COMMAND, "--all", name="all")
    site.wait_for_events(len(expected) + LEARNERS)
    assert states(site) == records
    assert len(site.events()) == len(expected) + LEARNERS
    for name in ("second-half", "all"):
        log = (tmp_path / f"{name}.log").read_text()
        assert "failed: 0" in log
        assert "example.com" not in log


def states(site):
    """Return what a consumer knows that keeps the event with the latest time: username -> (status, time)."""
    status = {AWARDED: "awarded", REVOKED: "revoked"}
    known = {}
    for event in sorted(site.events(), key=lambda event: event["time"]):
        username = event["data"]["program_certificate"]["user"]["pii"]["username"]
        known[username] = (status[event["type"]], datetime.fromisoformat(event["time"]))
    return known
