"""
Tests of ``make run``, with all of its processes.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import redis

from testbed import ROOT
from testbed.run.__main__ import DATA, Narrator, compare, parse, play, start, without_credentials
from testbed.run.inputs import AWARDED, REVOKED, expected_events, read_learners, read_programs
from testbed.servers.processes import PATIENCE
from testbed.servers.valkey import Valkey
from testbed.site.site import TOPIC, Site
from testbed.standins.credentials.control.client import CredentialsControl
from testbed.tests.conftest import leftovers

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
    names = {learner["username"]: learner["name"] for learner in read_learners(LEARNERS)}
    for event in events:
        certificate = event["data"]["program_certificate"]
        assert certificate["user"]["pii"]["name"] == names[certificate["user"]["pii"]["username"]]
        assert certificate["status"] == {AWARDED: "awarded", REVOKED: "revoked"}[event["type"]]
        assert certificate["program"]["title"] == certificate["program"]["program_type"] == ""
        assert certificate["uuid"] == certificate["url"] == ""
    assert "OK: exactly the 4 expected events arrived." in started.text
    # Nothing but what this test keeps.
    assert [path.name for path in started.directory.iterdir()] == ["output"]


def program(number, *courses, **changes):
    """A program as Discovery gives it; a course is (key, type) of its runs."""
    return {
        "uuid": f"3883fdfa-0000-4000-8000-00000000000{number}",
        "title": None,
        "type": None,
        "status": "active",
        "courses": [{"course_runs": [{"key": key, "type": kind} for key, kind in runs]} for runs in courses],
        "marketing_slug": None,
        **changes,
    }


def learner(username, *certificates, **changes):
    """A learner; a certificate is (course run, mode)."""
    certificates = [{"course_run": course_run, "mode": mode} for course_run, mode in certificates]
    email = f"{username}@example.com"
    return {"username": username, "email": email, "name": username, "certificates": certificates, **changes}


def test_runs_side_by_side_on_one_redis(run, processes, tmp_path):
    """Both with a password that has to be encoded; one with a page of Discovery's, in all forms that it has."""
    honor, typeless = ("course-v1:OpenX+G1+2026", "honor"), ("course-v1:OpenX+G2+2026", None)
    page = [
        program(1, [honor], title="Gardening"),
        program(2, [honor], []),  # by title, which these have not, the LMS sorts what a lost certificate concerns
        program(3, [honor], [typeless]),
        program(4),
    ]
    programs, learners = tmp_path / "programs.json", tmp_path / "learners.json"
    programs.write_text(json.dumps({"count": 4, "next": None, "previous": None, "results": page}))
    people = [learner("solo", honor), learner("lurker", (honor[0], "audit"), invalidate=[honor[0]])]
    learners.write_text(json.dumps(people))
    valkey = Valkey(processes, "shared-redis", tmp_path / "shared-redis")
    redis.Redis(port=valkey.port).config_set("requirepass", "p@ss/w#rd")
    url = f"redis://:p%40ss%2Fw%23rd@127.0.0.1:{valkey.port}/0"

    first = run(REDIS_URL=url)
    second = run(REDIS_URL=url, PROGRAMS=str(programs), LEARNERS=str(learners))

    assert first.wait() == 0, first.text
    assert second.wait() == 0, second.text
    assert len(events_in(first.text)) == 4
    [event] = events_in(second.text)
    assert event["data"]["program_certificate"]["user"]["pii"]["username"] == "solo"
    assert redis.Redis(port=valkey.port, password="p@ss/w#rd").dbsize() == 0
    for line in (
        "4 programs, 2 learners, 1 event to come.",
        f"Nobody can complete «{page[1]['uuid']}»: its courses[1] has no course run.",
        f"Nobody can complete «{page[2]['uuid']}»: its courses[1] has no course run with a type.",
        f"Nobody can complete «{page[3]['uuid']}»: it has no courses.",
        f"solo earns the certificate of {honor[0]} (honor), which completes «Gardening»",
        f"lurker earns the certificate of {honor[0]} (audit), which counts for no program: it has to be honor",
        "OK: exactly the 1 expected event arrived.",
    ):
        assert line in second.text.splitlines()


