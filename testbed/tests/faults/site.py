"""
The site and the scenes of the fault suite: of ``test_faults.py`` and ``test_repair_faults.py``.

Each test makes one row of the table that is printed at the end. It shows that the certificates in Credentials are what
learners are owed, and that a consumer knows all of them after one run of ``republish_program_certificate_events``. The
consumer keeps, for each learner and program, the event with the latest time.
"""

import itertools
import shlex
import signal
import subprocess
from collections import Counter
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from testbed.pages.blocks import named_block
from testbed.run.inputs import AWARDED, REVOKED
from testbed.servers.processes import PATIENCE, Processes, wait_for
from testbed.servers.valkey import Valkey, connect
from testbed.site.site import FINAL_STATES, GROUP, Site
from testbed.tests.conftest import leftovers
from testbed.tests.faults.table import ROWS, Row

# One for each test: the run after the fault republishes the test's program. The second course completes the program.
PROGRAMS = [
    {
        "uuid": f"7a1e4b7c-0f0d-4f57-9b8e-2f6f3f0d{number:04}",
        "title": f"Faults {number}",
        "type": "MicroMasters",
        "status": "active",
        "courses": [
            {"course_runs": [{"key": f"course-v1:OpenX+F{number}.{part}+2026", "type": "verified"}]} for part in (1, 2)
        ],
    }
    for number in range(1, 41)
]
STATUS = {AWARDED: "awarded", REVOKED: "revoked"}
TASKS = {"awarded": "award_program_certificates", "revoked": "revoke_program_certificates"}

# Celery waits up to 30 s before the first retry, 60 s before the second, and so on.
RETRY_DIVISOR = "100"

# Milliseconds after which an event counts as stuck that was delivered and not acknowledged.
STUCK = 5000

NOTIFY = ("notify_credentials", "--notify_programs", "--revoke_program_certs", "--start-date")
REPUBLISH = "republish_program_certificate_events"
# The command of the page's hourly run.
SCHEDULED = shlex.split(named_block("crontab").partition("./manage.py lms ")[2])


class FaultSite(Site):
    """A site whose broker and bus are two servers that keep their data over a restart."""

    def __init__(self, processes, directory):
        super().__init__(processes, directory)
        self.broker = Valkey(processes, "broker", directory / "broker", durable=True)
        self.bus = Valkey(processes, "bus", directory / "bus", durable=True)
        self.redis_url, self.bus_url = self.broker.url, self.bus.url
        self.credentials_process = self.start_credentials(PROGRAMS)
        self.start_discovery(PROGRAMS)
        self.configure()
        self.start_lms()
        self.do("create_courses", keys=[run for program in PROGRAMS for run in _runs(program)])
        self.unused_programs = iter(PROGRAMS)
        self.lost_tasks = set()
        self.start_worker()
        self.start_consumer()

    def cache_programs(self):
        """Fill the catalog cache, which is in the broker's server."""
        self.do("command", name="cache_programs")

    def stop_credentials(self):
        """Stop Credentials: its port refuses connections."""
        self.credentials_process.stop()
        self.processes.forget(self.credentials_process)

    def restart_credentials(self):
        """Start Credentials on the same port, with its data."""
        command = [*self.credentials_process.popen.args[1:], "--port", urlsplit(self.credentials_url).port]
        self.credentials_process, _ = self.processes.server("credentials", *command, env=self._jwt_env("CREDENTIALS"))

    def start_worker(self, name="worker", concurrency=2, **env):
        """Start a worker that does not wait long before a retry."""
        return super().start_worker(name, concurrency, TESTBED_RETRY_DIVISOR=RETRY_DIVISOR, **env)

    def end_worker(self, number=signal.SIGKILL):
        """Send the worker a signal, a SIGKILL to its children too, and wait for its end."""
        if number == signal.SIGKILL:
            self.worker.kill()
            self.lost_tasks |= super().unfinished_tasks()
        else:
            self.worker.popen.send_signal(number)
            self.worker.popen.wait()
        self.processes.forget(self.worker)

    def end_consumer(self):
        """Kill the consumer."""
        self.consumer.kill()
        self.processes.forget(self.consumer)

    def start_consumer(self, name="consumer", **extra):
        """Start a consumer that continues where the last one stopped."""
        return super().start_consumer(name, check_backlog=True, **extra)

    def unfinished_tasks(self):
        """Leave out the tasks that were lost with a worker or with the broker."""
        return super().unfinished_tasks() - self.lost_tasks

    def wait_for_consumer(self):
        """Wait until the consumer has read and acknowledged all that is in the stream."""

        def has_read_all():
            if self.consumer.popen.poll() is not None:  # It ends when the bus is unreachable. A supervisor restarts it.
                self.end_consumer()
                self.start_consumer()
            with connect(self.bus_url) as client:
                [group] = client.xinfo_groups(self.stream_key)
                unread = client.xrange(self.stream_key, min=b"(" + group["last-delivered-id"], count=1)
                pending = client.xpending_range(self.stream_key, GROUP, "-", "+", 1)
            if pending and pending[0]["time_since_delivered"] > STUCK:
                # It was delivered to a connection that had timed out. Only a consumer that starts reads it again.
                self.end_consumer()
                self.start_consumer()
            return not unread and not pending

        wait_for(has_read_all, "the consumer to read the stream")


