"""
Tests of ``make run``, with all of its processes.
"""

import json
import signal

import pytest
import redis

from testbed.credentials.client import CredentialsControl
from testbed.inputs import AWARDED, REVOKED, expected_events, read_learners, read_programs
from testbed.run import DATA, Narrator, compare, play, start
from testbed.site import TOPIC, Site, Valkey

pytestmark = pytest.mark.e2e

PROGRAMS, LEARNERS = DATA / "programs.json", DATA / "learners.json"


def events_in(text):
    """Read the events that a run has printed."""
    return [json.loads(line.removeprefix("EVENT ")) for line in text.splitlines() if line.startswith("EVENT ")]


def test_certificates_become_events(run):
    started = run()

    assert started.wait() == 0, started.text
    events = events_in(started.text)
    expected = sum(expected_events(read_programs(PROGRAMS), read_learners(LEARNERS)), [])
    assert len(expected) == 4
    assert compare(expected, events) == []
    assert {event["topic"] for event in events} == {TOPIC}
    assert all(list(event) == ["type", "id", "source", "time", "topic", "data"] for event in events)
    assert len({event["id"] for event in events}) == len(events)
    names = {learner.username: learner.name for learner in read_learners(LEARNERS)}
    for event in events:
        certificate = event["data"]["program_certificate"]
        assert certificate["user"]["pii"]["name"] == names[certificate["user"]["pii"]["username"]]
        assert certificate["status"] == {AWARDED: "awarded", REVOKED: "revoked"}[event["type"]]
        assert certificate["program"]["title"] == certificate["program"]["program_type"] == ""
        assert certificate["uuid"] == certificate["url"] == ""
    assert "OK: exactly the 4 expected events arrived." in started.text
    # Nothing but what this test keeps.
    assert [path.name for path in started.directory.iterdir()] == ["output"]


def test_runs_side_by_side_on_one_redis(run, processes, tmp_path):
    learners = tmp_path / "learners.json"
    learners.write_text(
        json.dumps(
            [
                {
                    "username": "solo",
                    "email": "solo@example.com",
                    "name": "Solo",
                    "certificates": [{"course_run": "course-v1:OpenX+TEACH1+2026", "mode": "professional"}],
                }
            ]
        )
    )
    valkey = Valkey(processes, "shared-redis", tmp_path / "shared-redis")

    first = run(REDIS_URL=valkey.url)
    second = run(REDIS_URL=valkey.url, LEARNERS=str(learners))

    assert first.wait() == 0, first.text
    assert second.wait() == 0, second.text
    assert len(events_in(first.text)) == 4
    [event] = events_in(second.text)
    assert event["data"]["program_certificate"]["user"]["pii"]["username"] == "solo"
    assert redis.Redis(port=valkey.port).dbsize() == 0


@pytest.mark.parametrize(
    ("moment", "number"),
    [("LMS database", signal.SIGINT), ("earns the certificate", signal.SIGINT), ("Celery worker", signal.SIGTERM)],
)
def test_interruption_leaves_no_process(run, moment, number):
    started = run()
    started.wait_for_text(moment)

    started.popen.send_signal(number)

    assert started.wait() == 130, started.text
    assert "error: interrupted" in started.text
    assert [path.name for path in started.directory.iterdir()] == ["output"]
    # The fixture looks for processes.


def test_missing_events_are_named(run, processes, tmp_path):
    site = Site(processes, tmp_path)
    site.start_credentials(read_programs(PROGRAMS))
    CredentialsControl(site.credentials_url).fault("status", status=400, times=None, method="POST", type="program")

    started = run(CREDENTIALS_URL=site.credentials_url, **site.jwt)

    assert started.wait() == 1
    for event_type, username, uuid in sum(expected_events(read_programs(PROGRAMS), read_learners(LEARNERS)), []):
        assert f"error: missing: {event_type} for {username} in program {uuid}" in started.text
    [directory] = [path for path in started.directory.iterdir() if path.is_dir()]
    assert f"The logs are in {directory}" in started.text
    assert (directory / "worker.log").exists()