def test_a_reader_that_goes_away_ends_the_run(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "testbed.run"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for _ in range(4):  # as `head -4` does it
            process.stdout.readline()
        process.stdout.close()
        code = process.wait(PATIENCE)

        assert (code, process.stderr.read()) == (0, "")
    assert list(tmp_path.iterdir()) == []
    assert not leftovers(tmp_path)


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


def test_a_refused_course_certificate_ends_the_run(run, processes, tmp_path):
    site = Site(processes, tmp_path)
    programs = read_programs(PROGRAMS)
    site.start_credentials([{**program, "courses": []} for program in programs])  # an empty catalog

    started = run(CREDENTIALS_URL=site.credentials_url, **site.jwt)
    started.wait_for_text("earns the certificate")
    begun = time.monotonic()

    assert started.wait() == 1
    assert time.monotonic() - begun < 30  # Celery goes on for an hour
    [line] = [line for line in started.text.splitlines() if line.startswith("error: Credentials refused")]
    assert line.startswith("error: Credentials refused the request of award_course_certificate: 400 ")
    assert "doesn't exist in the catalog" in line


def test_a_certificate_outside_all_programs_is_in_the_catalog(run, tmp_path):
    outside, inside = ("course-v1:OpenX+OUT+2026", "verified"), ("course-v1:OpenX+G1+2026", "honor")
    programs, learners = tmp_path / "programs.json", tmp_path / "learners.json"
    programs.write_text(json.dumps([program(1, [inside])]))
    learners.write_text(json.dumps([learner("outsider", outside, inside)]))

    started = run(PROGRAMS=str(programs), LEARNERS=str(learners))

    assert started.wait() == 0, started.text
    assert f"outsider earns the certificate of {outside[0]} (verified), which counts for no program\n" in started.text


def test_unusable_input_starts_nothing(run, tmp_path):
    learners = tmp_path / "learners.json"
    learners.write_text('[{"username": "a", "email": "a@example.com", "name": "A", "certificates": [{"mode": "x"}]}]')

    started = run("--learners", learners)

    assert started.wait() == 2
    assert started.text == f"error: {learners}: [0].certificates[0].course_run: This field is required.\n"
    assert [path.name for path in started.directory.iterdir()] == ["output"]


HOW_REDIS = "error: REDIS_URL: it has to be redis://user:password@host:port/number or the like; special characters"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"REDIS_URL": "redis://:secret@127.0.0.1:1/0"},
            "error: REDIS_URL: cannot use this Redis: Connection refused;",
        ),
        (
            {"REDIS_URL": "redis://:sec:ret@127.0.0.1:1/0"},
            "error: REDIS_URL: cannot use this Redis: Connection refused;",
        ),
        ({"REDIS_URL": "redis://127.0.0.1:70000"}, "error: REDIS_URL: cannot use this Redis: ValueError;"),
        ({"REDIS_URL": "redis://:secret@127.0.0.1:1/0?no=1"}, "error: REDIS_URL: cannot use this Redis: TypeError;"),
        ({"REDIS_URL": "nonsense"}, HOW_REDIS),
        ({"REDIS_URL": "unix:///redis.sock"}, HOW_REDIS),
        ({"REDIS_URL": "redis://:se@cret/w#rd@127.0.0.1:6379"}, HOW_REDIS),
        ({"REDIS_URL": "redis://:se/cret@127.0.0.1:6379"}, HOW_REDIS),
        ({"REDIS_URL": "redis://:1/secret@127.0.0.1:6379"}, HOW_REDIS),
        ({"REDIS_URL": "redis://:1#secret@127.0.0.1:6379"}, HOW_REDIS),
        ({"REDIS_URL": "redis://:1?secret@127.0.0.1:6379"}, HOW_REDIS),
        ({"REDIS_URL": "redis://user:1?secret@127.0.0.1:6379"}, HOW_REDIS),
        ({"REDIS_URL": "redis://:se[cret@127.0.0.1:6379"}, HOW_REDIS),
        ({"REDIS_URL": "redis://:se]cr[et@127.0.0.1:6379"}, HOW_REDIS),
        (
            {"DISCOVERY_URL": "nonsense"},
            "error: DISCOVERY_URL: it has to be http://host:port or the like, without user",
        ),
        (
            {"CREDENTIALS_URL": "http://:se/cret@127.0.0.1:1"},
            "error: CREDENTIALS_URL: it has to be http://host:port or",
        ),
        (
            {"CREDENTIALS_URL": "http://user:secret@127.0.0.1:1"},
            "error: CREDENTIALS_URL: it has to be http://host:port",
        ),
        (
            {"CREDENTIALS_URL": "http://127.0.0.1:1"},
            "error: CREDENTIALS_URL: cannot reach http://127.0.0.1:1: Connection",
        ),
    ],
)
def test_unusable_services_are_refused(monkeypatch, capsys, variables, message):
    for name in ("REDIS_URL", "CREDENTIALS_URL", "DISCOVERY_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as ended:
        parse([])

    [line] = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert line.startswith(message)
    assert not any(part in line for part in ("secret", "cret", "se@", "se/", "sec:", "w#rd"))
    assert ("percent-encoded" in line) is ("REDIS_URL" in variables)


def test_a_refused_password_is_not_quoted(monkeypatch, capsys, processes, tmp_path):
    valkey = Valkey(processes, "locked-redis", tmp_path / "locked-redis")
    redis.Redis(port=valkey.port).config_set("requirepass", "right")

    with pytest.raises(SystemExit):
        parse(["--redis-url", f"redis://somebody:wrong@127.0.0.1:{valkey.port}"])

    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: REDIS_URL: cannot use this Redis: AuthenticationError;")
    assert "wrong" not in line and "somebody" not in line


def test_what_a_redis_answers_later_is_printed_without_user_and_password():
    url = "redis://alice%25:s3cr3t%40@127.0.0.1:6379/0"
    for text in ("User alice% may not `xrange`", "unknown command `AUTH`: `alice%` `s3cr3t@`", f"cannot use {url}"):
        printed = without_credentials(text, url)
        assert not any(secret in printed for secret in ("alice", "s3cr3t"))
    assert without_credentials("User *** may not", None) == "User *** may not"


def test_a_run_without_loopback_says_so_at_once(monkeypatch, capsys):
    def unreachable(*_args, **_kwargs):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)

    with pytest.raises(SystemExit) as ended:
        parse([])

    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: a run needs the loopback interface, and 127.0.0.1 cannot be reached: Network is unreachable\n"
    )