class Scene:
    """What one test does to its learners, whose usernames begin with the scene's name."""

    def __init__(self, site, name):
        self.site = site
        self.name = name
        self.began = datetime.now(UTC)
        self.program = next(site.unused_programs)
        self.first_run, self.last_run = _runs(self.program)
        self.numbers = itertools.count(1)
        self.owed = {}  # username -> status
        self.gone = set()  # usernames that have no owner any more: no event about them is owed
        self.notes = []
        self.fault_id = None
        self.begun = {}  # username -> how many task records there were before the fault

    # What the platform's people do

    def learners(self, count, profile=True):
        """Create learners who have earned all but the last certificate."""
        usernames = [f"{self.name}-{next(self.numbers)}" for _ in range(count)]
        for username in usernames:
            name = f"Name of {username}" if profile else None
            self.site.do("create_learner", username=username, email=f"{username}@example.com", name=name)
            self.site.do("open_record", username=username)
            for run in (self.first_run, self.last_run):
                self.site.do("enrol", username=username, course_run=run, mode="verified")
            self.site.do("certify", username=username, course_run=self.first_run, mode="verified")
        self.settle()
        return usernames

    def learner(self, status=None, profile=True):
        """Create one such learner; with a status, a learner who has earned the last certificate too."""
        [username] = self.learners(1, profile)
        if status:
            self.complete(username)
            self.settle()
        return username

    def lose_events(self, count=1):
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

    def complete(self, username):
        """Issue the last certificate, which completes the program."""
        self.begun[username] = len(self.site.tasks())
        self.site.do("certify", username=username, course_run=self.last_run, mode="verified")
        self.owed[username] = "awarded"

    def revoke(self, username):
        """Invalidate the last certificate."""
        self.begun[username] = len(self.site.tasks())
        self.site.do("invalidate", username=username, course_run=self.last_run)
        self.owed[username] = "revoked"

    # Faults of Credentials

    def credentials_fault(self, kind, **options):
        """Have Credentials fail at the next request for a program certificate."""
        self.fault_id = self.site.credentials.fault(
            kind, **{"times": 1, "method": "POST", "path": "credentials/", "type": "program", **options}
        )

    def wait_until_held(self, count=1):
        """Wait until Credentials holds so many requests and all other tasks have ended."""
        wait_for(lambda: self.site.credentials.held() == count, f"{count} held requests")
        wait_for(lambda: len(self.site.unfinished_tasks()) == count, "the other tasks to finish")

    def applied(self):
        """int: how often the fault was applied."""
        return self.site.credentials.applied(self.fault_id)

    # The outcome

    def settle(self):
        """Wait until no task runs and the consumer has read everything."""
        self.site.wait_for_tasks()
        self.site.wait_for_consumer()

    def outcome(self, username):
        """Return the final state of a learner's last task since the fault, and how often it was retried."""
        records = self.site.tasks()[self.begun[username] :]
        task = TASKS[self.owed[username]]
        published = [item for item in records if item["state"] == "published" and item["task"] == task]
        published = [record for record in published if record["args"][0] == username]
        if not published:
            return "never published"
        task_id = published[-1]["id"]
        if task_id in self.site.lost_tasks:
            return "lost"
        states = [record["state"] for record in records if record["id"] == task_id]
        state = next((state for state in states if state in FINAL_STATES), "running")
        retries = sum(record["id"] == task_id and record["retries"] > 0 for record in published)
        return f"{state} after {retries} {'retry' if retries == 1 else 'retries'}" if retries else state

    def outcomes(self):
        """str: what became of the tasks since the fault, for the table."""
        return ", ".join(dict.fromkeys(map(self.outcome, self.begun)))

    def seconds(self, username):
        """Return how many seconds the award task of a learner took since the fault."""
        records = self.site.tasks()[self.begun[username] :]
        [task_id] = {record["id"] for record in records if record["task"] == "award_program_certificates"}
        times = {record["state"]: record["at"] for record in records if record["id"] == task_id}
        return times["succeeded"] - times["started"]

    def events(self):
        """list[dict]: the events about this scene's learners, as consumed."""
        return [event for event in self.site.events() if username_of(event).startswith(f"{self.name}-")]

    def known(self):
        """dict: username -> status, as a consumer knows it that keeps the event with the latest time."""
        return known(self.events())

    def lost(self):
        """int: how many learners' owed state the consumer does not know."""
        known_now = self.known()
        return sum(known_now.get(name) != status for name, status in self.owed.items() if name not in self.gone)

    def wrong(self):
        """int: how many certificates in Credentials are not what is owed, missing and surplus ones included."""
        stored = {
            item["username"]: item["status"]
            for item in self.site.credentials.credentials()
            if item["type"] == "program" and item["username"].startswith(f"{self.name}-")
        }
        return sum(stored.get(name) != self.owed.get(name) for name in stored.keys() | self.owed.keys())

    def duplicates(self):
        """int: how many events repeated another one."""
        times = Counter((username_of(event), event["type"]) for event in self.events())
        return sum(count - 1 for count in times.values())

    # Repair

    def notify_credentials(self):
        """Run the platform's command that repairs lost awards and revocations."""
        lost = "revocation" if "revoked" in self.owed.values() else "award"
        self.notes = [f"the platform lost the {lost}: `notify_credentials` first"]
        done = self.site.do("command", name=NOTIFY[0], arguments=[*NOTIFY[1:], self.began.isoformat()])
        assert (done["error"], done["returncode"]) == (None, 0)
        self.settle()

    def notify_in_vain(self):
        """Run it where Credentials has stored the changes, which an operator cannot know."""
        lost = self.lost()
        self.notify_credentials()
        assert self.lost() == lost
        self.notes = ["`notify_credentials` finds them stored, and brings no event"]

    def revoke_in_credentials(self):
        """Revoke in Credentials what the LMS cannot see there, after the platform's command did not help."""
        self.notify_credentials()
        assert self.wrong() == len(self.owed)
        self.notes = ["`notify_credentials` does not help: revoked in Credentials first"]
        self.site.credentials.change_status(list(self.owed), "revoked")

    def republish(self):
        """Republish this scene's program, as an operator does; return the command's summary."""
        arguments = ["--program-uuids", self.program["uuid"]]
        done = self.site.do("command", name=REPUBLISH, arguments=arguments)
        assert (done["error"], done["returncode"]) == (None, 0)
        return done["output"]

    def scheduled_run(self, code=0):
        """Run what the schedule runs, about everyone on the site; return the summary."""
        run = self.start(*SCHEDULED)
        ended, output = self.end(run)
        assert ended == code
        return output.splitlines()[-1]

    def start(self, *argv, **env):
        """Start a management command as a process. By default it republishes this scene's program."""
        return self.site.processes.python(
            "republish",
            *("manage.py", "lms", *(argv or (REPUBLISH, "--program-uuids", self.program["uuid"]))),
            env=self.site.env(**env),
            stdout=subprocess.PIPE,
            text=True,
        )

    def end(self, run):
        """Wait for the end of such a process; return its exit code and what it printed."""
        output, _ = run.popen.communicate(timeout=PATIENCE)
        self.site.processes.forget(run)
        return run.popen.returncode, output

    def start_and_hold(self, kind="hold_before"):
        """Start a run, and wait until Credentials holds its request."""
        self.credentials_fault(kind, method="GET")
        run = self.start()
        wait_for(lambda: self.site.credentials.held() == 1, "the run to ask Credentials", alive=[run])
        return run

    def finish(
        self, fault, injected, lost, task="succeeded", wrong=0, repair=None, republish=None, duplicates=0, note=""
    ):
        """
        Check what must be lost, wrong and duplicate, and what must have become of the tasks. Repair, republish, check
        that nothing is lost or wrong any more, and add the row.

        ``lost=None`` accepts any number. ``repair`` is ``notify_credentials`` by default, where certificates are wrong.
        ``republish`` returns a summary, and so does this function.
        """
        self.settle()
        lost = self.lost() if lost is None else lost
        assert (self.lost(), self.wrong(), self.duplicates(), self.outcomes()) == (lost, wrong, duplicates, task)
        if wrong or repair:
            (repair or self.notify_credentials)()
        summary = (republish or self.republish)()
        self.settle()
        notes = "; ".join([*self.notes, *filter(None, [note])])
        row = Row(fault, injected, task, wrong, self.wrong(), lost, self.lost(), duplicates, notes)
        ROWS[self.name] = row
        assert (row.wrong, row.lost_after) == (0, 0)
        return summary


