"""
The tests of the change in company: ``python -m testbed.checks.company``, ten times, each in another order.

As a pytest plugin, this has a thread of its own sleep, log, read the clock, query a database and send requests all the
time, as the platform's tests have pymongo's monitors. What a test does to these for the whole process fails the run,
and so does what it leaves behind.
"""

import datetime
import logging
import random
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

import pytest
import requests
from django.db.utils import ConnectionHandler
from openedx_events.tooling import OpenEdxPublicSignal

from testbed.checks.platform_gates import ROOT, list_files

RUNS = 10
PAUSE = 0.002
LOGGERS = (None, "django", "pymongo.topology")


class Echo(BaseHTTPRequestHandler):
    """Answers each request with its path."""

    def do_GET(self):
        """Answer."""
        self.send_response_only(200)
        self.end_headers()
        self.wfile.write(self.path.encode())


class Company(logging.Handler):
    """Works beside the tests. ``problems`` holds, for each kind of work, during which test it was hindered first."""

    def __init__(self):
        super().__init__()
        self.ended, self.rounds, self.problems, self.test, self.seen = threading.Event(), 0, {}, "no test yet", None
        self.database = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.server.serve_forever, self.work)]

    def emit(self, record):
        """Remember what the company has logged last."""
        if record.msg == "Round %s of the company":
            self.seen = record.args[0]

    def work(self):
        """Do each kind of work in turn, until the tests have ended."""
        while not self.ended.is_set():
            self.rounds += 1
            for work in (self.sleep, self.log, self.read_clocks, self.query, self.request, self.send):
                test = self.test
                try:
                    work()
                except BaseException as exc:  # a mock may raise anything
                    self.problems.setdefault(work.__name__, f"{test}: {exc!r}")

    def sleep(self):
        """Sleep as long as that takes."""
        before = time.clock_gettime(time.CLOCK_MONOTONIC)
        time.sleep(PAUSE)
        assert time.clock_gettime(time.CLOCK_MONOTONIC) - before >= PAUSE, "did not sleep"

    def log(self):
        """Log, and have it handled."""
        for name in LOGGERS:
            if self.ended.is_set():  # nothing captures the output any more
                return
            self.seen = None
            logging.getLogger(name).warning("Round %s of the company", self.rounds)
            assert self.seen == self.rounds, f"a record of {name or 'the root logger'} was not handled"

    def read_clocks(self):
        """Read clocks, each of which tells the same."""
        for clock in (time.time, datetime.datetime.now().timestamp):
            assert abs(clock() - time.clock_gettime(time.CLOCK_REALTIME)) < 5, "a clock is wrong"

    def query(self):
        """Query an own database, on an own connection."""
        connection = self.database["default"]
        # pytest-django patches the class, to keep tests without a database away from it.
        connection.ensure_connection = lambda: connection.connection or connection.connect()
        with connection.cursor() as cursor:
            assert cursor.execute("SELECT %s", [self.rounds]).fetchone() == (self.rounds,), "a query has another answer"

    def request(self):
        """Send a request to an own server."""
        with requests.Session() as session:
            session.trust_env = False  # no proxy
            answer = session.get(f"http://127.0.0.1:{self.server.server_port}/{self.rounds}", timeout=60)
        assert answer.text == f"/{self.rounds}", "a request has another answer"

    def send(self):
        """Find events as they are, for whoever sends one."""
        mocked = [event for event in OpenEdxPublicSignal.all_events() if isinstance(event.send_event, mock.Mock)]
        assert not mocked, f"not an event any more: {mocked}"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self):
        """Work while tests run."""
        for name in LOGGERS:
            logging.getLogger(name).addHandler(self)
        for thread in self.threads:
            thread.start()
        result = yield
        self.ended.set()
        self.threads[1].join()
        self.server.shutdown()
        self.server.server_close()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        """Note which test runs, and what it leaves behind."""
        self.test, before = item.nodeid, get_process_state()
        result = yield
        if get_process_state() != before:
            self.problems.setdefault("leave", f"{item.nodeid}: a receiver, a disabled event or a signal handler")
        return result

    def pytest_sessionfinish(self, session):
        """Have the run fail if there was a problem."""
        if self.problems or not self.rounds:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        """Report."""
        for work, problem in self.problems.items():
            terminalreporter.write_line(f"HINDERED {work} during {problem}", red=True)
        terminalreporter.write_line(f"The company did {self.rounds} rounds of its work.")


def get_process_state():
    """Return what a test is to leave as it was: receivers, which events are enabled, what SIGTERM does."""
    events = OpenEdxPublicSignal.all_events()
    # has_listeners() forgets receivers that are gone.
    receivers = [(event.has_listeners(), len(event.receivers), event._allow_events) for event in events]
    return receivers, signal.getsignal(signal.SIGTERM)


def pytest_configure(config):
    """Take part."""
    config.pluginmanager.register(Company())


def main():
    """Run the tests of the change, each time with another seed, and exit with 1 at the first run that fails."""
    tests = [path for path in list_files() if "/tests/test_" in path]
    for number in range(1, RUNS + 1):
        seed = random.randrange(2**32)
        print(f"Run {number} of {RUNS}: --randomly-seed={seed}", flush=True)
        options = ["-q", "-p", "no:cacheprovider", "-p", "testbed.checks.company", f"--randomly-seed={seed}"]
        if subprocess.run([sys.executable, "-m", "pytest", *options, *tests], cwd=ROOT).returncode:
            sys.exit(f"Run {number} failed. To repeat it: pytest {' '.join([*options, *tests])}")


if __name__ == "__main__":
    main()
