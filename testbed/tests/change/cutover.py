"""
The site of ``test_cutover.py``: Credentials and the LMS can both publish the two events on one bus.

The clock of Credentials is an hour ahead or behind in its time stamps and events only. With a wrong clock for tokens,
nothing would be awarded at all.
"""

import contextlib
import shlex
import sqlite3
from collections.abc import Iterator
from urllib.parse import urlsplit

import yaml

from testbed.pages.blocks import named_block
from testbed.servers.processes import Process, Processes, wait_for
from testbed.servers.valkey import Valkey
from testbed.site.events import known
from testbed.site.programs import Program, make_program, runs_of
from testbed.site.site import GROUP, REPUBLISH, Site

# One for each test, and one more. Each is of one course, of which either run will do.
PROGRAMS = [
    make_program(number, [f"course-v1:OpenX+C{number}+{year}" for year in (2025, 2026)]) for number in range(1, 7)
]
HOUR = 3600
# Of each learner with a clock, the letter of the phase in which they are awarded the certificate, and, if there is one,
# that of the phase in which they lose it.
HISTORIES = ["A", "AA", "AB", "AC", "B", "BB", "BC", "C", "CC"]
REPUBLISH_OPTIONS = shlex.split(named_block("cut-over-all"))[3:]


class CutoverSite(Site):
    """A site whose LMS and whose Credentials can both publish the two events. The bus keeps them over a restart."""

    def __init__(self, processes: Processes) -> None:
        super().__init__(processes, processes.directory, enabled=False)
        self.bus = Valkey(processes, "bus", self.directory / "bus", durable=True)
        self.redis_url, self.bus_url = Valkey(processes, "broker", self.directory / "broker").url, self.bus.url
        self.credentials_process = self.start_credentials(PROGRAMS)
        self.start_discovery(PROGRAMS)
        # Tasks and the command alone send these events, so this process is the LMS of those who run the command.
        self.configure_lms(True)
        self.start_lms()
        self.do("create_courses", keys=runs_of(*PROGRAMS))
        self.unused_programs = enumerate(PROGRAMS[:-1])

    # Switches

    def configure_lms(self, on: bool) -> None:
        """Write the LMS's configuration as the page for operators has it, with its events on or off."""
        self.configure()
        with self.config_file.open("a", encoding="utf-8") as config:
            config.write(named_block("events-yaml") if on else "")

    def switch_lms(self, on: bool) -> None:
        """Start the worker, or restart it, with the LMS's events on or off."""
        self.work()
        self.processes.kill("worker")  # nothing is lost, and to end by itself would take it more than two seconds
        self.configure_lms(on)
        # Celery waits up to 30 s before it sends a course certificate again whose learner Credentials does not know.
        self.start_worker(TESTBED_RETRY_DIVISOR="100")

    def switch_credentials(self, on: bool, prefix: str = "") -> None:
        """Restart Credentials with its events on or off. It keeps port and data, and its clock is right again."""
        self.credentials_process.stop()
        command = self.credentials_command("credentials", "--port", urlsplit(self.credentials_url).port)
        env = self.credentials_env(on, prefix or self.run_id)
        self.credentials_process, _url = self.processes.server("credentials", *command, env=env)

    def credentials_command(self, database: str, *options: object) -> list:
        path, programs = self.directory / f"{database}.sqlite3", self._programs_file(PROGRAMS)
        return ["-m", "testbed.standins.credentials", "--database", path, "--programs", programs, *options]

    def credentials_env(self, on: bool, prefix: str) -> dict[str, str]:
        """Write Credentials' configuration as the page for operators has it, and return the environment."""
        block = named_block("credentials-off")
        events = yaml.safe_load(block.replace("enabled: false", "enabled: true") if on else block)
        path = self.directory / f"credentials-{on}.yml"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(self.bus_settings() | events | {"EVENT_BUS_TOPIC_PREFIX": prefix}))
        return self._jwt_env("CREDENTIALS") | {"CREDENTIALS_CFG": str(path)}

    def set_up(self, *, credentials: bool, lms: bool, prefix: str = "", consumer: bool = True) -> None:
        """Go to where a test begins, whatever another one has left. Without a consumer, the bus may stop."""
        if self.bus.process not in self.processes.running:
            self.bus.start()
        self.switch_lms(lms)
        self.switch_credentials(credentials, prefix)
        self.processes.kill("consumer")
        if consumer:
            self.start_consumer(check_backlog=True)

    # What happens

    def work(self) -> None:
        """Wait for the tasks, unless they wait for a worker."""
        if self.worker in self.processes.running:
            self.wait_for_tasks()

    def republish(self, ahead: int = 0) -> None:
        """Publish everything as the page for operators says, by an LMS's clock that is so many seconds ahead."""
        if ahead:
            run = self.start_command(REPUBLISH, *REPUBLISH_OPTIONS, TESTBED_CLOCK_AHEAD=str(ahead))
            assert run.finish()[0] == 0
        else:
            done = self.do("command", name=REPUBLISH, arguments=REPUBLISH_OPTIONS)
            assert (done["error"], done["returncode"]) == (None, 0)

    def wait_for_group(self, group: str, consumer: Process) -> None:
        """Wait until a consumer, the only one of its group, has read and acknowledged all that is in the stream."""
        wait_for(lambda: self.has_read_all(group), f"{consumer.name} to read the stream", alive=[consumer])

    @contextlib.contextmanager
    def second_credentials(self, name: str, publishing: bool = False) -> Iterator[Process]:
        """Have another Credentials, with an empty database, that takes certificates from events, and is not asked."""
        command, env = self.credentials_command(name, "--consume", name), self.credentials_env(publishing, self.run_id)
        process = self.processes.python(name, *command, env=env)
        try:
            yield process
        finally:
            process.stop()

    def certificates(self, database: str) -> dict[tuple[str, str], str]:
        """Return a Credentials' program certificates: (username, program uuid) -> status."""
        with contextlib.closing(sqlite3.connect(self.directory / f"{database}.sqlite3")) as connection:
            query = "SELECT username, key, status FROM credentials_credential WHERE type = 'program'"
            return {(username, program): status for username, program, status in connection.execute(query)}


