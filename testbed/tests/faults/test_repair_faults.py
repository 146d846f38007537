"""
The fault suite of the repair: breaks one thing at a time while lost events are republished.

To add a fault, add a ``Fault`` to ``FAULTS``, and the row that its test prints to ``docs/faults.md``.
"""

import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import psutil
import pytest
import yaml

from testbed.pages.blocks import named_block
from testbed.servers.processes import Process, wait_for
from testbed.servers.valkey import connect
from testbed.site.events import known, username_of
from testbed.tests.faults.scene import REPUBLISH, Fault, Scene, parametrize, worker_killed
from testbed.tests.faults.site import FaultSite

pytestmark = [pytest.mark.e2e, pytest.mark.fault]

# The page's commands: they start a worker, and hand the learners to it.
WORKER, ENQUEUE = (shlex.split(named_block(name)) for name in ("republish-worker", "republish-enqueue"))
[CONCURRENCY] = [int(word.partition("=")[2]) for word in WORKER if word.startswith("--concurrency=")]
TAKEN = 4 * CONCURRENCY  # tasks that a worker takes from the broker at a time
ENQUEUED = TAKEN + 4


def summary(learners: int, awarded: int = 0, skipped: int = 0, failed: int = 0, bus_errors: int = 0) -> str:
    """Return the command's last line."""
    counts = f"learners={learners} awarded={awarded} revoked=0 skipped={skipped}"
    return f"{counts} failed={failed} bus_errors={bus_errors}\n"


# A run that fails


def run_fails(
    scene: Scene, log: str, answer: dict | None = None, argv: tuple[str, ...] = (), settings: dict | None = None
) -> None:
    """Have a run for one learner publish nothing, and say so: it is answered in a wrong way, or refused."""
    site, others = scene.site, [f"other-{number}" for number in range(41)]
    stored = {"program_uuid": scene.program["uuid"], "status": "awarded", "modified": scene.began.isoformat()}
    site.credentials.store({"username": username, **stored} for username in others)
    scene.lose_events()
    if answer:
        scene.credentials_fault(method="GET", **answer)
    requests, events = len(site.credentials.requests()), site.count_added()
    run = scene.start(*argv, **site.other_settings(**(settings or {})))
    assert run.finish() == ((1, summary(1, failed=1)) if answer else (2, ""))
    assert log in run.log.read_text(encoding="utf-8")
    assert len(site.credentials.requests()) - requests == bool(answer)
    assert site.count_added() == events
    site.credentials.delete(others)


def no_bus(scene: Scene) -> None:
    scene.lose_events(2)
    scene.site.bus.stop()
    assert scene.start().finish() == (1, summary(2, awarded=2, bus_errors=2))


def credentials_stops(scene: Scene) -> None:
    scene.lose_events(7)
    scene.credentials_fault("delay", method="GET", seconds=0)  # the first request passes
    run = scene.start_and_hold()
    scene.site.credentials_process.stop()
    # Five failures in a row end a run.
    assert run.finish() == (1, summary(6, awarded=1, failed=5))


def run_stopped(scene: Scene) -> None:
    scene.lose_events()
    run = scene.start_and_hold()
    run.popen.terminate()
    assert run.finish() == (1, summary(1))


def revoked_meanwhile(scene: Scene) -> None:
    username = scene.learner("revoke")
    run = scene.start_and_hold("hold")  # Credentials has found it awarded
    scene.revoke(username)
    scene.settle()
    assert scene.known() == {username: "revoked"}
    scene.site.credentials.clear()
    assert run.finish() == (0, summary(1, awarded=1))


# Nobody repairs by hand


def scheduled_run_fails(scene: Scene) -> Iterator[None]:
    scene.site.bus.stop()
    yield
    scene.site.wait_for_tasks()
    counts, errors = scene.scheduled_run(code=1).rsplit("=", 1)  # the schedule does not know that the bus is down
    assert counts.endswith(" failed=0 bus_errors")
    assert int(errors) >= 2
    scene.site.bus.start()
    scene.settle()
    assert scene.known() == {scene.names[1]: "awarded"}


