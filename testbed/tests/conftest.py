"""
Fixtures of the tests that start real processes.
"""

import contextlib
import os
import subprocess
import sys

import psutil
import pytest

from testbed import ROOT
from testbed.servers.kafka import KAFKAS, MOCK
from testbed.servers.processes import PATIENCE, Processes, wait_for
from testbed.tests.faults.table import HEADER, KAFKA_HEADER, KAFKA_ROWS, ROWS, render


@pytest.fixture
def processes(tmp_path):
    """Start processes that end with the test."""
    with Processes(tmp_path) as running:
        yield running
    assert not leftovers(tmp_path)


def leftovers(directory):
    """List the processes whose command or environment names a directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and str(directory) in f"{process.cmdline()} {process.environ()}":
                found.append(process)
    return found


class Run:
    """A ``python -m testbed.run`` as a person would start it, with its temporary files under ``directory``."""

    def __init__(self, directory, *options, **env):
        self.directory = directory
        directory.mkdir()
        self.output = directory / "output"
        environment = {
            name: value for name, value in os.environ.items() if name not in ("BUS", "KAFKA", "DJANGO_SETTINGS_MODULE")
        }
        with open(self.output, "wb") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "testbed.run", *map(str, options)],
                cwd=ROOT,
                env={**environment, "TMPDIR": str(directory), **env},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self):
        """str: what it has printed so far."""
        return self.output.read_text(encoding="utf-8")

    def wait_for_text(self, text):
        """Wait until it has printed a text."""
        wait_for(lambda: text in self.text or self.popen.poll() is not None, f"{text!r} in {self.output}")
        assert text in self.text, self.text

    def wait(self):
        """Wait for its end, and return the exit code."""
        return self.popen.wait(3 * PATIENCE)

    def close(self):
        """End it if it still runs."""
        if self.popen.poll() is None:
            self.popen.terminate()
            self.popen.wait(PATIENCE)


@pytest.fixture(scope="session")
def kafka():
    """Which Kafka the tests start: a key of ``KAFKAS``."""
    return os.environ.get("KAFKA") or MOCK


@pytest.fixture
def run(tmp_path):
    """Start runs; each must end without leaving a process."""
    runs = []

    def start(*options, **env):
        runs.append(Run(tmp_path / f"run{len(runs)}", *options, **env))
        return runs[-1]

    yield start
    for started in runs:
        started.close()
    assert not [process for started in runs for process in leftovers(started.directory)]


def pytest_terminal_summary(terminalreporter):
    """Print the fault suites' tables, as far as they ran."""
    broker, registry = KAFKAS[os.environ.get("KAFKA") or MOCK]
    kafka = f"faults on Kafka: {broker}; schema registry: {registry}"
    for title, rows, header in (("faults", ROWS, HEADER), (kafka, KAFKA_ROWS, KAFKA_HEADER)):
        if rows:
            terminalreporter.section(title)
            for line in render(sorted(rows.values(), key=lambda row: (row.fault.lower(), row.injected)), header):
                terminalreporter.write_line(line)
