"""
The fault suite on Kafka: what becomes of events whose producer sends in the background.

A certificate is awarded whatever happens to its event. Each fault is played twice: as it is, and with the block of
settings that the operators' page gives (``kafka-flush``). After one run of ``republish_program_certificate_events``
every event has to have arrived. To add a fault, add a ``KafkaFault`` to ``FAULTS``, and the row that its test prints
to ``docs/faults-kafka.md``.
"""

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest

from testbed.pages.blocks import named_block
from testbed.servers.processes import free_port, wait_for
from testbed.site.site import REPUBLISH
from testbed.tests.faults.kafka.site import LEARNERS, KafkaFaultSite
from testbed.tests.faults.table import slug

pytestmark = [pytest.mark.e2e, pytest.mark.kafka]

# So few that a slow broker still has none of their events when the last task is through.
FEW = 4
NOT_DELIVERED = "Error delivering message to Kafka event bus"

# Put into the settings of a worker. A plugin that sends an event when the LMS starts does the same.
EARLY_PRODUCER = """
from celery.signals import worker_init
from openedx_events.event_bus import get_producer

worker_init.connect(lambda **kwargs: get_producer(), weak=False)
"""

# The back end's producer, as if it had no way to wait for what is under way.
HASTY_PRODUCER = """
EVENT_BUS_PRODUCER = f"{__name__}.create_producer"


def create_producer():
    import edx_event_bus_kafka

    producer = edx_event_bus_kafka.create_producer()
    del type(producer).prepare_for_shutdown
    return producer
"""

# Sends three events as one task would that awards three programs.
THREE_EVENTS = """
from django.contrib.auth import get_user_model
from django.utils.timezone import now
from openedx.core.djangoapps.programs.events import emit_program_certificate
user = get_user_model().objects.first()
sent = [emit_program_certificate(user, str(number), "awarded", now()) for number in range(3)]
print("each was handed over:", sent)
"""


@dataclass(frozen=True)
class KafkaFault:
    """A row of the table, and its test. What is expected are the other cells of the row in ``docs/faults-kafka.md``."""

    fault: str  # what breaks
    play: Callable[[KafkaFaultSite], None]  # has certificates awarded, and events lost; its worker may still run
    rtt: int = 0  # milliseconds that the brokers' answers take
    settings: str = ""  # added to the LMS's
    note: str = ""  # may show the site's ``seconds``: {0} as is, {1} with the block, {most} the longer ones
    injected: str = ""  # how, if other rows have the same fault


def award(
    site: KafkaFaultSite, count: int = FEW, number: int = signal.SIGTERM, concurrency: int = 2, option: str = ""
) -> None:
    """Let a worker award certificates, and end it."""
    site.start_worker(concurrency=concurrency, options=[option] if option else [])
    site.award(count)
    site.end(site.worker, number)


def award_in_threads(site: KafkaFaultSite) -> None:
    site.start_worker(options=["--pool=threads"])
    # One thread builds the producer. Two that do so at once build two, and the block flushes one of them.
    for count in (1, FEW - 1):
        site.award(count)


def award_after_a_fork(site: KafkaFaultSite) -> None:
    before = site.count_in_log("worker", NOT_DELIVERED)
    award(site, 20)
    assert site.count_in_log("worker", NOT_DELIVERED) == before


def broker_silent_until_the_end(site: KafkaFaultSite) -> None:
    site.start_worker()
    before = len((site.directory / "worker.log").read_bytes())
    site.silence(site.cluster.process)
    site.award(20)
    site.seconds = site.end(site.worker)
    log = (site.directory / "worker.log").read_bytes()[before:].decode()
    left = [line.partition(f"{NOT_DELIVERED}: ")[2] for line in log.splitlines() if f"{NOT_DELIVERED}: " in line]
    # What the worker's two children have left is logged by the block.
    assert sum(int(text.split()[0]) for text in left) == (20 if site.block else 0)


