"""Tests of ``make run`` with all of its processes, and of what ends a run before its time."""

import io
import json
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import redis

from testbed.run import __main__ as module
from testbed.run.comparing import compare, expected_events
from testbed.run.inputs import AWARDED, DATA, REVOKED, read_learners, read_programs
from testbed.run.narrating import Narrator
from testbed.run.playing import play, start
from testbed.servers.processes import PATIENCE, Process, Processes, wait_for
from testbed.servers.valkey import Valkey
from testbed.site.site import TOPIC, Site
from testbed.tests.run.test_inputs import UUID, learner, program

pytestmark = pytest.mark.e2e

PROGRAMS, LEARNERS = read_programs(DATA / "programs.json"), read_learners(DATA / "learners.json")
EXPECTED = expected_events(PROGRAMS, LEARNERS)
MISSING = [f"missing: {event_type} for {username} in program {uuid}" for event_type, username, uuid in EXPECTED]


def start_run(processes: Processes, name: str = "run", popen: dict[str, int] | None = None, **env: str) -> Process:
    """Start ``make run``, whatever the environment of the tests says about the bus and about Django."""
    env = {"BUS": "", "KAFKA": "", "DJANGO_SETTINGS_MODULE": "", **env}
    return processes.python(name, "-m", "testbed.run", env=env, **(popen or {}))


def end_run(run: Process, code: int = 0) -> str:
    """Wait until a run has ended with an exit code; return what it printed."""
    ended, _ = run.finish(3 * PATIENCE)
    text = run.log.read_text(encoding="utf-8")
    assert ended == code, text
    return text


def events_in(text: str) -> list[dict[str, Any]]:
    """Read the events that a run has printed."""
    return [json.loads(line.removeprefix("EVENT ")) for line in text.splitlines() if line.startswith("EVENT ")]


def test_runs_side_by_side_on_one_redis(processes: Processes, tmp_path: Path) -> None:
    """The first run has the files of the example, the second one all forms of a page of Discovery's API."""
    honor, outside = {"key": "course-v1:OpenX+G1+2026", "type": "honor"}, "course-v1:OpenX+OUT+2026"
    courses: list[list[dict[str, Any]]] = [
        [{"course_runs": [honor]}],
        [{"course_runs": [honor]}, {"course_runs": []}],
        [{"course_runs": [honor]}, {"course_runs": [{"key": "course-v1:OpenX+G2+2026", "type": None}]}],
        [],
    ]
    # The LMS sorts by title the programs that a lost certificate concerns.
    page = [program(uuid=f"{UUID[:-1]}{number}", title=None, courses=each) for number, each in enumerate(courses)]
    page[0]["title"] = "Gardening"
    people = [
        learner(honor["key"], mode="honor", username="solo", email="solo@example.com"),
        learner(honor["key"], mode="audit", username="lurker", invalidate=[honor["key"]]),
        learner(outside, honor["key"], mode="honor", username="outsider", email="outsider@example.com"),
    ]
    programs, learners = tmp_path / "programs.json", tmp_path / "learners.json"
    programs.write_text(json.dumps({"count": 4, "next": None, "previous": None, "results": page}))
    learners.write_text(json.dumps(people))
    valkey = Valkey(processes, "shared-redis", tmp_path / "shared-redis")
    redis.Redis.from_url(valkey.url).config_set("requirepass", "p@ss/w#rd")
    url = valkey.url.replace("//", "//:p%40ss%2Fw%23rd@")

    first = start_run(processes, "first", REDIS_URL=url)
    second = start_run(processes, "second", REDIS_URL=url, PROGRAMS=str(programs), LEARNERS=str(learners))

    events, printed = events_in(end_run(first)), end_run(second)
    assert [event[0] for event in EXPECTED] == [AWARDED] * 3 + [REVOKED] and compare(EXPECTED, events) == []
    assert {event["topic"] for event in events} == {TOPIC}
    assert all(list(event) == ["type", "id", "source", "time", "topic", "data"] for event in events)
    assert len({event["id"] for event in events}) == len(events)
    assert compare([(AWARDED, name, page[0]["uuid"]) for name in ("solo", "outsider")], events_in(printed)) == []
    for line in (
        "4 programs, 3 learners, 2 events to come.",
        f"Nobody can complete «{page[1]['uuid']}»: its courses[1] has no course run.",
        f"Nobody can complete «{page[2]['uuid']}»: its courses[1] has no course run with a type.",
        f"Nobody can complete «{page[3]['uuid']}»: it has no courses.",
        f"solo earns the certificate of {honor['key']} (honor), which completes «Gardening»",
        f"lurker earns the certificate of {honor['key']} (audit), which counts for no program: it has to be honor",
        f"outsider earns the certificate of {outside} (honor), which counts for no program",
        "OK: exactly the 2 expected events arrived.",
    ):
        assert line in printed.splitlines()
    # Neither run leaves anything behind.
    assert redis.Redis.from_url(url).dbsize() == 0
    assert list(tmp_path.glob("tmp/*")) == []


def test_a_reader_that_goes_away_ends_the_run(processes: Processes, tmp_path: Path) -> None:
    run = start_run(processes, popen={"stdout": subprocess.PIPE})
    assert run.popen.stdout
    for _ in range(4):  # as `head -4` does it
        run.popen.stdout.readline()
    run.popen.stdout.close()

    assert (run.popen.wait(PATIENCE), run.log.read_text(encoding="utf-8")) == (0, "")
    assert list(tmp_path.glob("tmp/*")) == []