class Story:
    """What one test does to its learners, in a program of its own."""

    def __init__(self, site: CutoverSite) -> None:
        self.site = site
        self.number, self.program = next(site.unused_programs)
        self.owed: dict[str, str] = {}  # learner -> status
        self.usernames: dict[str, str] = {}  # learner -> the present one

    def award(self, *learners: str, program: Program | None = None, known: bool = True) -> None:
        """
        Let learners complete the program, a second time by the course's other run. New learners are enrolled first.

        Args:
            program: another one than the story's.
            known: new learners have looked at their record, so that Credentials knows them.
        """
        runs = runs_of(program or self.program)
        for learner in learners:
            if learner not in self.usernames:
                username = self.usernames[learner] = f"{learner}-{self.number}"
                enrolled = dict.fromkeys(runs, "verified")
                self.site.do("create_learner", username=username, enrolled=enrolled, known=known)
            self.site.do("certify", username=self.usernames[learner], course_run=runs[learner in self.owed])
            self.owed[learner] = "awarded"
        self.site.work()

    def revoke(self, *learners: str) -> None:
        """Take the certificate of the program's first run away."""
        for learner in learners:
            self.site.do("invalidate", username=self.usernames[learner], course_run=runs_of(self.program)[0])
            self.owed[learner] = "revoked"
        self.site.work()

    def rename(self, learner: str) -> str:
        """Give a learner another username in the LMS, and return the old one."""
        old = self.usernames[learner]
        self.usernames[learner] = f"{old}-renamed"
        self.site.do("rename", username=old, new_username=self.usernames[learner])
        return old

    def change(self, phase: str, behind: int = -HOUR) -> None:
        """
        Award, then revoke, what the histories have for a phase, by each of the clocks to learners of its own.

        Args:
            behind: seconds to which the slow clock is set. Later in a test, an hour may have passed on it.
        """
        for clock, seconds in (("behind", behind), ("ahead", HOUR)):
            self.site.credentials.set_clock(seconds)
            for act, place in ((self.award, 0), (self.revoke, 1)):
                act(*(f"{history}-{clock}" for history in HISTORIES if history[place : place + 1] == phase))

    def events(self) -> list[dict]:
        """Return the events about these learners, once all are consumed."""
        self.site.work()
        self.site.wait_for_group(GROUP, self.site.consumer)
        usernames = set(self.usernames.values())
        return [event for event in self.site.events() if set(known([event])) <= usernames]

    def sources(self, begin: int = 0) -> set[str]:
        """Return who sent the events, from one on."""
        return {event["source"] for event in self.events()[begin:]}

    def missing(self) -> set[str]:
        """Return the learners whose last state the consumer does not have."""
        states = known(self.events())
        return {learner for learner, status in self.owed.items() if states.get(self.usernames[learner]) != status}

    def wrong(self) -> set[str]:
        """Return the learners whose last state Credentials itself does not have."""
        stored = self.site.certificates("credentials")
        keys = {learner: (username, self.program["uuid"]) for learner, username in self.usernames.items()}
        return {learner for learner, status in self.owed.items() if stored.get(keys[learner]) != status}

    def duplicates(self) -> int:
        """Count the events that say again what another one says."""
        said = [str(known([event])) for event in self.events()]
        return len(said) - len(set(said))
