"""
Starts the processes of a local run and of the tests, and ends them whatever happens.

Each process leads a session of its own. Ctrl-C reaches only the run, which then ends its processes in order. A process
ends with its whole group, so a worker's children do not outlive it.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self, TypeVar

from testbed import ROOT

T = TypeVar("T")

# Seconds within which something that was asked for has to happen, also on a busy machine.
PATIENCE = 90.0
POLL = 0.04


class ProcessError(Exception):
    """A process failed, or something did not happen in time. The message names the log."""


def free_port() -> int:
    """Find a free port on loopback. Another process may take it before the caller does."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Process:
    """A process with a log, ``<name>.log``. ``env`` is added to the environment, ``popen`` is for ``Popen``."""

    def __init__(
        self, name: str, argv: list[str], directory: Path, env: dict[str, str] | None = None, **popen: Any
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        scratch = directory / "tmp"
        scratch.mkdir(exist_ok=True)
        with open(self.log, "ab") as log:
            popen = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **popen}
            environment = {**os.environ, "TMPDIR": str(scratch), **(env or {})}
            self.popen = subprocess.Popen(argv, cwd=ROOT, env=environment, start_new_session=True, **popen)
        self.pid = self.popen.pid  # its group's, too
        self.ended = False  # by us, or waited for

    def check(self) -> None:
        """Raise a ``ProcessError`` if the process has ended."""
        if (code := self.popen.poll()) is not None:
            raise ProcessError(f"{self.name} has ended with exit code {code}, see {self.log}")

    def read_line(self, patience: float = PATIENCE) -> str:
        """Read the one line that the process was made to print; raise a ``ProcessError`` if it does not come."""
        assert self.popen.stdout
        readable, _, _ = select.select([self.popen.stdout], [], [], patience)
        if not readable:
            raise ProcessError(f"waited {patience:.0f} s in vain for an answer of {self.name}, see {self.log}")
        line = self.popen.stdout.readline()
        if not line:
            raise ProcessError(f"{self.name} has ended with exit code {self.popen.wait()}, see {self.log}")
        return line

    def ask(self, request: dict[str, Any], patience: float = PATIENCE) -> str:
        """Write a line of JSON to the process, and read the line that it answers."""
        self.check()
        assert self.popen.stdin
        self.popen.stdin.write(json.dumps(request) + "\n")
        self.popen.stdin.flush()
        return self.read_line(patience)

    def finish(self, patience: float = PATIENCE) -> tuple[int, str]:
        """Wait until the process has ended by itself; return its exit code, and what it printed if that is a pipe."""
        try:
            output, _ = self.popen.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{self.name} did not end within {patience:.0f} s, see {self.log}") from None
        self.kill()
        return self.popen.returncode, output or ""

    def stop(self) -> None:
        """End the process: ask it to end, and after 15 seconds kill it."""
        if self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(15)
        self.kill()

    def kill(self) -> None:
        """End the process and its group at once, unless that is done."""
        if self.ended:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe:
                pipe.close()
        self.ended = True


def wait_for(
    condition: Callable[[], T],
    what: str,
    patience: float = PATIENCE,
    alive: Iterable[Process] = (),
    despite: Iterable[type[Exception]] = (),
) -> T:
    """
    Wait until a condition returns something true, and return that; ``despite`` are errors that it may raise until then.

    Raises:
        ProcessError: ``patience`` seconds are over, or one of the ``alive`` processes has ended.
    """
    deadline = time.monotonic() + patience
    while True:
        with contextlib.suppress(*despite):
            if result := condition():
                return result
        for process in alive:
            process.check()
        if time.monotonic() > deadline:
            raise ProcessError(f"waited {patience:.0f} s in vain for {what}")
        time.sleep(POLL)


class Processes:
    """All processes of a run, as a context that ends them. Their logs are in one directory."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self._started: list[Process] = []
        self._busy = False  # starting or ending a process: an interruption has to wait
        self._interrupted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._busy = True
        self.stop()

    @property
    def running(self) -> list[Process]:
        """List the processes that were started and have not been ended; one that crashed is still among them."""
        return [process for process in self._started if not process.ended]

    def stop(self) -> None:
        """End all processes, the newest first."""
        for process in reversed(self.running):
            process.stop()

    def kill(self, *names: str) -> None:
        """End the processes whose names begin so at once."""
        for process in self.running:
            if process.name.startswith(names):
                process.kill()

    def interrupt(self, *_: object) -> None:
        """
        End the run: a handler for signals.

        Raises:
            KeyboardInterrupt: at once or, between a process's start and its entry in the list, right after that.
        """
        self._interrupted = True
        if not self._busy:
            raise KeyboardInterrupt

    def start(self, name: str, argv: list[str], **kwargs: Any) -> Process:
        """Start a process; the arguments are those of ``Process``."""
        self._busy = True
        try:
            process = Process(name, argv, self.directory, **kwargs)
            self._started.append(process)
        finally:
            self._busy = False
        if self._interrupted:
            raise KeyboardInterrupt
        return process

    def python(self, name: str, *argv: object, **kwargs: Any) -> Process:
        """Start a Python process; the arguments are those of the interpreter."""
        return self.start(name, [sys.executable, *map(str, argv)], **kwargs)

    def server(self, name: str, *argv: object, **kwargs: Any) -> tuple[Process, str]:
        """Start a Python process that prints ``{"url": ...}`` once it accepts requests; return it and the URL."""
        process = self.python(name, *argv, stdout=subprocess.PIPE, **kwargs)
        return process, json.loads(process.read_line())["url"]


class Server:
    """A server that has to be told its port. It starts at once, and keeps the port over a restart."""

    port = 0
    process: Process
    not_yet: type[Exception]  # what ``answers()`` may raise until it answers

    def __init__(self, processes: Processes, name: str) -> None:
        self.processes, self.name = processes, name
        self.start()

    def command(self, port: int) -> list[str]:
        """Return the command that starts it on a port."""
        raise NotImplementedError

    def answers(self) -> object:
        raise NotImplementedError

    def start(self) -> None:
        """Start, and wait until it answers. Another process may take a free port first; then another one is tried."""
        tries = 1 if self.port else 5
        for left in reversed(range(tries)):
            port = self.port if tries == 1 else free_port()
            self.process = self.processes.start(self.name, self.command(port))
            self.port = port
            try:
                wait_for(self.answers, f"{self.name} to answer", alive=[self.process], despite=[self.not_yet])
                return
            except ProcessError:
                self.process.kill()
                if not left:
                    raise

    def stop(self) -> None:
        """Stop; a server that keeps its data on disk finds them again."""
        self.process.stop()
