"""
Connects what the environment asks for.
"""

import json
import os
import signal
import time
from functools import partial

from django.apps import AppConfig


class ProbeConfig(AppConfig):
    """
    The application, configured by environment variables:

    - ``TESTBED_CONSUMED``: append each event that came from the bus to this file, one JSON object a line.
    - ``TESTBED_TASKS``: append what becomes of each Celery task to this file, one JSON object a line.
    - ``TESTBED_RETRY_DIVISOR``: divide the waits before Celery's retries; their number stays.
    - ``TESTBED_CONSUMER_HANGS``: on an event from the bus, create this file and wait, until the process is killed.
    - ``TESTBED_RECEIVER_RAISES``: connect a receiver that raises to both program-certificate events.
    - ``TESTBED_CLOCK_AHEAD``: add so many seconds to the time of each republished event.
    """

    name = "testbed.site"
    label = "probe"

    def ready(self):
        """Connect."""
        if path := os.environ.get("TESTBED_CONSUMED"):
            _record_events(path)
        if path := os.environ.get("TESTBED_CONSUMER_HANGS"):
            _connect(partial(_hang, path))
        if path := os.environ.get("TESTBED_TASKS"):
            _record_tasks(path)
        if divisor := os.environ.get("TESTBED_RETRY_DIVISOR"):
            _shorten_retries(float(divisor))
        if os.environ.get("TESTBED_RECEIVER_RAISES"):
            _connect(_raise)
        if seconds := os.environ.get("TESTBED_CLOCK_AHEAD"):
            _advance_clock(float(seconds))


def append(path, record):
    """
    Append a line to a file that several processes write to; each line is written at once.

    Args:
        path (str): the file.
        record (dict): what to write, as JSON.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, (json.dumps(record, ensure_ascii=False, default=str) + "\n").encode())
    finally:
        os.close(descriptor)


def _connect(receiver):
    from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

    for event in (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED):
        event.connect(receiver, weak=False)


def _raise(**kwargs):
    raise RuntimeError("this receiver always raises")


def _hang(path, from_event_bus, **kwargs):
    if from_event_bus:
        append(path, {})
        signal.pause()


def _record_events(path):
    import attrs

    topic = os.environ["TESTBED_TOPIC"]

    def receiver(metadata, program_certificate, from_event_bus, **kwargs):
        if from_event_bus:
            append(
                path,
                {
                    "type": metadata.event_type,
                    "id": str(metadata.id),
                    "source": metadata.source,
                    "time": metadata.time.isoformat(),
                    "topic": topic,
                    "data": {"program_certificate": attrs.asdict(program_certificate)},
                },
            )

    _connect(receiver)


def _record_tasks(path):
    from celery import signals

    def record(state, task, task_id, **extra):
        append(path, {"state": state, "task": task.rpartition(".")[2], "id": task_id, "at": time.time(), **extra})

    def published(sender, headers, body, **kwargs):
        record("published", sender, headers["id"], retries=headers["retries"], args=body[0])

    def finished(state, sender, exception=None, **kwargs):
        record(state, sender.name, sender.request.id, **({"error": type(exception).__name__} if exception else {}))

    def retried(sender, request, reason, **kwargs):
        # Credentials will refuse it again, up to ten times.
        response = getattr(getattr(reason.exc, "__cause__", None), "response", None)
        is_refused = response is not None and 400 <= response.status_code < 500 and response.status_code != 429
        extra = {"refused": f"{response.status_code} {response.text[:500]}"} if is_refused else {}
        record("retried", sender.name, request.id, **extra)

    signals.after_task_publish.connect(published, weak=False)
    signals.task_prerun.connect(partial(finished, "started"), weak=False)
    signals.task_success.connect(partial(finished, "succeeded"), weak=False)
    signals.task_failure.connect(partial(finished, "failed"), weak=False)
    signals.task_retry.connect(retried, weak=False)


def _shorten_retries(divisor):
    # Celery takes the wait from this function, in whole seconds; the tasks' own options stay as they are.
    from celery.app import autoretry

    original = autoretry.get_exponential_backoff_interval
    autoretry.get_exponential_backoff_interval = lambda **kwargs: original(**kwargs) / divisor


def _advance_clock(seconds):
    # This one name only: tokens are made by the right clock, or Credentials would refuse them.
    from datetime import timedelta

    from openedx.core.djangoapps.programs import republish

    original = republish.now
    republish.now = lambda: original() + timedelta(seconds=seconds)
