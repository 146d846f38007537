"""
Starts the processes of a local run, and ends them again whatever happens.

Each process leads a session of its own, so that Ctrl-C reaches only the run, which then ends them in order; and each
ends with its whole group, so that a worker's children do not outlive it.
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
from pathlib import Path

from testbed import ROOT

# Seconds within which something that was asked for has to happen, also on a busy machine.
PATIENCE = float(os.environ.get("TESTBED_PATIENCE", 90))
POLL = 0.02


class ProcessError(Exception):
    """A process failed, or something did not happen in time; the message names the log."""


def free_port():
    """
    Find a free port on loopback.

    Returns:
        int: the port. Nothing keeps others from taking it before the caller does.
    """
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(condition, what, patience=PATIENCE, alive=()):
    """
    Wait until a condition holds.

    Args:
        condition (callable): returns something true once it does.
        what (str): what is waited for, for the error.
        patience (float): seconds to wait at the most.
        alive (iterable[Process]): processes without which waiting is pointless.

    Returns:
        object: what the condition returned.

    Raises:
        ProcessError: it did not come to hold.
    """
    deadline = time.monotonic() + patience
    while not (result := condition()):
        for process in alive:
            process.check()
        if time.monotonic() > deadline:
            raise ProcessError(f"waited {patience:.0f} s in vain for {what}")
        time.sleep(POLL)
    return result


class Process:
    """
    A process with a log.

    Args:
        name (str): what to call it; its log is ``<name>.log``.
        argv (list[str]): the command.
        directory (Path): where the logs are.
        env (dict): environment variables to add.
        **popen: further arguments of ``subprocess.Popen``.
    """

    def __init__(self, name, argv, directory, env=None, **popen):
        self.name = name
        self.log = Path(directory) / f"{name}.log"
        scratch = Path(directory) / "tmp"
        scratch.mkdir(exist_ok=True)
        with open(self.log, "ab") as log:
            popen = {"stdin": subprocess.DEVNULL, "stdout": log, **popen}
            self.popen = subprocess.Popen(
                argv,
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(scratch), **(env or {})},
                stderr=log,
                start_new_session=True,
                **popen,
            )

    @property
    def pid(self):
        """int: the process's id, and its group's."""
        return self.popen.pid

    def check(self):
        """
        Make sure that the process runs.

        Raises:
            ProcessError: it has ended.
        """
        if (code := self.popen.poll()) is not None:
            raise ProcessError(f"{self.name} has ended with exit code {code}, see {self.log}")

    def read_line(self, patience=PATIENCE):
        """
        Read the one line that the process was made to print.

        Args:
            patience (float): seconds to wait at the most.

        Returns:
            str: the line.

        Raises:
            ProcessError: it does not come.
        """
        readable, _, _ = select.select([self.popen.stdout], [], [], patience)
        if not readable:
            raise ProcessError(f"waited {patience:.0f} s in vain for an answer of {self.name}, see {self.log}")
        line = self.popen.stdout.readline()
        if not line:
            raise ProcessError(f"{self.name} has ended with exit code {self.popen.wait()}, see {self.log}")
        return line

    def stop(self, patience=15):
        """
        End the process: politely, then not.

        Args:
            patience (float): seconds that it gets to end by itself.
        """
        if self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(patience)
        self.kill()

    def kill(self):
        """End the process and its group at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe:
                pipe.close()


class Processes:
    """All processes of a run, as a context: none is left behind."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.running = []
        self._busy = False  # starting or ending a process: an interruption has to wait
        self._interrupted = False

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._busy = True
        for process in reversed(self.running):
            process.stop()

    def interrupt(self, *_):
        """
        End the run: a handler for signals.

        Raises:
            KeyboardInterrupt: at once or, between a process's start and its entry in the list, right after that.
        """
        self._interrupted = True
        if not self._busy:
            raise KeyboardInterrupt

    def start(self, name, argv, **kwargs):
        """
        Start a process.

        Args:
            name (str): what to call it.
            argv (list[str]): the command.
            **kwargs: as of ``Process``.

        Returns:
            Process: the process.
        """
        self._busy = True
        process = Process(name, argv, self.directory, **kwargs)
        self.running.append(process)
        self._busy = False
        if self._interrupted:
            raise KeyboardInterrupt
        return process

    def python(self, name, *argv, **kwargs):
        """Start a Python process; the arguments are those of ``start`` without the interpreter."""
        return self.start(name, [sys.executable, *map(str, argv)], **kwargs)

    def server(self, name, *argv, **kwargs):
        """
        Start a server that prints ``{"url": ...}`` once it accepts requests.

        Returns:
            tuple[Process, str]: the process and the URL.

        Raises:
            ProcessError: it does not come up.
        """
        process = self.python(name, *argv, stdout=subprocess.PIPE, **kwargs)
        return process, json.loads(process.read_line())["url"]

    def listen(self, name, command, answers, port=None):
        """
        Start a server that has to be told its port.

        Args:
            name (str): what to call it.
            command (callable): makes the command, given the port.
            answers (callable): tells, given the port, whether the server answers.
            port (int): the port. Defaults to a free one; others are tried until one is really free.

        Returns:
            tuple[Process, int]: the process and the port.

        Raises:
            ProcessError: it does not come up.
        """
        for attempt in range(5):
            chosen = port or free_port()
            process = self.start(name, command(chosen))
            try:
                wait_for(lambda: answers(chosen), f"{name} to answer", alive=[process])  # noqa: B023 - called at once
                return process, chosen
            except ProcessError:
                self.forget(process)
                process.kill()
                if port or attempt == 4:
                    raise

    def forget(self, process):
        """Stop looking after a process that has been ended."""
        self.running.remove(process)

    def run(self, name, *argv, **kwargs):
        """
        Run a Python process to its end.

        Raises:
            ProcessError: it failed or took too long.
        """
        process = self.python(name, *argv, **kwargs)
        try:
            code = process.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{name} did not end within {PATIENCE:.0f} s, see {process.log}") from None
        self.forget(process)
        if code:
            raise ProcessError(f"{name} failed with exit code {code}, see {process.log}")
