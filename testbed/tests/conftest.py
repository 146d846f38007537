"""Fixtures of the tests that start real processes, in all rooms."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from testbed import ROOT
from testbed.servers.kafka import KAFKAS, MOCK
from testbed.servers.processes import PATIENCE, Processes, wait_for
from testbed.tests.faults.table import HEADER, KAFKA_HEADER, KAFKA_ROWS, ROWS, render


def pytest_configure() -> None:
    """Have what the tests start be interruptible, also where they are a job in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Start processes that end with the test."""
    with Processes(tmp_path) as running:
        yield running
    assert not leftovers(tmp_path)


def leftovers(directory: Path) -> list[psutil.Process]:
    """List the processes whose command or environment names a directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and str(directory) in f"{process.cmdline()} {process.environ()}":
                found.append(process)
    return found


class Run:
    """A ``python -m testbed.run`` as a person would start it, with its temporary files under ``directory``."""

    def __init__(self, directory: Path, *options: object, **env: str) -> None:
        self.directory, self.output = directory, directory / "output"
        directory.mkdir()
        environment = {**os.environ, "BUS": "", "KAFKA": "", "DJANGO_SETTINGS_MODULE": "", "TMPDIR": str(directory)}
        argv = [sys.executable, "-m", "testbed.run", *map(str, options)]
        with open(self.output, "wb") as output:
            self.popen = subprocess.Popen(
                argv, cwd=ROOT, env=environment | env, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def text(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def wait_for_text(self, text: str) -> None:
        wait_for(lambda: text in self.text or self.popen.poll() is not None, f"{text!r} in {self.output}")
        assert text in self.text, self.text

    def wait(self) -> int:
        return self.popen.wait(3 * PATIENCE)


@pytest.fixture(scope="session")
def kafka() -> str:
    """Which Kafka the tests start: a key of ``KAFKAS``."""
    return os.environ.get("KAFKA") or MOCK


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start runs; each must end without leaving a process."""
    runs: list[Run] = []

    def start(*options: object, **env: str) -> Run:
        runs.append(Run(tmp_path / f"run{len(runs)}", *options, **env))
        return runs[-1]

    yield start
    for started in runs:
        started.popen.terminate()
        started.wait()
    assert not [process for started in runs for process in leftovers(started.directory)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables of the fault suites that ran."""
    kafka = "faults on Kafka: {}; schema registry: {}".format(*KAFKAS[os.environ.get("KAFKA") or MOCK])
    for title, rows, header in (("faults", ROWS, HEADER), (kafka, KAFKA_ROWS, KAFKA_HEADER)):
        if rows:
            terminalreporter.section(title)
            for line in render(sorted(rows.values(), key=lambda row: (row.fault.lower(), row.injected)), header):
                terminalreporter.write_line(line)
