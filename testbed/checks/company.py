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
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import requests
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from openedx_events.tooling import OpenEdxPublicSignal

from testbed import ROOT
from testbed.checks.manifest import list_files

RUNS = 10
LOGGERS = (None, "django", "pymongo.topology")
SHARED = (
    *(datetime, time, requests, requests.sessions, requests.Session, requests.adapters.HTTPAdapter),
    *(BaseDatabaseWrapper, CursorWrapper, OpenEdxPublicSignal),
)
MAY_CHANGE = {"ensure_connection"}  # by which pytest-django keeps tests without a database away from it


class Company(logging.Handler):
    """Works beside the tests. ``problems`` holds, for each thing that was changed, by which test it was first."""

    def __init__(self) -> None:
        super().__init__()
        self.ended, self.rounds, self.test = threading.Event(), 0, "no test yet"
        self.problems: dict[str, str] = {}
        self.seen: Any = None
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.before = [dict(vars(owner)) for owner in SHARED]
        self.wait = threading.Event().wait

    def emit(self, record: logging.LogRecord) -> None:
        """Remember what the company has logged last."""
        if record.msg == "Round %s of the company":
            [self.seen] = record.args or [None]

    def work(self) -> None:
        """Log and look, until the tests have ended."""
        while not self.wait(0.002) and not self.ended.is_set():
            self.rounds += 1
            test = self.test
            for problem in (*self.changes(), *self.unhandled()):
                self.problems.setdefault(problem, test)

    def changes(self) -> Iterator[str]:
        """Yield what has another value than before the tests."""
        for owner, before in zip(SHARED, self.before, strict=True):
            for name, value in before.items():
                if vars(owner).get(name) is not value and name not in MAY_CHANGE:
                    yield f"{owner.__name__}.{name}"
        for event in OpenEdxPublicSignal.all_events():
            if "send_event" in vars(event):
                yield f"{event.event_type}.send_event"

    def unhandled(self) -> Iterator[str]:
        """Yield the loggers whose records are not handled."""
        for name in LOGGERS:
            self.seen = None
            logging.getLogger(name).warning("Round %s of the company", self.rounds)
            if self.seen != self.rounds:
                yield f"logger {name or 'root'}"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, Any, Any]:
        """Work while tests run."""
        for name in LOGGERS:
            logging.getLogger(name).addHandler(self)
        self.thread.start()
        result = yield
        self.ended.set()
        self.thread.join()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Note which test runs, and what it leaves behind."""
        self.test, before = item.nodeid, get_process_state()
        result = yield
        if get_process_state() != before:
            self.problems.setdefault("receiver, disabled event or signal handler", item.nodeid)
        return result

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Make the run fail if there was a problem."""
        if self.problems or not self.rounds:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for problem, test in self.problems.items():
            terminalreporter.write_line(f"CHANGED {problem} by {test}", red=True)
        terminalreporter.write_line(f"The company did {self.rounds} rounds of its work.")


def get_process_state() -> tuple[list[Any], Any]:
    """Return what a test has to leave as it was: receivers, which events are enabled, what SIGTERM does."""
    events = OpenEdxPublicSignal.all_events()
    # has_listeners() forgets receivers that are gone.
    receivers = [(event.has_listeners(), len(event.receivers), event._allow_events) for event in events]
    return receivers, signal.getsignal(signal.SIGTERM)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Company())


if __name__ == "__main__":
    tests = [path for path in list_files() if "/tests/test_" in path]
    for number in range(1, RUNS + 1):
        options = ["-q", "-p", "no:cacheprovider", "-p", "testbed.checks.company"]
        options.append(f"--randomly-seed={random.randrange(2**32)}")
        print(f"Run {number} of {RUNS}: {options[-1]}", flush=True)
        if subprocess.run([sys.executable, "-m", "pytest", *options, *tests], cwd=ROOT).returncode:
            sys.exit(f"Run {number} failed. To repeat it: pytest {' '.join([*options, *tests])}")
