"""
The tests of the change in company, ten times, for ``make test-company``: ``python -m testbed.checks.company``.

pytest-randomly gives each run another order. As a pytest plugin, this has a thread that logs beside the tests, and sees
what they change for the whole process: modules, classes, loggers, events. The platform's tests have such threads, of
pymongo. A test that changes something, or leaves something behind, fails the run. No library has such a thread.
"""

import datetime
import logging
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from functools import cache
from typing import Any

import pytest
import requests
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from openedx_events.tooling import OpenEdxPublicSignal

from testbed import ROOT
from testbed.checks.manifest import list_files

RUNS = 10
LOGGERS = [logging.getLogger(name) for name in ("root", "django", "pymongo.topology")]
SHARED: list[Any] = [
    *(datetime, time, requests, requests.sessions, requests.Session, requests.adapters.HTTPAdapter),
    *(BaseDatabaseWrapper, CursorWrapper, OpenEdxPublicSignal),
    *(logging.Logger, logging.root.manager, *LOGGERS),
]
MAY_CHANGE = {"ensure_connection"}  # by which pytest-django keeps tests without a database away from it
REPORTED: set[str] = set()  # each problem is, once: for the first test that has it


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Make the run fail for a test that changes something, or leaves something behind."""
    problems: set[str] = set()
    state, ended = get_process_state(), threading.Event()
    company = threading.Thread(target=work, args=[problems, get_shared_values(), ended.wait], daemon=True)
    company.start()
    result = yield
    ended.set()
    company.join()
    if get_process_state() != state:
        problems.add("receiver, disabled event or signal handler")
    for problem in problems - REPORTED:
        item.session.testsfailed += 1
        item.config.get_terminal_writer().line(f"\nCHANGED {problem} by {item.nodeid}", red=True)
    REPORTED.update(problems)
    return result


@cache
def get_shared_values() -> list[dict[str, Any]]:
    """Return what no test may change, as it is before the first one."""
    return [dict(vars(owner)) for owner in SHARED]


def work(problems: set[str], values: list[dict[str, Any]], wait: Callable[[float], bool]) -> None:
    """Log beside a test, and note what it changes, until it has ended."""
    while not wait(0.002):
        for logger in LOGGERS:
            logger.warning("The company works.")
        problems.update(find_changes(values))


def find_changes(values: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what has another value than before the tests."""
    for owner, before in zip(SHARED, values, strict=True):
        for name, value in before.items():
            if vars(owner).get(name) is not value and name not in MAY_CHANGE:
                yield f"{getattr(owner, '__name__', owner)}.{name}"
    for event in OpenEdxPublicSignal.all_events():
        if "send_event" in vars(event):
            yield f"{event.event_type}.send_event"


def get_process_state() -> tuple[list[Any], Any]:
    """Return what a test has to leave as it was: receivers, which events are enabled, what SIGTERM does."""
    events = OpenEdxPublicSignal.all_events()
    # has_listeners() forgets receivers that are gone.
    receivers = [(event.has_listeners(), len(event.receivers), event._allow_events) for event in events]
    return receivers, signal.getsignal(signal.SIGTERM)


if __name__ == "__main__":
    tests = [path for path in list_files() if "/tests/test_" in path]
    for number in range(1, RUNS + 1):
        options = ["-q", "-p", "no:cacheprovider", "-p", "testbed.checks.company"]
        options.append(f"--randomly-seed={random.randrange(2**32)}")
        print(f"Run {number} of {RUNS}: {options[-1]}", flush=True)
        if subprocess.run([sys.executable, "-m", "pytest", *options, *tests], cwd=ROOT).returncode:
            sys.exit(f"Run {number} failed. To repeat it: pytest {' '.join([*options, *tests])}")
