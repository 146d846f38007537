"""
The fault suite of the repair: breaks one thing at a time while lost events are republished.
"""

import shlex
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psutil
import pytest
import yaml

from testbed.pages.blocks import named_block
from testbed.servers.processes import wait_for
from testbed.servers.valkey import connect
from testbed.tests.faults.site import REPUBLISH, RETRY_DIVISOR, SCHEDULED, fault_scene, fault_site, known, username_of  # noqa: F401

pytestmark = [pytest.mark.e2e, pytest.mark.fault]

# The page's commands: they start a worker, and hand the learners to it.
WORKER, ENQUEUE = (shlex.split(named_block(name)) for name in ("republish-worker", "republish-enqueue"))
[CONCURRENCY] = [int(word.partition("=")[2]) for word in WORKER if word.startswith("--concurrency=")]
TAKEN = 4 * CONCURRENCY  # tasks that a worker takes from the broker at a time
ENQUEUED = TAKEN + 4


def summary(learners, awarded=0, revoked=0, skipped=0, failed=0, bus_errors=0):
    """Return the command's last line."""
    counts = f"learners={learners} awarded={awarded} revoked={revoked} skipped={skipped}"
    return f"{counts} failed={failed} bus_errors={bus_errors}\n"


def other_settings(site, **changes):
    """Return the environment of a process with other settings; None unsets one."""
    config = yaml.safe_load(site.config_file.read_text(encoding="utf-8")) | changes
    path = site.directory / "other.yml"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump({name: value for name, value in config.items() if value is not None}))
    return {"LMS_CFG": str(path)}


# A run that fails


@dataclass(frozen=True)
class Failure:
    """A row: a run for one learner that publishes nothing, and says so."""

    fault: str
    injected: str
    log: str
    answer: dict | None = None  # the stand-in's fault; without one, the run is refused
    argv: tuple = ()  # in place of the command that republishes the test's program
    settings: dict | None = None


EMPTY, NO_QUERY = {"kind": "status", "status": 200, "body": {}}, {"kind": "drop_query", "times": None}
OTHERS = "certificates of other learners"
OFF = {"EVENT_BUS_PRODUCER_CONFIG": None}
FUTURE = (REPUBLISH, "--start-date", "2100-01-01")
FAILURES = {
    "no_query": Failure("a gateway drops the query string of a run", "41 certificates stored", OTHERS, NO_QUERY),
    "empty_object": Failure("Credentials answers a run with something else", "a 200 with `{}`", "ValueError", EMPTY),
    "no_event": Failure("run whose settings enable neither event", "default", "enables neither event", settings=OFF),
    "future": Failure("run with a start in the future", "`--start-date 2100-01-01`", "in the future", argv=FUTURE),
}


@pytest.mark.parametrize("row", FAILURES.values(), ids=FAILURES)
def test_run_fails(site, scene, row):
    others = [f"other-{number}" for number in range(41)]
    stored = {"program_uuid": scene.program["uuid"], "status": "awarded", "modified": scene.began.isoformat()}
    site.credentials.store({"username": username, **stored} for username in others)
    scene.lose_events()
    if row.answer:
        scene.credentials_fault(method="GET", **row.answer)
    requests, events = len(site.credentials.requests()), site.count_added()
    run = scene.start(*row.argv, **other_settings(site, **(row.settings or {})))
    assert scene.end(run) == ((1, summary(1, failed=1)) if row.answer else (2, ""))
    assert row.log in run.log.read_text(encoding="utf-8")
    assert len(site.credentials.requests()) - requests == bool(row.answer)
    assert site.count_added() == events
    site.credentials.clear()
    site.credentials.delete(others)

    scene.finish(row.fault, row.injected, lost=1, note="exit 1: run again" if row.answer else "exit 2: refused")


@pytest.mark.representative
def test_run_without_bus(site, scene):
    scene.lose_events(2)
    site.bus.stop()
    assert scene.end(scene.start()) == (1, summary(2, awarded=2, bus_errors=2))
    site.bus.start()

    scene.finish("bus refuses connections during a run", "server stopped", lost=2, note="exit 1: run again")


def test_run_loses_credentials(site, scene):
    scene.lose_events(7)
    scene.credentials_fault("delay", method="GET", seconds=0)  # the first request passes
    run = scene.start_and_hold()
    site.stop_credentials()
    # Five failures in a row end a run.
    assert scene.end(run) == (1, summary(6, awarded=1, failed=5))
    site.restart_credentials()
    scene.settle()
    assert scene.lost() == 6

    fault = "Credentials unreachable from the middle of a run"
    scene.finish(fault, "stopped at the second of 7 learners", lost=6, note="exit 1: run again")


def test_run_stopped(site, scene):
    scene.lose_events()
    run = scene.start_and_hold()
    run.popen.terminate()
    assert scene.end(run) == (1, summary(1))
    site.credentials.clear()

    injected = "SIGTERM while it waits for Credentials"
    scene.finish("run told to stop", injected, lost=1, note="exit 1: run again")


