"""
A row of the fault table and the scene in which it is played, for ``test_faults.py`` and ``test_repair_faults.py``.

Each scene shows that the certificates in Credentials are what learners are owed, and that a consumer knows all of them
after one run of ``republish_program_certificate_events``. The consumer keeps, for each learner and program, the event
with the latest time.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import pytest

from testbed.servers.processes import Process, wait_for
from testbed.site.events import known, username_of
from testbed.site.programs import runs_of
from testbed.site.site import FINAL_STATES, REPUBLISH
from testbed.tests.faults.site import SCHEDULED, FaultSite
from testbed.tests.faults.table import ROWS, compare, documented, slug

TASKS = {"awarded": "award_program_certificates", "revoked": "revoke_program_certificates"}
NOTIFY = ("--notify_programs", "--revoke_program_certs", "--start-date")


@dataclass(frozen=True)
class Fault:
    """A row of the table, and its test. What is expected are the other cells of the row in ``docs/faults.md``."""

    fault: str  # what breaks
    play: "Callable[[Scene], Iterator[None] | None]"  # breaks it; see test_faults.py
    changes: Sequence[str] = ("award",)  # for each learner, "award" or "revoke"
    repair: "Callable[[Scene], None] | None" = None  # of wrong certificates. Defaults to the platform's command
    republish: "Callable[[Scene], str] | None" = None  # in place of one run of the command; returns its last line
    summary: str = ""  # what that line has to be, unless it may differ
    representative: bool = False  # `make test` runs it. Few are, and cheap ones


def parametrize(faults: Iterable[Fault]) -> pytest.MarkDecorator:
    """Make a test of each fault."""
    marks = {True: [pytest.mark.representative], False: []}
    rows = [pytest.param(row, id=slug(row.fault), marks=marks[row.representative]) for row in faults]
    return pytest.mark.parametrize("fault", rows)


class Scene:
    """What one test does to its learners, whose usernames begin with the scene's name."""

    def __init__(self, site: FaultSite, name: str) -> None:
        self.site = site
        self.name = name
        self.began = datetime.now(UTC)
        self.program = next(site.unused_programs)
        self.first_run, self.last_run = runs_of(self.program)
        self.numbers = itertools.count(1)
        self.names: list[str] = []  # of the learners of the row's changes
        self.changes: list[partial[None]] = []
        self.owed: dict[str, str] = {}  # username -> status
        self.gone: set[str] = set()  # usernames that have no owner any more: no event about them is owed
        self.note = ""
        self.fault_id = 0
        self.begun: dict[str, int] = {}  # username -> how many task records there were before the fault

    # What the platform's people do

    def learners(self, count: int, profile: bool = True) -> list[str]:
        """Create learners who have earned all but the last certificate."""
        usernames = [f"{self.name}-{next(self.numbers)}" for _ in range(count)]
        for username in usernames:
            enrolled = dict.fromkeys((self.first_run, self.last_run), "verified")
            self.site.do("create_learner", username=username, name="Name" if profile else None, enrolled=enrolled)
            self.site.do("certify", username=username, course_run=self.first_run)
        self.settle()
        return usernames

    def learner(self, change: str = "award") -> str:
        """Create one such learner; one whose certificate can be revoked has earned the last certificate too."""
        [username] = self.learners(1)
        if change == "revoke":
            self.complete(username)
            self.settle()
        return username

    def lose_events(self, count: int = 1) -> list[str]:
        """Create learners who complete the program while the bus is down."""
        usernames = self.learners(count)
        self.site.bus.stop()
        for username in usernames:
            self.complete(username)
        self.site.wait_for_tasks()
        self.site.bus.start()
        self.settle()
        assert self.lost() == count
        return usernames

    def complete(self, username: str) -> None:
        """Issue the last certificate, which completes the program."""
        self.begun[username] = len(self.site.tasks())
        self.site.do("certify", username=username, course_run=self.last_run)
        self.owed[username] = "awarded"

    def revoke(self, username: str) -> None:
        """Invalidate the last certificate."""
        self.begun[username] = len(self.site.tasks())
        self.site.do("invalidate", username=username, course_run=self.last_run)
        self.owed[username] = "revoked"

    # Faults of Credentials

    def credentials_fault(self, kind: str, **options: object) -> None:
        """
        Have Credentials fail at the next request for a program certificate.

        Args:
            kind: of ``KINDS`` in testbed/standins/credentials/control/faults.py; ``hold`` stores, then waits.
            **options: of the fault, where they are not those below.
        """
        defaults = {"times": 1, "method": "POST", "path": "credentials/", "type": "program"}
        self.fault_id = self.site.credentials.fault(kind, **defaults | options)

    def wait_until_held(self, count: int = 1) -> None:
        """Wait until Credentials holds so many requests and all other tasks have ended."""
        wait_for(lambda: self.site.credentials.held() == count, f"{count} held requests")
        wait_for(lambda: len(self.site.unfinished_tasks()) == count, "the other tasks to finish")

    # The outcome

    def settle(self) -> None:
        """Wait until no task runs and the consumer has read everything."""
        self.site.wait_for_tasks()
        self.site.wait_for_consumer()

    def outcome(self, username: str) -> str:
        """Return the final state of a learner's last task since the fault, and how often it was retried."""
        records = self.site.tasks()[self.begun[username] :]
        task = TASKS[self.owed[username]]
        # Of a task's records, those of its publication have the arguments.
        published = [record for record in records if record["task"] == task and record.get("args", [""])[0] == username]
        if not published:
            return "never published"
        task_id = published[-1]["id"]
        if task_id in self.site.lost_tasks:
            return "lost"
        states = [record["state"] for record in records if record["id"] == task_id]
        state = next((state for state in states if state in FINAL_STATES), "running")
        retries = sum(record["id"] == task_id and record["retries"] > 0 for record in published)
        return f"{state} after {retries} {'retry' if retries == 1 else 'retries'}" if retries else state

    def events(self) -> list[dict]:
        """Return the events about this scene's learners, as consumed."""
        return [event for event in self.site.events() if username_of(event).startswith(f"{self.name}-")]

    def known(self) -> dict[str, str]:
        return known(self.events())

    def lost(self) -> int:
        """Count the learners whose owed state the consumer does not know."""
        known_now = self.known()
        return sum(known_now.get(name) != status for name, status in self.owed.items() if name not in self.gone)

    def wrong(self) -> int:
        """Count the certificates in Credentials that are not what is owed, missing and surplus ones included."""
        stored = {
            item["username"]: item["status"]
            for item in self.site.credentials.credentials()
            if item["type"] == "program" and item["username"].startswith(f"{self.name}-")
        }
        return sum(stored.get(name) != self.owed.get(name) for name in stored.keys() | self.owed.keys())

    def duplicates(self) -> int:
        events = [(username_of(event), event["type"]) for event in self.events()]
        return len(events) - len(set(events))

    # Repair

    def notify_credentials(self) -> None:
        """Run the platform's command that repairs lost awards and revocations."""
        lost = "revocation" if "revoked" in self.owed.values() else "award"
        self.note = f"the platform lost the {lost}: `notify_credentials` first"
        self.site.command("notify_credentials", *NOTIFY, self.began.isoformat())
        self.settle()

    def notify_in_vain(self) -> None:
        """Run it where Credentials has stored the changes, which an operator cannot know."""
        lost = self.lost()
        self.notify_credentials()
        assert self.lost() == lost
        self.note = "`notify_credentials` finds them stored, and brings no event"

    def revoke_in_credentials(self) -> None:
        """Revoke in Credentials what the LMS cannot see there, after the platform's command did not help."""
        self.notify_credentials()
        assert self.wrong() == len(self.owed)
        self.note = "`notify_credentials` does not help: revoked in Credentials first"
        self.site.credentials.change_status(list(self.owed), "revoked")

    def republish(self) -> str:
        """Republish this scene's program, as an operator does; return the command's summary."""
        return self.site.command(REPUBLISH, "--program-uuids", self.program["uuid"])

    def scheduled_run(self, code: int = 0) -> str:
        """Run what the schedule runs, about everyone on the site; return the summary."""
        ended, output = self.start(*SCHEDULED).finish()
        assert ended == code
        return output.splitlines()[-1]

    def start(self, *argv: str, **env: str) -> Process:
        """Start a management command as a process. By default it republishes this scene's program."""
        return self.site.start_command(*(argv or (REPUBLISH, "--program-uuids", self.program["uuid"])), **env)

    def start_and_hold(self, kind: str = "hold_before") -> Process:
        """Start a run, and wait until Credentials holds its request."""
        self.credentials_fault(kind, method="GET")
        run = self.start()
        wait_for(lambda: self.site.credentials.held() == 1, "the run to ask Credentials", alive=[run])
        return run

    # The test

    def run(self, row: Fault) -> None:
        """Play a row, heal what it broke, repair, fill the table, and compare it with what is documented."""
        self.names = [self.learner(change) for change in row.changes]
        act = {"award": self.complete, "revoke": self.revoke}
        self.changes = [partial(act[change], name) for change, name in zip(row.changes, self.names, strict=True)]
        for _ in row.play(self) or ():
            for make in self.changes:
                make()
        self.site.heal_credentials()
        self.site.wait_for_tasks()
        self.site.heal()
        self.settle()
        task = ", ".join(dict.fromkeys(map(self.outcome, self.begun)))
        wrong, lost, duplicates = self.wrong(), self.lost(), self.duplicates()
        if repair := row.repair or (Scene.notify_credentials if wrong else None):
            repair(self)
        summary = (row.republish or Scene.republish)(self)
        self.settle()
        expected = documented(row.fault)
        cells = (task, wrong, self.wrong(), lost, self.lost(), duplicates, expected.cells[-1] or self.note)
        compare(expected._replace(cells=cells), expected, ROWS)
        assert (self.wrong(), self.lost(), summary) == (0, 0, row.summary or summary)
        assert self.note in expected.cells[-1]


def worker_killed(scene: Scene, **hold: str) -> Iterator[None]:
    """Kill the worker while Credentials holds the request of its task: a play of both suites."""
    scene.credentials_fault(**{"kind": "hold", **hold})
    yield
    scene.wait_until_held()
    scene.site.worker.kill()
    scene.site.lost_tasks |= scene.site.unfinished_tasks()