def broker_silent_for_a_while(site: KafkaFaultSite) -> None:
    site.start_worker()
    site.silence(site.cluster.process)
    site.award(20)
    site.go_on(site.cluster.process)
    site.wait_until_none_is_lost()


def broker_restarted(site: KafkaFaultSite) -> None:
    site.start_worker()
    site.award(10)
    site.wait_until_none_is_lost()
    site.cluster.stop()
    try:
        site.award(10)
    finally:
        site.cluster.start()
    site.wait_until_none_is_lost()


def registry_refuses(site: KafkaFaultSite) -> None:
    award(site, 2)
    times = {(task["id"], task["state"]): task["at"] for task in site.tasks()}
    site.seconds = max(at - times[id_, "started"] for (id_, state), at in times.items() if state == "succeeded")


def registry_silent(site: KafkaFaultSite) -> None:
    site.silence(site.registry)
    site.start_worker()
    site.award(4, wait=False)
    # As it is, each of the two processes holds one award.
    wait_for(lambda: len(site.awarded()) == (4 if site.block else 2), "the awards")
    if site.block:
        site.wait_for_tasks()
    else:
        assert Counter(task["state"] for task in site.tasks()) == {"published": 4, "started": 2}
    site.go_on(site.registry)
    site.wait_for_tasks()
    if not site.block:
        site.wait_until_none_is_lost()


def registry_silent_and_a_time_limit(site: KafkaFaultSite) -> None:
    site.silence(site.registry)
    award(site, concurrency=4, option="--soft-time-limit=4")
    assert {task["state"] for task in site.tasks()} == {"published", "started", "succeeded"}


def run_ends(site: KafkaFaultSite) -> None:
    site.store(LEARNERS[:FEW])
    assert f" awarded={FEW} " in site.manage(REPUBLISH, "--usernames", *LEARNERS[:FEW])


def repair(site: KafkaFaultSite, command: str) -> None:
    site.store(LEARNERS)
    site.start_worker(options=["--max-tasks-per-child=100"])
    started = time.monotonic()
    output = site.manage(*command.split())
    assert (f"enqueued={len(LEARNERS)}" if "--enqueue" in command else f" awarded={len(LEARNERS)} ") in output
    site.wait_for_tasks()
    site.seconds = time.monotonic() - started


def retires(tasks: int, rtt: int, count: int, concurrency: int) -> KafkaFault:
    option = f"--max-tasks-per-child={tasks}"
    play = partial(award, count=count, concurrency=concurrency, option=option)
    return KafkaFault("a worker's child retires after its tasks", play, rtt, injected=option)


QUIT, KILL = (partial(award, number=number) for number in (signal.SIGQUIT, signal.SIGKILL))
SILENT_TO_THE_END = "broker accepts, never answers; worker ends meanwhile"
TIME_LIMIT = "schema registry accepts, never answers; worker with a time limit"
NOBODY = f'EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL = "http://127.0.0.1:{free_port()}"'
EARLY = "producer built in the parent process, before the fork"
RUN_ENDS = "republish run ends with its events under way"
HASTY = "producer without `prepare_for_shutdown`"
WORKER_TOOK = "the worker took {0:.1f} s to end, with the block {1:.1f} s"
TASK_TOOK, REPAIR_TOOK = "each task took up to {most:.1f} s", "it took up to {most:.1f} s"