@pytest.mark.parametrize(("moment", "number"), [("LMS database", signal.SIGINT), ("Celery worker", signal.SIGTERM)])
def test_interruption_leaves_no_process(processes: Processes, tmp_path: Path, moment: str, number: int) -> None:
    run = start_run(processes)
    wait_for(lambda: moment in run.log.read_text(encoding="utf-8"), moment, alive=[run])

    run.popen.send_signal(number)

    assert "error: interrupted" in end_run(run, code=130)
    assert list(tmp_path.glob("tmp/*")) == []
    # The fixture looks for processes.


def test_a_failed_run_keeps_its_logs(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], processes: Processes, tmp_path: Path
) -> None:
    """It also survives that the Redis, from which it would remove its keys, is gone."""
    valkey = Valkey(processes, "brief-redis", tmp_path / "brief-redis")
    url = valkey.url.replace("//", "//alice:s3cr3t@")
    redis.Redis.from_url(valkey.url).acl_setuser("alice", enabled=True, passwords=["+s3cr3t"], categories=["+@all"])
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(module.signal, "signal", lambda *_: None)

    def fail(*_: object) -> list[str]:
        valkey.stop()
        return ["missing: an event", f"cannot use {url}"]

    monkeypatch.setattr(module, "start", lambda *_: None)
    monkeypatch.setattr(module, "play", fail)

    assert module.main() == 1

    output = capfd.readouterr()
    assert output.out.endswith("Starting:\nStopping.\n")
    *errors, last = output.err.splitlines()
    assert errors == ["error: missing: an event", f"error: cannot use {valkey.url.replace('//', '//***:***@')}"]
    assert Path(last.removeprefix("The logs are in ")).is_dir()


@pytest.fixture(scope="module")
def shared(shared_processes: Processes) -> tuple[Site, Valkey]:
    """A site and its Redis. The events are disabled, as in the platform as it is shipped."""
    directory = shared_processes.directory
    valkey = Valkey(shared_processes, "redis", directory / "redis", durable=True)
    site = Site(shared_processes, directory, enabled=False)
    site.redis_url = site.bus_url = valkey.url
    site.credentials_url = site.discovery_url = ""
    start(site, PROGRAMS, LEARNERS, Narrator(io.StringIO()))
    return site, valkey


@pytest.fixture
def site(shared: tuple[Site, Valkey]) -> Site:
    """The site that these tests share, without the tasks of the tests before. Each test has its own learners."""
    shared[0].tasks_file.write_text("")
    return shared[0]


def test_nothing_is_published_by_default(site: Site) -> None:
    assert play(site, PROGRAMS, LEARNERS, Narrator(io.StringIO())) == MISSING

    # The certificates were awarded and revoked, and no task failed ...
    names, types = {learner["username"] for learner in LEARNERS}, {"awarded": AWARDED, "revoked": REVOKED}
    stored = [
        (types[status], item["username"], item["program_uuid"])
        for item in site.credentials.credentials()
        if item["type"] == "program" and item["username"] in names
        for status in item["history"]
    ]
    assert sorted(stored) == sorted(EXPECTED)
    assert {task["state"] for task in site.tasks()} == {"published", "started", "succeeded"}
    # ... but the stream, which the consumer made when it started, is empty.
    assert redis.Redis.from_url(str(site.bus_url)).exists(site.stream_key)
    assert site.stream() == []
    assert site.events() == []


def play_in_vain(site: Site, username: str, stream: io.StringIO) -> str:
    """Let a learner earn the certificates of the first one of the example; return what ended the run."""
    one = {**LEARNERS[0], "username": username, "email": f"{username}@example.com"}
    problem, *missing = play(site, PROGRAMS, [one], Narrator(stream))
    assert missing == [f"missing: {AWARDED} for {username} in program {PROGRAMS[0]['uuid']}"]
    return problem


def test_a_service_that_falls_silent_ends_the_run(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    [credentials] = [process for process in site.processes.running if process.name == "credentials"]
    monkeypatch.setattr(site, "patience", 5)
    credentials.popen.send_signal(signal.SIGSTOP)
    try:
        problem = play_in_vain(site, "silent", io.StringIO())
    finally:
        credentials.popen.send_signal(signal.SIGCONT)
    assert problem.startswith("waited 5 s in vain for an answer of lms")
    assert site.shell
    site.shell.read_line()  # the answer, which came too late


def test_a_refused_course_certificate_ends_the_run(site: Site) -> None:
    """Celery would repeat the task for an hour."""
    site.credentials.fault("status", status=400, times=1, method="POST", type="course-run")

    problem = play_in_vain(site, "refused", io.StringIO())

    assert problem.startswith("Credentials refused the request of award_course_certificate: 400 ")
    site.wait_for_tasks()


def test_a_redis_that_goes_away_ends_the_run(shared: tuple[Site, Valkey], site: Site) -> None:
    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            if text.startswith("Enrolled"):
                shared[1].stop()
            return super().write(text)

    problem = play_in_vain(site, "redis", Stream())

    shared[1].start()
    site.worker.stop()  # it would take a minute to reconnect
    site.start_worker()
    assert "Connection refused" in problem