def test_a_run_in_a_network_without_loopback(tmp_path):
    command = ["unshare", "--net", "--map-root-user"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no way here to make a network")

    ended = subprocess.run(
        [*command, sys.executable, "-m", "testbed.run"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )

    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1)
    assert ended.stderr.startswith("error: a run needs the loopback interface")
    assert list(tmp_path.iterdir()) == []


def test_services_of_ones_own_need_their_secret(run, processes, tmp_path):
    site = Site(processes, tmp_path)
    site.start_credentials(read_programs(PROGRAMS))

    started = run(CREDENTIALS_URL=site.credentials_url, JWT_ISSUER="issuer")

    assert started.wait() == 2
    assert "environment variable(s) JWT_SECRET_KEY, JWT_AUDIENCE" in started.text


def test_a_service_that_falls_silent_ends_the_run(run, processes, tmp_path):
    site = Site(processes, tmp_path)
    credentials = site.start_credentials(read_programs(PROGRAMS))
    started = run(CREDENTIALS_URL=site.credentials_url, TESTBED_PATIENCE="20", **site.jwt)
    started.wait_for_text("Starting")
    credentials.popen.send_signal(signal.SIGSTOP)
    try:
        assert started.wait() == 1
    finally:
        credentials.popen.send_signal(signal.SIGCONT)  # or it could not end
    assert "error: waited 20 s in vain for an answer of lms" in started.text
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
        start(site, programs, learners, narrator)
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