FAULTS = [
    *(retires(1, 0, 12, 4), retires(1, 50, 12, 4), retires(1, 400, 4, 2)),
    *(retires(5, 0, 40, 4), retires(5, 50, 40, 4), retires(100, 0, 100, 1), retires(100, 50, 100, 1)),
    KafkaFault("warm shutdown right after the last task", award, rtt=400),
    KafkaFault("cold shutdown right after the last task", QUIT, rtt=400),
    KafkaFault("worker killed right after the last task", KILL, rtt=400),
    KafkaFault("warm shutdown of a pool of threads", award_in_threads, rtt=400),
    KafkaFault(EARLY, award_after_a_fork, settings=EARLY_PRODUCER),
    KafkaFault(SILENT_TO_THE_END, broker_silent_until_the_end, note=WORKER_TOOK),
    KafkaFault("broker accepts, never answers for a while", broker_silent_for_a_while),
    KafkaFault("broker restarted while awarding, with its data", broker_restarted),
    KafkaFault("schema registry refuses connections", registry_refuses, settings=NOBODY, note=TASK_TOOK),
    KafkaFault("schema registry accepts, never answers for a while", registry_silent),
    KafkaFault(TIME_LIMIT, registry_silent_and_a_time_limit),
    *(KafkaFault(RUN_ENDS, run_ends, rtt, HASTY_PRODUCER, injected=HASTY) for rtt in (50, 400)),
    *(
        KafkaFault(
            "repair of 200 lost events", partial(repair, command=command), 50, note=REPAIR_TOOK, injected=command
        )
        for command in (f"{REPUBLISH} --all", f"{REPUBLISH} --all --enqueue")
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: slug(f"{fault.fault} {fault.injected} {fault.rtt}"))
def test_fault(site: KafkaFaultSite, fault: KafkaFault) -> None:
    lost, seconds = [], []
    for site.block in ("", named_block("kafka-flush")):
        site.begin(f"{site.block}\n{fault.settings}")
        site.cluster.set_rtt(fault.rtt)
        fault.play(site)
        if site.worker in site.processes.running:
            site.end(site.worker)
        seconds.append(site.seconds)
        site.heal()
        lost.append(site.lost())
        assert len(site.awarded()) == site.asked  # whatever became of the events
        if not site.block or lost[-1]:
            site.republish()
            after = site.lost()
    injected = fault.injected + (f", {fault.rtt} ms" if fault.injected and fault.rtt else "")
    note = fault.note.format(*seconds, most=max(seconds))
    site.compare(fault.fault, injected, site.asked, *lost, after, note=note)
    assert after == 0


def test_registry_silent_and_three_events_of_a_process(site: KafkaFaultSite) -> None:
    # Without the block, the first would not return: `site.manage` fails then.
    site.begin(named_block("kafka-flush"))
    site.silence(site.registry)
    assert "each was handed over: [True, True, True]" in site.manage("shell", "-c", THREE_EVENTS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_waiting_republish_is_interrupted(site: KafkaFaultSite, number: signal.Signals) -> None:
    site.begin()
    site.store(LEARNERS[:20])
    site.silence(site.cluster.process)
    asked = len(site.credentials.requests())
    run = site.start_command(REPUBLISH, "--all")
    wait_for(lambda: len(site.credentials.requests()) == asked + len(LEARNERS), "the run to ask", alive=[run])
    time.sleep(1)
    run.popen.send_signal(number)
    output = site.finish(run, code=1)
    site.go_on(site.cluster.process)

    assert " awarded=20 " in output
    assert "Not complete: KeyboardInterrupt." in output
    assert "Traceback" not in output
    assert site.lost() == 20
    site.republish()
    assert site.lost() == 0


def test_first_events_of_a_topic(apache: KafkaFaultSite) -> None:
    lost = []
    for settings in ("", named_block("kafka-flush")):
        apache.begin_topic(settings=settings)
        before = apache.count_in_log("worker", "already exists. (HTTP status code 409")
        award(apache, FEW, concurrency=FEW)
        lost.append(FEW - apache.count_published())
    refused = apache.count_in_log("worker", "already exists. (HTTP status code 409") - before
    before = apache.count_published()
    apache.manage(REPUBLISH, "--usernames", *apache.awarded())
    after = FEW - (apache.count_published() - before)
    apache.compare("several processes send the first events of a topic", "", FEW, *lost, after)
    assert after == 0
    assert (lost[1] > 0) == (refused > 0)
