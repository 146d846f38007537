"""
An LMS process that is measured: ``python -m benchmarks.lms``, told what to do as ``testbed.site.lms`` is.
"""

import gc
import io
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from uuid import uuid4

from testbed.site.lms import action, main  # sets Django up

# isort: split
from django.core.management import call_command
from django.db import connection
from django.utils.timezone import now
from openedx_events.event_bus import get_producer
from openedx_events.learning.data import ProgramCertificateData, ProgramData, UserData, UserPersonalData
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED

from common.djangoapps.student.models import User
from openedx.core.djangoapps.programs import tasks
from openedx.core.djangoapps.programs.events import emit_program_certificate_awarded

ACCEPTED: Any = SimpleNamespace(status_code=201, elapsed=timedelta(milliseconds=15))
PROGRAM_UUID = uuid4()


@contextmanager
def _counting_queries() -> Iterator[list[str]]:
    queries: list[str] = []

    def collect(execute: Any, sql: str, *args: Any) -> Any:
        queries.append(sql)
        return execute(sql, *args)

    with connection.execute_wrapper(collect):
        yield queries


def _flush() -> None:
    """Wait until a producer that sends in the background has sent all."""
    if flush := getattr(get_producer(), "prepare_for_shutdown", None):
        flush()


# One event


def _send_inline(user: Any) -> None:
    """Send what the emitter sends."""
    certificate = ProgramCertificateData(
        user=UserData(
            pii=UserPersonalData(username=user.username, email=user.email, name=user.profile.name),
            id=user.id,
            is_active=user.is_active,
        ),
        program=ProgramData(uuid=str(PROGRAM_UUID), title="", program_type=""),
        uuid="",
        url="",
        status="awarded",
    )
    PROGRAM_CERTIFICATE_AWARDED.send_event(time=now() - ACCEPTED.elapsed, program_certificate=certificate)


WAYS = {
    "emitter": lambda user: emit_program_certificate_awarded(user, PROGRAM_UUID, ACCEPTED),
    "inline": _send_inline,
}


def _learners(prefix: str, count: int) -> list[Any]:
    """Read learners, as the tasks do."""
    users = User.objects.filter(username__startswith=prefix).order_by("id")
    return list(users.select_related("profile")[:count])


@action
def send(prefix: str, count: int, pause: float) -> dict[str, list[tuple[float, int]]]:
    """Send ``count`` events of each way, after a pause each; return each one's microseconds and SQL queries."""
    learners = {way: _learners(prefix, count) for way in WAYS}
    samples: dict[str, list[tuple[float, int]]] = {way: [] for way in WAYS}
    gc.collect()
    with _counting_queries() as queries:
        for number in range(count):
            # Each way is the first one every other time.
            for way in sorted(WAYS, reverse=number % 2 == 1):
                send_one, learner = WAYS[way], learners[way][number]
                queries.clear()
                time.sleep(pause)
                began = time.perf_counter_ns()
                send_one(learner)
                samples[way].append(((time.perf_counter_ns() - began) / 1000, len(queries)))
    _flush()
    return samples


# Tasks


@action
def time_requests(prefix: str, program_uuid: str, count: int) -> float:
    """Award certificates without a task; return the seconds that a request takes, the median."""
    client = tasks._service_client()  # pylint: disable=protected-access
    times = []
    for learner in _learners(prefix, count):
        began = time.perf_counter()
        tasks.award_program_certificate(client, learner, program_uuid)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


@action
def run_task(username: str) -> dict[str, float]:
    """Run the award task here; return its seconds, those of them that it spent in the emitter, and SQL queries."""
    spent, emit = [], tasks.emit_program_certificate_awarded

    def timed(*args: Any) -> None:
        began = time.perf_counter()
        emit(*args)
        spent.append(time.perf_counter() - began)

    with _counting_queries() as queries, mock.patch.object(tasks, "emit_program_certificate_awarded", timed):
        began = time.perf_counter()
        result = tasks.award_program_certificates.apply(args=[username])
        seconds = time.perf_counter() - began
    result.get()
    _flush()
    return {"seconds": seconds, "emitter": sum(spent), "queries": len(queries)}


@action
def enqueue(usernames: list[str], queue: str) -> None:
    for name in usernames:
        tasks.award_program_certificates.apply_async(args=[name], queue=queue)


# Repair


@action
def republish(argv: list[str]) -> dict[str, float]:
    """Run the republish command here; return its seconds, and the most memory that this process has had, in MiB."""
    gc.collect()
    began = time.perf_counter()
    call_command("republish_program_certificate_events", *argv, stdout=io.StringIO())
    seconds = time.perf_counter() - began
    # ``ru_maxrss`` would begin with that of this process's parent.
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return {"seconds": seconds, "peak": int(peak) / 1024}


if __name__ == "__main__":
    main()
