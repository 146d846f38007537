"""
An LMS process that is measured: ``python -m benchmarks.lms``, told what to do as ``testbed.site.lms`` is.
"""

import gc
import io
import re
import statistics
import tempfile
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
from uuid import uuid4

from testbed.site.lms import action, main

ACCEPTED = SimpleNamespace(status_code=201, elapsed=timedelta(milliseconds=15))
PROGRAM_UUID = uuid4()


@contextmanager
def _counting_queries():
    """Count the SQL queries of this process."""
    from django.db import connection

    queries = []

    def count(execute, sql, params, many, context):
        queries.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(count):
        yield queries


def _flush():
    """Wait until a producer that sends in the background has sent all."""
    from openedx_events.event_bus import get_producer

    if flush := getattr(get_producer(), "prepare_for_shutdown", None):
        flush()


@action
def fill(prefix, count, course_run):
    """Create learners who hold a course certificate, past the signals that would start tasks."""
    from opaque_keys.edx.keys import CourseKey

    from common.djangoapps.student.models import User, UserProfile
    from lms.djangoapps.certificates.models import GeneratedCertificate

    users = User.objects.bulk_create(
        User(username=f"{prefix}{number}", email=f"{prefix}{number}@example.com") for number in range(count)
    )
    UserProfile.objects.bulk_create(UserProfile(user=user, name=f"Name of {user.username}") for user in users)
    key = CourseKey.from_string(course_run)
    GeneratedCertificate.objects.bulk_create(
        GeneratedCertificate(user=user, course_id=key, mode="verified", status="downloadable") for user in users
    )


# One event


def _payload(user):
    from openedx_events.learning.data import ProgramCertificateData, ProgramData, UserData, UserPersonalData

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


def _ways(learner):
    """Return the ways to send an event, name -> function of a learner; ``learner`` is for what is built beforehand."""
    from django.utils.timezone import now
    from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED

    from openedx.core.djangoapps.programs.events import emit_program_certificate_awarded

    def send(certificate):
        PROGRAM_CERTIFICATE_AWARDED.send_event(time=now() - ACCEPTED.elapsed, program_certificate=certificate)

    payload = _payload(learner)
    ways = {
        "emitter": lambda user: emit_program_certificate_awarded(user, PROGRAM_UUID, ACCEPTED),
        "inline": lambda user: send(_payload(user)),
        "bare": lambda user: send(payload),
    }
    if add := _raw():
        ways["raw"] = lambda user: add()
    return ways


def _raw():
    """Return what puts the bytes of the stream's last event into another stream; None without such a stream."""
    from django.conf import settings

    if "redis" not in settings.EVENT_BUS_PRODUCER:
        return None
    import redis

    client = redis.Redis.from_url(settings.EVENT_BUS_REDIS_CONNECTION_URL)
    key = f"{settings.EVENT_BUS_TOPIC_PREFIX}-learning-program-certificate-lifecycle"
    if not client.exists(key):
        return None
    [(_id, fields)] = client.xrevrange(key, count=1)
    return lambda: client.xadd(f"{key}-raw", fields, maxlen=10_000, approximate=True)


def _learners(prefix, count):
    """Read learners, as the tasks do."""
    from common.djangoapps.student.models import User

    users = User.objects.filter(username__startswith=prefix).order_by("id")
    return list(users.select_related("profile")[:count])


WAYS = {}


@action
def warm_up(prefix):
    """Send one event, so that connections are open and schemas loaded; return the names of the ways to send more."""
    [learner] = _learners(prefix, 1)
    _ways(learner)["emitter"](learner)
    _flush()
    WAYS.update(_ways(learner))
    for send in WAYS.values():
        send(learner)
    _flush()
    return list(WAYS)


@action
def send(ways, prefix, count, pause):
    """
    Send events, one of each way in turn.

    Args:
        ways (list[str]): of ``WAYS``.
        prefix (str): of the learners' usernames.
        count (int): how many of each way.
        pause (float): seconds before each.

    Returns:
        dict[str, list[float]]: for each way, the microseconds that each event took its caller.
    """
    learners, samples = [_learners(prefix, count) for _ in ways], {way: [] for way in ways}
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
def count_work(way, prefix, count):
    """Send events, and return the SQL queries and the allocations of memory of each."""
    import memray

    send_one = WAYS[way]
    with _counting_queries() as queries:
        learners = _learners(prefix, count)
        queries.clear()
        for learner in learners:
            send_one(learner)
    learners = _learners(prefix, count)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "allocations"
        with memray.Tracker(path, trace_python_allocators=True):
            for learner in learners:
                send_one(learner)
        with memray.FileReader(path) as reader:
            metadata = reader.metadata
    _flush()
    return {"queries": len(queries) / count, "allocations": metadata.total_allocations / count}


@action
def profile(way, prefix, seconds):
    """Send events for so long; return how many, and the ``shares`` of places in the time of their caller."""
    from pyinstrument import Profiler

    from benchmarks.places import shares

    learners, send_one = _learners(prefix, 1000), WAYS[way]
    profiler = Profiler(interval=0.0001, async_mode="disabled", use_timing_thread=False)
    end, events = time.monotonic() + seconds, 0
    profiler.start()
    while time.monotonic() < end:
        for learner in learners:
            send_one(learner)
        events += len(learners)
    session = profiler.stop()
    _flush()
    return {"events": events, "shares": shares(session)}


# Tasks


@action
def time_requests(prefix, program_uuid, count):
    """Award certificates without a task; return the seconds that a request takes, the median."""
    from openedx.core.djangoapps.programs import tasks

    client = tasks._service_client()  # pylint: disable=protected-access
    times = []
    for learner in _learners(prefix, count):
        began = time.perf_counter()
        tasks.award_program_certificate(client, learner, program_uuid)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


@action
def run_task(username):
    """Run the award task here; return its seconds, those of them that it spent in the emitter, and SQL queries."""
    from openedx.core.djangoapps.programs import tasks

    spent, emit = [], tasks.emit_program_certificate_awarded

    def timed(*args):
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
def enqueue(usernames, queue):
    """Have a worker run the award task for each of some learners."""
    from openedx.core.djangoapps.programs.tasks import award_program_certificates

    for name in usernames:
        award_program_certificates.apply_async(args=[name], queue=queue)


# Repair


def _peak():
    """Return the most memory that this process has had, in MiB. ``ru_maxrss`` would begin with its parent's."""
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(peak) / 1024


@action
def republish(argv):
    """Run the republish command here; return its seconds, and this process's peak memory."""
    from django.core.management import call_command

    gc.collect()
    began = time.perf_counter()
    call_command("republish_program_certificate_events", *argv, stdout=io.StringIO())
    return {"seconds": time.perf_counter() - began, "peak": _peak()}


if __name__ == "__main__":
    main()
