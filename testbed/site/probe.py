"""
The Django application of a site's LMS processes that records what happens, and lets things go wrong, for the tests.
"""

import json
import os
import signal
import time
from functools import partial, update_wrapper
from pathlib import Path
from typing import Any

import attrs
from celery import signals
from celery.app import autoretry
from django.apps import AppConfig
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED


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

    def ready(self) -> None:
        if path := os.environ.get("TESTBED_CONSUMED"):
            _connect(_record_event, path)
        if path := os.environ.get("TESTBED_CONSUMER_HANGS"):
            _connect(_hang, path)
        if path := os.environ.get("TESTBED_TASKS"):
            _record_tasks(path)
        if divisor := os.environ.get("TESTBED_RETRY_DIVISOR"):
            _shorten_retries(float(divisor))
        if os.environ.get("TESTBED_RECEIVER_RAISES"):
            _connect(_raise)
        if seconds := os.environ.get("TESTBED_CLOCK_AHEAD"):
            _advance_clock(float(seconds))


def _append(path: str, record: dict[str, Any]) -> None:
    """Append a line of JSON to a file that several processes write to: it is written at once."""
    with Path(path).open("ab", buffering=0) as file:
        file.write((json.dumps(record, ensure_ascii=False, default=str) + "\n").encode())


def _connect(receiver: Any, *arguments: Any) -> None:
    bound = update_wrapper(partial(receiver, *arguments), receiver)  # openedx-events logs a receiver's name
    for event in (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED):
        event.connect(bound, weak=False)


def _raise(**kwargs: Any) -> None:
    raise RuntimeError("this receiver always raises")


def _hang(path: str, from_event_bus: bool, **kwargs: Any) -> None:
    if from_event_bus:
        _append(path, {})
        signal.pause()


def _record_event(path: str, metadata: Any, program_certificate: Any, from_event_bus: bool, **kwargs: Any) -> None:
    if from_event_bus:
        record = {
            "type": metadata.event_type,
            "id": str(metadata.id),
            "source": metadata.source,
            "time": metadata.time.isoformat(),
            "topic": os.environ["TESTBED_TOPIC"],
            "data": {"program_certificate": attrs.asdict(program_certificate)},
        }
        _append(path, record)


def _record_tasks(path: str) -> None:
    def record(state: str, task: str, task_id: str, **extra: Any) -> None:
        _append(path, {"state": state, "task": task.rpartition(".")[2], "id": task_id, "at": time.time(), **extra})

    def published(sender: str, headers: dict[str, Any], body: Any, **kwargs: Any) -> None:
        record("published", sender, headers["id"], retries=headers["retries"], args=body[0])

    def changed(state: str, sender: Any, exception: Exception | None = None, **kwargs: Any) -> None:
        record(state, sender.name, sender.request.id, **({"error": type(exception).__name__} if exception else {}))

    def retried(sender: Any, request: Any, reason: Any, **kwargs: Any) -> None:
        # Credentials will refuse it again, up to ten times.
        response: Any = getattr(getattr(reason.exc, "__cause__", None), "response", None)
        is_refused = response is not None and 400 <= response.status_code < 500 and response.status_code != 429
        extra = {"refused": f"{response.status_code} {response.text[:500]}"} if is_refused else {}
        record("retried", sender.name, request.id, **extra)

    signals.after_task_publish.connect(published, weak=False)
    signals.task_prerun.connect(partial(changed, "started"), weak=False)
    signals.task_success.connect(partial(changed, "succeeded"), weak=False)
    signals.task_failure.connect(partial(changed, "failed"), weak=False)
    signals.task_retry.connect(retried, weak=False)


def _shorten_retries(divisor: float) -> None:
    # Celery takes the wait from this function, in whole seconds; the tasks' own options stay as they are.
    original = autoretry.get_exponential_backoff_interval
    autoretry.get_exponential_backoff_interval = lambda **kwargs: original(**kwargs) / divisor


def _advance_clock(seconds: float) -> None:
    # This one name only: tokens are made by the right clock, or Credentials would refuse them.
    from datetime import timedelta

    from openedx.core.djangoapps.programs import republish

    original = republish.now
    republish.now = lambda: original() + timedelta(seconds=seconds)