def test_revoked_while_a_run_reads(site, scene):
    username = scene.learner("awarded")
    run = scene.start_and_hold("hold")  # Credentials has found it awarded
    scene.revoke(username)
    scene.settle()
    assert scene.known() == {username: "revoked"}
    site.credentials.clear()
    assert scene.end(run) == (0, summary(1, awarded=1))

    fault = "certificate revoked while a run reads it"
    injected = "answer held until the revocation was published"
    scene.finish(fault, injected, lost=0, duplicates=1, note="the held run made the duplicate")


# Nobody repairs by hand


@pytest.mark.representative
def test_bus_down_and_nobody_repairs(site, scene):
    awarded, revoked = scene.learner(), scene.learner("awarded")
    site.bus.stop()
    scene.complete(awarded)
    scene.revoke(revoked)
    site.wait_for_tasks()
    during, errors = scene.scheduled_run(code=1).rsplit("=", 1)  # the schedule does not know that the bus is down
    assert int(errors) >= 2
    site.bus.start()
    scene.settle()
    assert scene.known() == {revoked: "awarded"}

    after = scene.finish(
        "bus refuses connections, and nobody repairs by hand",
        "server stopped, also during a scheduled run",
        lost=2,
        republish=scene.scheduled_run,
        note=f"`{' '.join(SCHEDULED[1:])}`: exit 1 during the outage, the next run brings both",
    )
    assert after == f"{during}=0"
    # A run in an hour in which nothing happens changes nothing, for anyone.
    before = known(site.events())
    assert scene.scheduled_run() == after
    scene.settle()
    assert known(site.events()) == before
    assert (scene.known(), scene.lost(), scene.wrong()) == (scene.owed, 0, 0)


def test_worker_killed_and_nobody_repairs(site, scene):
    username = scene.learner()
    scene.credentials_fault("hold")
    scene.complete(username)
    scene.wait_until_held()
    site.end_worker()
    site.credentials.clear()
    site.start_worker()

    scene.finish(
        "worker killed after Credentials accepted, and nobody repairs by hand",
        "SIGKILL",
        lost=1,
        task="lost",
        republish=scene.scheduled_run,
        note="the next scheduled run brings it",
    )


# What happened to certificates and learners before the run


def test_credentials_revokes_in_bulk(site, scene):
    username = scene.learner("awarded")

    def modified():
        stored = site.credentials.credentials()
        return [item["modified"] for item in stored if item["program_uuid"] and item["username"] == username]

    before = modified()
    site.credentials.change_status([username], "revoked")
    scene.owed[username] = "revoked"
    assert modified() == before

    fault = "Credentials revokes in bulk, `modified` stays"
    scene.finish(fault, "status changed there alone", lost=1, task="never published", note="the LMS is not told")


@pytest.mark.parametrize(("hours", "fault"), [(-1, "an hour behind"), (1, "an hour ahead")], ids=["behind", "ahead"])
def test_clock_of_credentials(site, scene, hours, fault):
    site.credentials.set_clock(hours * 3600)
    lost, live = scene.learner("awarded"), scene.learner("awarded")
    scene.republish()
    site.bus.stop()
    scene.revoke(lost)
    site.wait_for_tasks()
    site.bus.start()
    # A republished event must not outlive a live one that follows.
    scene.revoke(live)
    scene.settle()
    assert scene.known() == {lost: "awarded", live: "revoked"}

    fault = f"Credentials' time stamps {fault}"
    injected = "republished, then revoked; bus stopped for one of two"
    scene.finish(fault, injected, lost=1, duplicates=2, note="the run before the fault made the duplicates")


def test_learner_renamed(site, scene):
    [username] = scene.lose_events()
    new_username = f"{username}-renamed"
    site.do("rename", username=username, new_username=new_username)
    scene.gone.add(username)
    scene.owed[new_username] = "awarded"

    # Credentials has the certificate under the old name. It awards another one under the new name.
    injected = "bus stopped while awarding"
    output = scene.finish("learner renamed between task and republish", injected, lost=1, wrong=1)
    assert output == summary(1, awarded=1)


def test_old_username_taken_over(site, scene):
    [username] = scene.lose_events()
    new_username = f"{username}-renamed"
    site.do("rename", username=username, new_username=new_username)
    scene.gone.add(username)
    scene.owed[new_username] = "awarded"
    newcomer = site.do(
        "create_learner",
        username=username,
        email=f"newcomer-{username}@example.com",
        name="Newcomer",
        joined=(datetime.now(UTC) + timedelta(days=2)).isoformat(),
    )
    site.do("enrol", username=username, course_run=scene.first_run, mode="verified")
    site.do("certify", username=username, course_run=scene.first_run, mode="verified")

    fault = "old username taken over by a newcomer"
    injected = "joined two days after the award; bus stopped while awarding"
    output = scene.finish(fault, injected, lost=1, wrong=1, note="the newcomer's old certificate is skipped")
    assert output == summary(2, awarded=1, skipped=1)
    assert newcomer not in {event["data"]["program_certificate"]["user"]["id"] for event in scene.events()}
    assert {username_of(event) for event in scene.events()} == {new_username}


