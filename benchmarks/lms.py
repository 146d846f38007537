"""
An LMS process that is measured: ``python -m benchmarks.lms``, told what to do as ``testbed.site.lms`` is.
"""

import gc
import io
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from uuid import uuid4

from testbed.site.lms import action, main  # sets Django up

# isort: split
import redis
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.utils.timezone import now
from opaque_keys.edx.keys import CourseKey
from openedx_events.event_bus import get_producer
from openedx_events.learning.data import ProgramCertificateData, ProgramData, UserData, UserPersonalData
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED

from common.djangoapps.student.models import User, UserProfile
from lms.djangoapps.certificates.models import GeneratedCertificate
from openedx.core.djangoapps.programs import tasks
from openedx.core.djangoapps.programs.events import emit_program_certificate_awarded

ACCEPTED: Any = SimpleNamespace(status_code=201, elapsed=timedelta(milliseconds=15))
PROGRAM_UUID = uuid4()
# Sends an event about a learner.
Way = Callable[[Any], object]
WAYS: dict[str, Way] = {}


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


@action
def fill(prefix: str, count: int, course_run: str) -> None:
    """Create learners who hold a course certificate, past the signals that would start tasks."""
    users = User.objects.bulk_create(
        User(username=f"{prefix}{number}", email=f"{prefix}{number}@example.com") for number in range(count)
    )
    UserProfile.objects.bulk_create(UserProfile(user=user, name=f"Name of {user.username}") for user in users)
    key = CourseKey.from_string(course_run)
    GeneratedCertificate.objects.bulk_create(
        GeneratedCertificate(user=user, course_id=key, mode="verified", status="downloadable") for user in users
    )


# One event


def _payload(user: Any) -> Any:
    return ProgramCertificateData(
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


def _ways(learner: Any) -> dict[str, Way]:
    """Return the ways to send an event; of the learner is what is built beforehand."""

    def send_event(certificate: Any) -> None:
        PROGRAM_CERTIFICATE_AWARDED.send_event(time=now() - ACCEPTED.elapsed, program_certificate=certificate)

    payload, add = _payload(learner), _raw()
    ways: dict[str, Way] = {
        "emitter": lambda user: emit_program_certificate_awarded(user, PROGRAM_UUID, ACCEPTED),
        "inline": lambda user: send_event(_payload(user)),
        "bare": lambda user: send_event(payload),
    }
    return ways | ({"raw": lambda user: add()} if add else {})


def _raw() -> Callable[[], object] | None:
    """Return what puts the bytes of the stream's last event into another stream; None without such a stream."""
    names = ("PRODUCER", "REDIS_CONNECTION_URL", "TOPIC_PREFIX")
    producer, url, prefix = (getattr(settings, f"EVENT_BUS_{name}", "") for name in names)
    key = f"{prefix}-learning-program-certificate-lifecycle"
    if "redis" not in producer or not (client := redis.Redis.from_url(url)).exists(key):
        return None
    entries: Any = client.xrevrange(key, count=1)
    return lambda: client.xadd(f"{key}-raw", entries[0][1], maxlen=10_000, approximate=True)


def _learners(prefix: str, count: int) -> list[Any]:
    """Read learners, as the tasks do."""
    users = User.objects.filter(username__startswith=prefix).order_by("id")
    return list(users.select_related("profile")[:count])


@action
def warm_up(prefix: str) -> list[str]:
    """Send one event, so that connections are open and schemas loaded; return the names of the ways to send more."""
    [learner] = _learners(prefix, 1)
    _ways(learner)["emitter"](learner)
    _flush()
    WAYS.update(_ways(learner))
    for send_one in WAYS.values():
        send_one(learner)
    _flush()
    return list(WAYS)


@action
def send(ways: list[str], prefix: str, count: int, pause: float) -> dict[str, list[float]]:
    """Send ``count`` events of each way in turn, after a pause each; return the microseconds each took its caller."""
    learners = [_learners(prefix, count) for _ in ways]
    samples: dict[str, list[float]] = {way: [] for way in ways}
    gc.collect()
    for number in range(count):
        for place in range(len(ways)):
            # Each way comes after each other one.
            place = (place + number) % len(ways)
            send_one, learner = WAYS[ways[place]], learners[place][number]
            if pause:
                time.sleep(pause)
            began = time.perf_counter_ns()
            send_one(learner)
            samples[ways[place]].append((time.perf_counter_ns() - began) / 1000)
    _flush()
    return samples


@action
def count_queries(way: str, prefix: str, count: int) -> float:
    """Send events, and return the SQL queries of each."""
    learners = _learners(prefix, count)
    with _counting_queries() as queries:
        for learner in learners:
            WAYS[way](learner)
    _flush()
    return len(queries) / count


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
