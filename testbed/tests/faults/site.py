"""
The site of the fault suites on Redis: ``test_faults.py`` and ``test_repair_faults.py`` break it.
"""

import shlex
import signal
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from testbed.pages.blocks import named_block
from testbed.servers.processes import Process, Processes, wait_for
from testbed.servers.valkey import Valkey, connect
from testbed.site.programs import Program, make_program, runs_of
from testbed.site.site import GROUP, Site

# One for each test: the run after the fault republishes the test's program. The second course completes the program.
PROGRAMS = [
    make_program(number, *([f"course-v1:OpenX+F{number}.{part}+2026"] for part in (1, 2))) for number in range(1, 61)
]
# Celery waits up to 30 s before the first retry, 60 s before the second, and so on.
RETRY_DIVISOR = "100"
# Milliseconds after which an event counts as stuck that was delivered and not acknowledged.
STUCK = 5000
STARTED_BY_PLAYS = ("command", "republish", "second")
# The command of the page's hourly run.
SCHEDULED = shlex.split(named_block("crontab").partition("./manage.py lms ")[2])


class BrokenSite(Site):
    """What the sites of both suites have in common."""

    def begin_site(self, programs: list[Program]) -> None:
        """Start what learners' certificates need; no worker."""
        self.credentials_process = self.start_credentials(programs)
        self.start_discovery(programs)
        self.configure()
        self.start_lms()
        self.do("create_courses", keys=runs_of(*programs))

    def command(self, name: str, *arguments: str) -> str:
        """Run a management command in the LMS that runs; return what it printed."""
        done = self.do("command", name=name, arguments=arguments)
        assert (done["error"], done["returncode"]) == (None, 0)
        return done["output"]

    def count_in_log(self, name: str, text: str) -> int:
        """Count in how many lines of a log a text is."""
        log = self.directory / f"{name}.log"
        return sum(text in line for line in log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0


class FaultSite(BrokenSite):
    """A site whose broker (and cache) and whose bus are two servers that keep their data over a restart."""

    # A consumer continues where the last one stopped.
    consumer_options = {**Site.consumer_options, "check_backlog": True}

    def __init__(self, processes: Processes, directory: Path) -> None:
        super().__init__(processes, directory)
        self.broker = Valkey(processes, "broker", directory / "broker", durable=True)
        self.bus = Valkey(processes, "bus", directory / "bus", durable=True)
        self.redis_url, self.bus_url = self.broker.url, self.bus.url
        self.begin_site(PROGRAMS)
        self.unused_programs = iter(PROGRAMS)
        self.lost_tasks: set[str] = set()
        self.start_worker()
        self.start_consumer()

    def heal(self) -> None:
        """Have everything run again, whatever a play has broken, and nothing else."""
        self.heal_credentials()
        for valkey in (self.bus, self.broker):
            if valkey.process.popen.poll() is None:
                valkey.process.popen.send_signal(signal.SIGCONT)
            else:
                valkey.start()
        self.processes.kill(*STARTED_BY_PLAYS)
        for process, start in ((self.worker, self.start_worker), (self.consumer, self.start_consumer)):
            process.popen.send_signal(signal.SIGCONT)
            if process.popen.poll() is not None:
                start()

    def heal_credentials(self) -> None:
        """Have Credentials run, and answer what it holds."""
        if self.credentials_process.ended:
            port = urlsplit(self.credentials_url).port
            self.credentials_process = self.start_credentials(PROGRAMS, options=["--port", port])
        self.credentials.clear()

    def env(self, **extra: str) -> dict[str, str]:
        """Return the environment of an LMS process, in which Celery does not wait long before a retry."""
        return super().env(TESTBED_RETRY_DIVISOR=RETRY_DIVISOR, **extra)

    def stop_with_tasks(self, worker: Process) -> None:
        """Stop a worker as an operator does; Credentials answers its tasks' requests once it has begun to stop."""
        before = self.count_in_log(worker.name, "Warm shutdown")
        worker.popen.terminate()
        wait_for(lambda: self.count_in_log(worker.name, "Warm shutdown") > before, f"{worker.name} to begin to stop")
        self.credentials.clear()
        worker.popen.wait()

    def unfinished_tasks(self) -> set[str]:
        """Leave out the tasks that were lost with a worker or with the broker."""
        return super().unfinished_tasks() - self.lost_tasks

    def wait_for_consumer(self) -> None:
        """Wait until the consumer has read everything, and do meanwhile what a supervisor or an operator does."""

        def is_done() -> bool:
            with connect(self.bus_url) as client:
                pending = client.xpending_range(self.stream_key, GROUP, "-", "+", 1)
            # It ends when the bus is unreachable. What was delivered to a connection that had timed out is read again
            # by a consumer that starts, and by no other.
            if self.consumer.popen.poll() is not None or (pending and pending[0]["time_since_delivered"] > STUCK):
                self.consumer.kill()
                self.start_consumer()
            return self.has_read_all()

        wait_for(is_done, "the consumer to read the stream")

    def other_settings(self, **changes: object) -> dict[str, str]:
        """Return the environment of a process with other settings; None unsets one."""
        config = yaml.safe_load(self.config_file.read_text(encoding="utf-8")) | changes
        path = self.directory / "other.yml"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump({name: value for name, value in config.items() if value is not None}))
        return {"LMS_CFG": str(path)}