def scheduled_twice(scene: Scene) -> str:
    """A run in an hour in which nothing happens changes nothing, for anyone on the site."""
    first = scene.scheduled_run()
    assert first.endswith(" failed=0 bus_errors=0")
    scene.settle()
    before = known(scene.site.events())
    assert scene.scheduled_run() == first
    scene.settle()
    assert known(scene.site.events()) == before
    return first


# What happened to certificates and learners before the run


def revoked_in_bulk(scene: Scene) -> None:
    username = scene.learner("revoke")

    def modified() -> list[str]:
        stored = scene.site.credentials.credentials()
        return [item["modified"] for item in stored if item["program_uuid"] and item["username"] == username]

    before = modified()
    scene.site.credentials.change_status([username], "revoked")
    scene.owed[username] = "revoked"
    assert modified() == before


def clock_is_off(scene: Scene, hours: int) -> None:
    scene.site.credentials.set_clock(hours * 3600)
    lost, live = scene.learner("revoke"), scene.learner("revoke")
    scene.republish()
    scene.site.bus.stop()
    scene.revoke(lost)
    scene.site.wait_for_tasks()
    scene.site.bus.start()
    # A republished event must not outlive a live one that follows.
    scene.revoke(live)
    scene.settle()
    assert scene.known() == {lost: "awarded", live: "revoked"}


def renamed(scene: Scene) -> None:
    """Credentials has the certificate under the old name. The platform's command awards another one."""
    [username] = scene.lose_events()
    new_username = f"{username}-renamed"
    scene.site.do("rename", username=username, new_username=new_username)
    scene.gone.add(username)
    scene.owed[new_username] = "awarded"


def taken_over(scene: Scene) -> None:
    renamed(scene)
    [username] = scene.gone
    joined, enrolled = (datetime.now(UTC) + timedelta(days=2)).isoformat(), {scene.first_run: "verified"}
    scene.site.do("create_learner", username=username, joined=joined, enrolled=enrolled, known=False)
    scene.site.do("certify", username=username, course_run=scene.first_run)


def republish_without_newcomer(scene: Scene) -> str:
    output = scene.republish()
    scene.settle()
    [old] = scene.gone
    assert {username_of(event) for event in scene.events()} == {f"{old}-renamed"}
    assert len({event["data"]["program_certificate"]["user"]["id"] for event in scene.events()}) == 1
    return output


def deleted(scene: Scene) -> None:
    scene.learner("revoke")  # a run that finds no certificate fails
    [username] = scene.lose_events()
    scene.site.do("delete", username=username)
    scene.gone.add(username)


# Learners handed to Celery


def enqueue(scene: Scene) -> set[str]:
    """Hand the learners to the worker; return the ids of their tasks."""
    before = scene.site.unfinished_tasks()
    argv = shlex.join(ENQUEUE[2:]).replace("--all", f"--program-uuids {scene.program['uuid']}")
    assert scene.start(*shlex.split(argv)).finish() == (0, f"enqueued={ENQUEUED}\n")
    return scene.site.unfinished_tasks() - before


def start(site: FaultSite, **env: str) -> Process:
    """Start the worker of the page."""
    return site.processes.python("republish-worker", "-m", *WORKER, env=site.env(**env))


def lose_enqueued(scene: Scene) -> None:
    scene.lose_events(ENQUEUED)


def enqueued(fault: str, act: Callable[[Scene, Process, set[str]], Process]) -> Fault:
    """Make a row of a fault that happens to the worker that repairs. ``act`` returns the worker that runs then."""

    def republish(scene: Scene) -> str:
        site = scene.site
        tasks = enqueue(scene)
        scene.credentials_fault("hold_before", method="GET", times=CONCURRENCY)
        worker = start(site)
        wait_for(lambda: site.credentials.held() == CONCURRENCY, "the worker to ask Credentials", alive=[worker])
        # Kombu loses a task if it is killed between taking it and noting that it has taken it.
        with connect(site.redis_url) as client:
            unacked = f"{site.run_id}-unacked"
            wait_for(lambda: client.hlen(unacked) == TAKEN, "the worker to take its tasks", alive=[worker])
        worker = act(scene, worker, tasks)
        site.wait_for_tasks()
        worker.stop()
        return ""

    return RunFault(f"`--enqueue`: {fault}", lose_enqueued, republish=republish)


