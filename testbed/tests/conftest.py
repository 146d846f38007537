"""Fixtures of the tests that start real processes, in all rooms."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from testbed.servers.kafka import KAFKAS, MOCK
from testbed.servers.processes import Processes
from testbed.tests.faults.table import HEADER, KAFKA_HEADER, KAFKA_ROWS, ROWS, render


def pytest_configure() -> None:
    """Have what the tests start be interruptible, also where they are a job in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Start processes that end with the test."""
    yield from _in(tmp_path)


@pytest.fixture(scope="module")
def shared_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Start processes that end with the tests of a file."""
    yield from _in(tmp_path_factory.mktemp("site"))


def _in(directory: Path) -> Iterator[Processes]:
    with Processes(directory) as running:
        yield running
    assert not leftovers(directory)


def leftovers(directory: Path) -> list[psutil.Process]:
    """List the processes whose command or environment names a directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and str(directory) in f"{process.cmdline()} {process.environ()}":
                found.append(process)
    return found


@pytest.fixture(scope="session")
def kafka() -> str:
    """Which Kafka the tests start: a key of ``KAFKAS``."""
    return os.environ.get("KAFKA") or MOCK


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables of the fault suites that ran."""
    kafka = "faults on Kafka: {}; schema registry: {}".format(*KAFKAS[os.environ.get("KAFKA") or MOCK])
    for title, rows, header in (("faults", ROWS, HEADER), (kafka, KAFKA_ROWS, KAFKA_HEADER)):
        if rows:
            terminalreporter.section(title)
            for line in render(sorted(rows.values(), key=lambda row: (row.fault.lower(), row.injected)), header):
                terminalreporter.write_line(line)