def test_unusable_input_starts_nothing(run, tmp_path):
    learners = tmp_path / "learners.json"
    learners.write_text('[{"username": "a", "email": "a@example.com", "name": "A", "certificates": [{"mode": "x"}]}]')

    started = run("--learners", learners)

    assert started.wait() == 2
    assert started.text == f"error: {learners}: [0].certificates[0].course_run: is missing\n"
    assert [path.name for path in started.directory.iterdir()] == ["output"]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"REDIS_URL": "redis://:secret@127.0.0.1:1/0"}, "error: REDIS_URL: Error 111"),
        ({"REDIS_URL": "nonsense"}, "error: REDIS_URL: Redis URL must specify"),
        ({"DISCOVERY_URL": "nonsense"}, "error: DISCOVERY_URL: cannot reach nonsense"),
        ({"CREDENTIALS_URL": "http://127.0.0.1:1"}, "error: CREDENTIALS_URL: cannot reach http://127.0.0.1:1"),
    ],
)
def test_unusable_services_are_refused(run, variables, message):
    started = run(**variables)

    assert started.wait() == 2
    assert message in started.text
    assert "secret" not in started.text
    assert "Starting" not in started.text


def test_services_of_ones_own_need_their_secret(run, processes, tmp_path):
    site = Site(processes, tmp_path)
    site.start_credentials(read_programs(PROGRAMS))

    started = run(CREDENTIALS_URL=site.credentials_url, JWT_ISSUER="issuer")

    assert started.wait() == 2
    assert "environment variable(s) JWT_SECRET_KEY, JWT_AUDIENCE" in started.text


def test_a_service_that_falls_silent_ends_the_run(run, processes, tmp_path):
    site = Site(processes, tmp_path)
    credentials = site.start_credentials(read_programs(PROGRAMS))
    started = run(CREDENTIALS_URL=site.credentials_url, TESTBED_PATIENCE="30", **site.jwt)
    started.wait_for_text("Starting")
    credentials.popen.send_signal(signal.SIGSTOP)

    assert started.wait() == 1
    assert "error: waited 30 s in vain for an answer of lms" in started.text
    assert "error: missing: " in started.text


def test_a_redis_that_goes_away_ends_the_run(run, processes, tmp_path):
    valkey = Valkey(processes, "brief-redis", tmp_path / "brief-redis")
    started = run(REDIS_URL=valkey.url, TESTBED_PATIENCE="30")
    started.wait_for_text("Enrolled")
    valkey.stop()

    assert started.wait() == 1
    assert "error: missing: " in started.text
    assert "The logs are in" in started.text
    assert "Traceback" not in started.text


def test_nothing_is_published_by_default(processes, tmp_path):
    programs, learners = read_programs(PROGRAMS), read_learners(LEARNERS)
    site = Site(processes, tmp_path, enabled=False)
    with open(tmp_path / "narration", "w", encoding="utf-8") as stream:
        narrator = Narrator(stream)
        start(site, programs, narrator)
        play(site, programs, learners, narrator)

    # The certificates were awarded and revoked, and no task failed ...
    stored = {
        (item["username"], item["program_uuid"]): item["history"]
        for item in CredentialsControl(site.credentials_url).credentials()
        if item["type"] == "program"
    }
    awards, revocations = expected_events(programs, learners)
    revoked = {(username, uuid) for _type, username, uuid in revocations}
    assert stored == {
        (username, uuid): ["awarded", "revoked"] if (username, uuid) in revoked else ["awarded"]
        for _type, username, uuid in awards
    }
    assert {task["state"] for task in site.tasks()} == {"published", "started", "succeeded"}
    # ... but the stream, which the consumer made when it started, is empty.
    assert redis.Redis.from_url(site.bus_url).exists(f"{site.run_id}-{TOPIC}")
    assert site.stream() == []
    assert site.events() == []