def stop_worker(scene: Scene, worker: Process, tasks: set[str]) -> Process:
    scene.site.stop_with_tasks(worker)
    worker.stop()
    assert scene.site.unfinished_tasks()
    return start(scene.site)


def kill_child(scene: Scene, worker: Process, tasks: set[str]) -> Process:
    psutil.Process(worker.pid).children()[0].kill()
    scene.site.credentials.clear()
    scene.site.wait_for_tasks()
    started = Counter(record["id"] for record in scene.site.tasks() if record["state"] == "started")
    assert sorted(started[task] for task in tasks) == [1] * (ENQUEUED - 1) + [2]
    return worker


def kill_worker(scene: Scene, worker: Process, tasks: set[str]) -> Process:
    worker.kill()
    scene.site.credentials.clear()
    options = yaml.safe_load(scene.site.config_file.read_text(encoding="utf-8"))["BROKER_TRANSPORT_OPTIONS"]
    # Kombu looks every 100 s for messages whose time is up.
    options |= {"visibility_timeout": 5, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    return start(scene.site, **scene.site.other_settings(BROKER_TRANSPORT_OPTIONS=options))


def empty_broker(scene: Scene, worker: Process, tasks: set[str]) -> Process:
    site = scene.site
    site.broker.stop()
    shutil.rmtree(site.broker.directory)
    site.broker.start()
    site.credentials.clear()
    site.command("cache_programs")  # the cache is in the same server
    again = enqueue(scene)
    if worker.popen.poll() is not None:  # a supervisor does this
        worker.stop()
        worker = start(site)
    wait_for(lambda: not again & site.unfinished_tasks(), "the tasks of the second run")
    lost = tasks & site.unfinished_tasks()
    assert lost
    site.lost_tasks |= lost
    return worker


# A fault of a run, or of what happens before one: ``play`` makes all changes.
RunFault = partial(Fault, changes=())

NO_QUERY = partial(run_fails, log="certificates of other learners", answer={"kind": "drop_query", "times": None})
EMPTY = partial(run_fails, log="ValueError", answer={"kind": "status", "status": 200, "body": {}})
OFF = partial(run_fails, log="enables neither event", settings={"EVENT_BUS_PRODUCER_CONFIG": None})
FUTURE = partial(run_fails, log="in the future", argv=(REPUBLISH, "--start-date", "2100-01-01"))

FAULTS = [
    RunFault("a gateway drops the query string of a run", NO_QUERY),
    RunFault("Credentials answers a run with something else", EMPTY),
    RunFault("run whose settings enable neither event", OFF),
    RunFault("run with a start in the future", FUTURE),
    RunFault("bus refuses connections during a run", no_bus, representative=True),
    RunFault("Credentials unreachable from the middle of a run", credentials_stops),
    RunFault("run told to stop", run_stopped),
    RunFault("certificate revoked while a run reads it", revoked_meanwhile),
    Fault(
        "bus refuses connections, and nobody repairs by hand",
        scheduled_run_fails,
        ("award", "revoke"),
        republish=scheduled_twice,
    ),
    Fault(
        "worker killed after Credentials accepted, and nobody repairs by hand",
        worker_killed,
        republish=Scene.scheduled_run,
    ),
    RunFault("Credentials revokes in bulk, `modified` stays", revoked_in_bulk),
    RunFault("Credentials' time stamps an hour behind", partial(clock_is_off, hours=-1)),
    RunFault("Credentials' time stamps an hour ahead", partial(clock_is_off, hours=1)),
    RunFault("learner renamed between task and republish", renamed, summary=summary(1, awarded=1)),
    RunFault(
        "old username taken over by a newcomer",
        taken_over,
        republish=republish_without_newcomer,
        summary=summary(2, awarded=1, skipped=1),
    ),
    RunFault("learner deleted between task and republish", deleted, summary=summary(1, awarded=1)),
    enqueued("worker stopped and started", stop_worker),
    enqueued("one process of the worker killed", kill_child),
    enqueued("worker killed", kill_worker),
    enqueued("Celery broker restarted without its data", empty_broker),
]


@parametrize(FAULTS)
def test_fault(scene: Scene, fault: Fault) -> None:
    scene.run(fault)
