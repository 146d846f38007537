"""Tells a person what a run does, and how long each step took; used by ``__main__`` and ``playing``."""

import time
from collections.abc import Callable
from typing import TextIO

from testbed.run.comparing import completed, modes_that_count, obstacle
from testbed.run.inputs import Learner, Program


class ReaderGone(Exception):
    """The output was closed by its reader."""


def count(number: int, noun: str) -> str:
    """Return "1 event" or "2 events"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


class Narrator:
    """Writes to a stream. Each method raises ``ReaderGone`` if the stream is closed."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def line(self, text: str, end: str = "\n") -> None:
        """Print, and flush."""
        try:
            print(text, end=end, file=self.stream, flush=True)
        except BrokenPipeError:
            raise ReaderGone from None

    def step(self, text: str, begin: Callable[..., object], *args: object) -> None:
        """Print what is being done, do it by calling a function, and print how long it took."""
        started = time.monotonic()
        self.line(f"  {text} ...", end=" ")
        try:
            begin(*args)
        except BaseException:
            self.line("not done")
            raise
        self.line(f"{time.monotonic() - started:.1f} s")

    def progress(self, done: int, total: int, what: str) -> None:
        """On a terminal, print a line that the next one overwrites."""
        if self.stream.isatty():
            self.line(f"\r  {done} of {total} {what}", end="\n" if done == total else "")

    def announce(self, programs: list[Program], learners: list[Learner], events: int) -> None:
        """Print how many events are expected, and which programs cannot be completed."""
        numbers = [count(len(programs), "program"), count(len(learners), "learner"), count(events, "event")]
        self.line(f"{', '.join(numbers)} to come.")
        hopeless = [program for program in programs if obstacle(program)]
        for program in hopeless:
            self.line(f"Nobody can complete {_title(program)}: {obstacle(program)}.")
        if not events and hopeless != programs:
            self.line("No learner completes a program: do the two files belong together?")
        self.line("Starting:")

    def earned(self, programs: list[Program], learner: Learner, turn: int) -> None:
        """Print which certificate a learner earns in a turn, and what that leads to."""
        certificates = learner["certificates"]
        course_run, mode = certificates[turn]["course_run"], certificates[turn]["mode"]
        text = f"{learner['username']} earns the certificate of {course_run} ({mode})"
        for program in programs:
            if completed(program, certificates[: turn + 1]) and not completed(program, certificates[:turn]):
                text += f", which completes {_title(program)}"
        if mode not in (modes := modes_that_count(programs, course_run)):
            text += ", which counts for no program" + (f": it has to be {' or '.join(modes)}" if modes else "")
        self.line(text)


def _title(program: Program) -> str:
    return f"«{program['title'] or program['uuid']}»"