def test_learner_deleted(site, scene):
    scene.learner("awarded")  # a run that finds no certificate fails
    [username] = scene.lose_events()
    site.do("delete", username=username)
    scene.gone.add(username)

    fault = "learner deleted between task and republish"
    output = scene.finish(fault, "bus stopped while awarding", lost=0, note="no event is owed about a deleted learner")
    assert output == summary(1, awarded=1)


# Learners handed to Celery


class Crew:
    """The workers that the page starts for ``--enqueue``."""

    def __init__(self, site, scene):
        self.site, self.scene = site, scene
        self.worker = None

    def enqueue(self):
        """Hand the learners to the workers; return the ids of their tasks."""
        before = self.site.unfinished_tasks()
        [_manage, _lms, *argv] = ENQUEUE
        position = argv.index("--all")
        argv[position : position + 1] = ["--program-uuids", self.scene.program["uuid"]]
        assert self.scene.end(self.scene.start(*argv)) == (0, f"enqueued={ENQUEUED}\n")
        return self.site.unfinished_tasks() - before

    def start(self, **env):
        """Start a worker."""
        env = self.site.env(TESTBED_RETRY_DIVISOR=RETRY_DIVISOR, **env)
        self.worker = self.site.processes.python("republish-worker", "-m", *WORKER, env=env)

    def work(self):
        """Enqueue, start a worker, and wait until it has taken its tasks, and each process waits for Credentials."""
        tasks = self.enqueue()
        self.scene.credentials_fault("hold_before", method="GET", times=CONCURRENCY)
        self.start()
        held = self.site.credentials.held
        wait_for(lambda: held() == CONCURRENCY, "the worker to ask Credentials", alive=[self.worker])
        # Kombu loses a task if it is killed between taking it and noting that it has taken it.
        with connect(self.site.redis_url) as client:
            unacked = f"{self.site.run_id}-unacked"
            wait_for(lambda: client.hlen(unacked) == TAKEN, "the worker to take its tasks", alive=[self.worker])
        return tasks

    def end(self):
        """Stop the worker if it has not ended."""
        self.worker.stop()
        self.site.processes.forget(self.worker)


def stop_worker(site, crew, tasks):
    """Stop the worker, and start another one."""
    before = site.count_in_log("republish-worker", "Warm shutdown")
    crew.worker.popen.terminate()
    wait_for(lambda: site.count_in_log("republish-worker", "Warm shutdown") > before, "the worker to begin to stop")
    site.credentials.clear()
    crew.worker.popen.wait()
    crew.end()
    assert site.unfinished_tasks()
    crew.start()


def kill_child(site, crew, tasks):
    """Kill one of the worker's processes."""
    psutil.Process(crew.worker.pid).children()[0].kill()
    site.credentials.clear()
    site.wait_for_tasks()
    started = Counter(record["id"] for record in site.tasks() if record["state"] == "started")
    assert sorted(started[task] for task in tasks) == [1] * (ENQUEUED - 1) + [2]


def kill_worker(site, crew, tasks):
    """Kill the worker with all its processes, and start another one."""
    crew.worker.kill()
    crew.end()
    site.credentials.clear()
    options = yaml.safe_load(site.config_file.read_text(encoding="utf-8"))["BROKER_TRANSPORT_OPTIONS"]
    # Kombu looks every 100 s for messages whose time is up.
    options |= {"visibility_timeout": 5, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    crew.start(**other_settings(site, BROKER_TRANSPORT_OPTIONS=options))


def empty_broker(site, crew, tasks):
    """Restart the broker without its data, and run once more."""
    site.broker.stop()
    shutil.rmtree(site.broker.directory)
    site.broker.start()
    site.credentials.clear()
    site.cache_programs()  # the cache is in the same server
    again = crew.enqueue()
    if crew.worker.popen.poll() is not None:  # a supervisor does this
        crew.end()
        crew.start()
    wait_for(lambda: not again & site.unfinished_tasks(), "the tasks of the second run")
    lost = tasks & site.unfinished_tasks()
    assert lost
    site.lost_tasks |= lost


@pytest.mark.parametrize(
    ("act", "fault", "injected", "note"),
    [
        (stop_worker, "worker stopped and started", "SIGTERM", ""),
        (kill_child, "one process of the worker killed", "SIGKILL", "Celery runs its task again"),
        (kill_worker, "worker killed", "SIGKILL", "tasks come back after the visibility time-out: here 5 s"),
        (empty_broker, "Celery broker restarted without its data", "files removed", "the rest is lost: run again"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_enqueued(site, scene, act, fault, injected, note):
    scene.lose_events(ENQUEUED)
    crew = Crew(site, scene)

    def republish():
        act(site, crew, crew.work())
        site.wait_for_tasks()
        crew.end()

    scene.finish(f"`--enqueue`: {fault}", injected, lost=ENQUEUED, republish=republish, note=note)