def _runs(program):
    return [run["key"] for course in program["courses"] for run in course["course_runs"]]


def username_of(event):
    """Return whom an event is about."""
    return event["data"]["program_certificate"]["user"]["pii"]["username"]


def known(events):
    """Return what a consumer knows that keeps the event with the latest time: username -> status."""
    latest = {}
    for event in events:
        username, time = username_of(event), datetime.fromisoformat(event["time"])
        if username not in latest or time >= latest[username][0]:
            latest[username] = (time, STATUS[event["type"]])
    return {username: status for username, (_time, status) in latest.items()}


@pytest.fixture(name="site", scope="module")
def fault_site(tmp_path_factory):
    """Start the site of all faults of a file, one after the other."""
    directory = tmp_path_factory.mktemp("faults")
    with Processes(directory) as processes:
        yield FaultSite(processes, directory)
    assert not leftovers(directory)


@pytest.fixture(name="scene")
def fault_scene(site, request):
    """Set the scene. When the test is over, everything runs again."""
    scene = Scene(site, request.node.name.removeprefix("test_").replace("[", "-").replace("]", ""))
    yield scene
    if site.credentials_process not in site.processes.running:
        site.restart_credentials()
    site.credentials.clear()
    site.credentials.set_clock(0)
    for valkey in (site.bus, site.broker):
        if valkey.process in site.processes.running:
            valkey.process.popen.send_signal(signal.SIGCONT)
        else:
            valkey.start()
    for process in [process for process in site.processes.running if process.name.startswith("republish")]:
        process.kill()  # the test failed
        site.processes.forget(process)
    if site.worker not in site.processes.running or site.worker.popen.poll() is not None:
        site.start_worker()
    if site.consumer not in site.processes.running or site.consumer.popen.poll() is not None:
        site.start_consumer()
    site.lost_tasks |= site.unfinished_tasks()
