"""
The fault suite: breaks one thing at a time while program certificates are awarded and revoked by real processes.

Each test makes one row of the table that is printed at the end. It has to show that the certificates in Credentials are
what learners are owed, and that after one run of ``republish_program_certificate_events`` a consumer that keeps, per
learner and program, the event with the latest time knows each of them. An operator starts that run, or the schedule
does, of which nobody has to think.
"""

import itertools
import os
import shlex
import signal
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from testbed.credentials.client import CredentialsControl
from testbed.docs import named_block
from testbed.inputs import AWARDED, REVOKED
from testbed.processes import PATIENCE, Processes, wait_for
from testbed.site import BUS_TIMEOUT, FINAL_STATES, GROUP, Site, Valkey, connect
from testbed.tests.conftest import leftovers
from testbed.tests.fault_table import ROWS, Row

pytestmark = [pytest.mark.e2e, pytest.mark.fault]

# One for each test: to republish a program is to republish what that test did. Each is of two courses: the first is
# earned in peace, the second completes the program.
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
    for number in range(1, 61)
]
STATUS = {AWARDED: "awarded", REVOKED: "revoked"}
TASKS = {"awarded": "award_program_certificates", "revoked": "revoke_program_certificates"}

# Celery waits up to 30 s before the first retry, 60 s before the second, and so on.
RETRY_DIVISOR = "100"

# Milliseconds after which an event that was delivered, but not acknowledged, is taken for stuck.
STUCK = 5000

NOTIFY = ("notify_credentials", "--notify_programs", "--revoke_program_certs", "--start-date")
REPUBLISH = "republish_program_certificate_events"
# All that a crontab or a CronJob says, hour after hour.
SCHEDULED = shlex.split(named_block("crontab").partition("./manage.py lms ")[2])

# Where the POSTs go, for a redirect that leads to where it came from.
CREDENTIALS_PATH = "/api/v2/credentials/"


class FaultSite(Site):
    """A site whose broker and bus are two servers that keep their data over a restart."""

    def __init__(self, processes, directory):
        super().__init__(processes, directory)
        self.broker = Valkey(processes, "broker", directory / "broker", durable=True)
        self.bus = Valkey(processes, "bus", directory / "bus", durable=True)
        self.redis_url, self.bus_url = self.broker.url, self.bus.url
        self.start_credentials(PROGRAMS)
        self.start_discovery(PROGRAMS)
        self.credentials = CredentialsControl(self.credentials_url)
        self.configure()
        self.manage("migrate", "--verbosity=0")
        self.start_shell()
        self.do("configure", catalog_url=f"{self.discovery_url}/api/v1")
        self.do("create_courses", keys=[run for program in PROGRAMS for run in _runs(program)])
        self.do("command", name="cache_programs", options={})
        self.unused_programs = iter(PROGRAMS)
        self.lost_tasks = set()
        self.start_worker()
        self.start_consumer()

    def start_worker(self, name="worker", concurrency=2, **env):
        """Start a worker that does not wait long before a retry."""
        return super().start_worker(name, concurrency, TESTBED_RETRY_DIVISOR=RETRY_DIVISOR, **env)

    def end_worker(self, number=signal.SIGKILL):
        """Send the worker a signal, to its children too if it kills, and wait for its end."""
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
        """Start a consumer that goes on where the last one stopped."""
        return super().start_consumer(name, check_backlog=True, **extra)

    def keep_consumer(self):
        """Do what a supervisor does: start the consumer again if it has ended, as it does when the bus goes away."""
        if self.consumer.popen.poll() is not None:
            self.end_consumer()
            self.start_consumer()

    def unfinished_tasks(self):
        """Leave out the tasks that died with a worker."""
        return super().unfinished_tasks() - self.lost_tasks

    def wait_for_consumer(self):
        """Wait until the consumer has read and acknowledged all that is in the stream."""

        def has_read_all():
            self.keep_consumer()
            with connect(self.bus_url) as client:
                [group] = client.xinfo_groups(self.stream_key)
                unread = client.xrange(self.stream_key, min=b"(" + group["last-delivered-id"], count=1)
                pending = client.xpending_range(self.stream_key, GROUP, "-", "+", 1)
            if pending and pending[0]["time_since_delivered"] > STUCK:
                # Delivered to a connection that had given up waiting. Only a consumer that starts looks for these.
                self.end_consumer()
                self.start_consumer()
            return not unread and not pending

        wait_for(has_read_all, "the consumer to read the stream")


class Scene:
    """
    What one test does to its learners.

    Args:
        site (FaultSite): where.
        name (str): what the usernames begin with.
    """

    def __init__(self, site, name):
        self.site = site
        self.name = name
        self.began = datetime.now(UTC)
        self.program = next(site.unused_programs)
        self.first_run, self.last_run = _runs(self.program)
        self.numbers = itertools.count(1)
        self.owed = {}  # username -> status
        self.gone = set()  # usernames that their holders have no more; no event about them is owed
        self.note = ""
        self.fault_id = None
        self.begun = {}  # username -> how many task records there were before the fault

    # What the platform's people do

    def learner(self, status=None, profile=True):
        """Create a learner who has earned all but the last certificate; with a status, that one too."""
        username = f"{self.name}-{next(self.numbers)}"
        name = f"Name of {username}" if profile else None
        self.site.do("create_learner", username=username, email=f"{username}@example.com", name=name)
        self.site.do("open_record", username=username)
        for run in (self.first_run, self.last_run):
            self.site.do("enrol", username=username, course_run=run, mode="verified")
        self.site.do("certify", username=username, course_run=self.first_run, mode="verified")
        self.settle()
        if status:
            self.complete(username)
            self.settle()
        return username

    def learner_whose_event_is_lost(self):
        """Create a learner who completes the program while the bus is down."""
        username = self.learner()
        self.site.bus.stop()
        self.complete(username)
        self.site.wait_for_tasks()
        self.site.bus.start()
        self.settle()
        assert self.lost() == 1
        return username

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
        """Wait until Credentials holds so many requests and nothing else goes on."""
        wait_for(lambda: self.site.credentials.held() == count, f"{count} held requests")
        wait_for(lambda: len(self.site.unfinished_tasks()) == count, "the other tasks to finish")

    def applied(self):
        """int: how often the fault was applied."""
        return self.site.credentials.applied(self.fault_id)

    # What came of it

    def settle(self):
        """Wait until nothing goes on any more."""
        self.site.wait_for_tasks()
        self.site.wait_for_consumer()

    def outcome(self, username, task="award_program_certificates"):
        """Return the final state of a learner's last such task since the fault, and how often it was retried."""
        records = self.site.tasks()[self.begun[username] :]
        published = [
            record
            for record in records
            if record["state"] == "published" and record["task"] == task and record["args"][0] == username
        ]
        if not published:
            return "never published", 0
        task_id = published[-1]["id"]
        if task_id in self.site.lost_tasks:
            return "lost", 0
        states = [record["state"] for record in records if record["id"] == task_id]
        retries = sum(record["id"] == task_id and record["retries"] > 0 for record in published)
        return next((state for state in states if state in FINAL_STATES), "running"), retries

    def outcomes(self):
        """str: what became of the tasks since the fault, for the table; each learner's is asserted before."""
        texts = {}
        for username in self.begun:
            task = TASKS[self.owed[username]]
            state, retries = self.outcome(username, task)
            again = f" after {retries} {'retry' if retries == 1 else 'retries'}" if retries else ""
            texts[state + again] = True
        return ", ".join(texts)

    def seconds(self, username):
        """Return how many seconds the award task of a learner took since the fault."""
        records = self.site.tasks()[self.begun[username] :]
        [task_id] = {record["id"] for record in records if record["task"] == "award_program_certificates"}
        times = {record["state"]: record["at"] for record in records if record["id"] == task_id}
        return times["succeeded"] - times["started"]

    def events(self):
        """list[dict]: the events about this scene's learners, as consumed."""
        return [event for event in self.site.events() if _username(event).startswith(f"{self.name}-")]

    def known(self):
        """dict: username -> status, as a consumer knows it that keeps the event with the latest time."""
        return _known(self.events())

    def lost(self):
        """int: how many learners' owed state the consumer does not know."""
        known = self.known()
        return sum(known.get(name) != status for name, status in self.owed.items() if name not in self.gone)

    def wrong(self):
        """int: how many certificates in Credentials are not what is owed, missing and surplus ones included."""
        stored = {
            item["username"]: item["status"]
            for item in self.site.credentials.credentials()
            if item["type"] == "program" and item["username"].startswith(f"{self.name}-")
        }
        return sum(stored.get(name) != self.owed.get(name) for name in stored.keys() | self.owed.keys())

    def duplicates(self):
        """int: how many events said again what another had said."""
        return sum(
            times - 1 for times in Counter((_username(event), event["type"]) for event in self.events()).values()
        )

    def notify_credentials(self):
        """Run the platform's command that brings lost awards and revocations back, from this scene's begin."""
        lost = "revocation" if "revoked" in self.owed.values() else "award"
        self.note = f"the platform lost the {lost}: `notify_credentials` first"
        done = self.site.do("command", name=NOTIFY[0], arguments=[*NOTIFY[1:], self.began.isoformat()])
        assert (done["error"], done["returncode"]) == (None, 0)
        self.settle()

    def revoke_in_credentials(self):
        """Revoke in Credentials what the LMS cannot see there, after the platform's command did not help."""
        self.notify_credentials()
        assert self.wrong() == len(self.owed)
        self.note = "the platform lost the revocation, `notify_credentials` does not help: revoked in Credentials first"
        self.site.credentials.change_status(list(self.owed), "revoked")

    def republish(self):
        """Republish this scene's program, as an operator would; return the command's summary."""
        done = self.site.do("command", name=REPUBLISH, options={"program_uuids": [self.program["uuid"]]})
        assert (done["error"], done["returncode"]) == (None, 0)
        self.settle()
        return done["output"]

    def start_republish(self, fault):
        """Start such a run as a process, and wait until Credentials holds its request by a fault of that kind."""
        self.credentials_fault(fault, method="GET")
        run = self._start("republish", REPUBLISH, "--program-uuids", self.program["uuid"])
        wait_for(lambda: self.site.credentials.held() == 1, "the run to ask Credentials", alive=[run])
        return run

    def end_republish(self, run):
        """Wait for the end of such a process; return its exit code and its summary."""
        summary, _ = run.popen.communicate(timeout=PATIENCE)
        self.site.processes.forget(run)
        return run.popen.returncode, summary

    def scheduled_run(self):
        """Let the schedule's hour come: about everyone on the site, not this scene alone; return the summary."""
        code, summary = self.end_republish(self._start("scheduled", *SCHEDULED))
        assert code == 0
        return summary

    def _start(self, name, *argv):
        return self.site.processes.python(
            name, "manage.py", "lms", *argv, env=self.site.env(), stdout=subprocess.PIPE, text=True
        )

    def finish(self, fault, injected, *, lost, task="succeeded", wrong_before=0, repair=None, republish=None, note=""):
        """
        Republish, check, and add the row.

        Args:
            fault (str): the fault.
            injected (str): how it was brought about.
            lost (int): how many events must have been lost before the republish run; None if that may differ.
            task (str): what must have become of the tasks.
            wrong_before (int): how many certificates the platform itself has got wrong.
            repair (callable): what mends those. Defaults to ``notify_credentials``.
            republish (callable): what republishes, and returns a summary. Defaults to ``republish``.
            note (str): more for the table.
        """
        self.settle()
        outcomes, duplicates = self.outcomes(), self.duplicates()
        lost = self.lost() if lost is None else lost
        assert (self.lost(), self.wrong(), outcomes) == (lost, wrong_before, task)
        if wrong_before:
            (repair or self.notify_credentials)()
        summary = (republish or self.republish)()
        self.settle()
        row = Row(
            fault=fault,
            injected=injected,
            task=outcomes,
            platform_lost=wrong_before,
            wrong=self.wrong(),
            lost=lost,
            lost_after=self.lost(),
            duplicates=duplicates,
            note="; ".join(filter(None, [self.note, note])),
        )
        ROWS[self.name] = row
        assert (row.wrong, row.lost_after) == (0, 0)
        return summary


def _runs(program):
    return [run["key"] for course in program["courses"] for run in course["course_runs"]]


def _username(event):
    return event["data"]["program_certificate"]["user"]["pii"]["username"]


def _known(events):
    latest = {}
    for event in events:
        username, time = _username(event), datetime.fromisoformat(event["time"])
        if username not in latest or time >= latest[username][0]:
            latest[username] = (time, STATUS[event["type"]])
    return {username: status for username, (_time, status) in latest.items()}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Start the site that all faults happen to, one after the other."""
    directory = tmp_path_factory.mktemp("faults")
    with Processes(directory) as processes:
        yield FaultSite(processes, directory)
    assert not leftovers(directory)


@pytest.fixture
def scene(site, request):
    """Set the scene: everything runs, and does again when the test is over."""
    scene = Scene(site, request.node.name.removeprefix("test_").replace("[", "-").replace("]", ""))
    yield scene
    site.credentials.clear()
    site.credentials.set_clock(0)
    for valkey in (site.bus, site.broker):
        if valkey.process in site.processes.running:
            valkey.process.popen.send_signal(signal.SIGCONT)
        else:
            valkey.start()
    if site.worker not in site.processes.running or site.worker.popen.poll() is not None:
        site.start_worker()
    if site.consumer not in site.processes.running or site.consumer.popen.poll() is not None:
        site.start_consumer()
    site.lost_tasks |= site.unfinished_tasks()


# The event bus


def test_bus_refuses(site, scene):
    awarded, revoked = scene.learner(), scene.learner("awarded")
    site.bus.stop()
    scene.complete(awarded)
    scene.revoke(revoked)
    site.wait_for_tasks()
    assert scene.outcome(awarded) == scene.outcome(revoked, "revoke_program_certificates") == ("succeeded", 0)
    site.bus.start()

    scene.finish("bus refuses connections", "server stopped", lost=2)


def test_bus_down_and_nobody_repairs(site, scene):
    awarded, revoked = scene.learner(), scene.learner("awarded")
    site.bus.stop()
    scene.complete(awarded)
    scene.revoke(revoked)
    site.wait_for_tasks()
    assert scene.outcome(awarded) == scene.outcome(revoked, "revoke_program_certificates") == ("succeeded", 0)
    # The schedule does not know that the bus is down. The run cannot, either: the producer keeps that to its log.
    during = scene.scheduled_run()
    assert site.count_in_log("scheduled", "Error delivering message to Redis event bus") >= 2
    site.bus.start()
    scene.settle()
    assert scene.known() == {revoked: "awarded"}

    summary = scene.finish(
        "bus refuses connections, and nobody repairs by hand",
        "server stopped, also during a scheduled run",
        lost=2,
        republish=scene.scheduled_run,
        note=f"`{' '.join(SCHEDULED[1:])}` by schedule: the first run after the outage brought both",
    )
    assert summary == during
    # Hours in which nothing happens change nothing, for anyone.
    known = _known(site.events())
    assert scene.scheduled_run() == summary
    scene.settle()
    assert _known(site.events()) == known
    assert (scene.known(), scene.lost(), scene.wrong()) == (scene.owed, 0, 0)


def test_bus_silent(site, scene):
    username = scene.learner()
    before = site.count_in_log("worker", "Timeout reading from")
    site.bus.process.popen.send_signal(signal.SIGSTOP)
    scene.complete(username)
    site.wait_for_tasks()
    assert scene.outcome(username) == ("succeeded", 0)
    assert site.count_in_log("worker", "Timeout reading from") > before
    lost = scene.lost()
    site.bus.process.popen.send_signal(signal.SIGCONT)
    assert lost == 1

    # What the server had received, but not read, it may still carry out: then nothing was lost after all.
    scene.finish(
        "bus accepts and never answers",
        "SIGSTOP",
        lost=None,
        note=f"task took {scene.seconds(username):.1f} s, time-outs of {BUS_TIMEOUT} s; event lost or late",
    )


def test_bus_restarted_between_awards(site, scene):
    first, second = scene.learner(), scene.learner()
    scene.complete(first)
    scene.settle()
    site.bus.stop()
    site.bus.start()
    scene.complete(second)
    scene.settle()
    assert scene.outcome(first) == scene.outcome(second) == ("succeeded", 0)

    scene.finish("bus restarted between two awards", "stopped, started", lost=0)


def test_stream_trimmed(site, scene):
    first, second = scene.learner(), scene.learner()
    site.end_consumer()
    scene.complete(first)
    scene.complete(second)
    site.wait_for_tasks()
    connect(site.bus_url).xtrim(site.stream_key, maxlen=0, approximate=False)
    site.start_consumer()

    scene.finish("stream trimmed below the consumer's position", "XTRIM", lost=2)


# The consumer


def test_consumer_killed_before_acknowledging(site, scene, tmp_path):
    username = scene.learner()
    site.end_consumer()
    reading = tmp_path / "reading"
    os.environ["TESTBED_CONSUMER_HANGS"] = str(reading)
    try:
        site.start_consumer()
    finally:
        del os.environ["TESTBED_CONSUMER_HANGS"]
    scene.complete(username)
    wait_for(reading.exists, "the consumer to read the event")
    pending = connect(site.bus_url).xpending(site.stream_key, GROUP)
    assert pending["pending"] == 1
    site.end_consumer()
    site.start_consumer()

    # The one that was killed had recorded the event first.
    scene.finish("consumer killed after reading, before acknowledging", "SIGKILL", lost=0)
    assert ROWS[scene.name].duplicates == 1


def test_consumer_gave_up_reading(site, scene):
    username = scene.learner()
    site.consumer.popen.send_signal(signal.SIGSTOP)
    with connect(site.bus_url) as client:
        wait_for(lambda: client.info("clients")["blocked_clients"] == 0, "the consumer's last look to be over")
        scene.complete(username)
        site.wait_for_tasks()
        assert client.xreadgroup(GROUP, "testbed", {site.stream_key: ">"})
    site.consumer.popen.send_signal(signal.SIGCONT)

    scene.finish(
        "event delivered to a connection that the consumer has given up",
        "read in its name while it was stopped",
        lost=0,
        note="stays pending until the consumer starts anew",
    )


# The worker


def _kill_worker(site, scene, username):
    """Kill the worker while Credentials holds its request, and start another one."""
    scene.wait_until_held()
    site.end_worker()
    site.credentials.clear()
    site.start_worker()
    assert scene.outcome(username) == ("lost", 0)


def test_worker_killed_after_acceptance(site, scene):
    username = scene.learner()
    scene.credentials_fault("hold")
    scene.complete(username)
    _kill_worker(site, scene, username)

    scene.finish("worker killed after Credentials accepted, before the event", "SIGKILL", lost=1, task="lost")


def test_worker_killed_after_acceptance_and_nobody_repairs(site, scene):
    username = scene.learner()
    scene.credentials_fault("hold")
    scene.complete(username)
    _kill_worker(site, scene, username)

    scene.finish(
        "worker killed after Credentials accepted, and nobody repairs by hand",
        "SIGKILL",
        lost=1,
        task="lost",
        republish=scene.scheduled_run,
        note="the next scheduled run brought it",
    )


def test_worker_killed_before_request(site, scene):
    username = scene.learner()
    scene.credentials_fault("hold_before", method="GET")  # before it awards, the task asks what is awarded already
    scene.complete(username)
    _kill_worker(site, scene, username)

    scene.finish("worker killed before Credentials stored anything", "SIGKILL", lost=1, task="lost", wrong_before=1)


def test_worker_stopped_while_awarding(site, scene):
    username = scene.learner()
    scene.credentials_fault("hold")
    scene.complete(username)
    scene.wait_until_held()
    before = site.count_in_log("worker", "Warm shutdown")
    site.worker.popen.send_signal(signal.SIGTERM)
    wait_for(lambda: site.count_in_log("worker", "Warm shutdown") > before, "the worker to begin to stop")
    site.credentials.clear()
    site.end_worker(signal.SIGTERM)
    site.start_worker()
    assert scene.outcome(username) == ("succeeded", 0)

    scene.finish("worker told to stop while awarding", "SIGTERM", lost=0)


def test_receiver_raises(site, scene):
    username = scene.learner()
    site.end_worker(signal.SIGTERM)
    site.start_worker(TESTBED_RECEIVER_RAISES="1")
    before = site.count_in_log("worker", f"Failed to send {AWARDED}")
    scene.complete(username)
    scene.settle()
    assert scene.outcome(username) == ("succeeded", 0)
    assert site.count_in_log("worker", f"Failed to send {AWARDED}") == before + 1
    site.end_worker(signal.SIGTERM)
    site.start_worker()

    scene.finish("a receiver in the LMS raises", "receiver connected", lost=0)


def test_two_workers_award_at_once(site, scene):
    username = scene.learner()
    first = site.worker
    second = site.start_worker(name="second-worker")
    site.worker = first
    scene.credentials_fault("hold_before", times=3)
    scene.complete(username)
    site.do("award_again", username=username)
    site.do("award_again", username=username)
    scene.wait_until_held(3)
    site.credentials.clear()
    site.wait_for_tasks()
    second.popen.terminate()
    second.popen.wait()
    site.processes.forget(second)
    assert scene.outcome(username) == ("succeeded", 0)

    scene.finish("two workers process the same learner at once", "three tasks held at the POST", lost=0)
    assert ROWS[scene.name].duplicates == 2


# The broker


def test_broker_restarted(site, scene):
    held, waiting = scene.learner(), scene.learner()
    scene.credentials_fault("hold")
    scene.complete(held)
    scene.wait_until_held()
    site.broker.stop()
    site.broker.start()
    scene.complete(waiting)
    wait_for(lambda: scene.outcome(waiting)[0] == "succeeded", "the task that was published after the restart")
    site.credentials.clear()
    scene.settle()
    assert scene.outcome(held) == scene.outcome(waiting) == ("succeeded", 0)

    scene.finish("Celery broker restarted", "stopped, started, while awarding", lost=0)


def test_broker_down(site, scene):
    username = scene.learner()
    site.broker.stop()
    scene.complete(username)
    site.broker.start()
    assert scene.outcome(username) == ("never published", 0)

    scene.finish(
        "Celery broker down when the course certificate is issued",
        "stopped",
        lost=1,
        task="never published",
        wrong_before=1,
    )


# Credentials


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_credentials_answers(scene, status):
    username = scene.learner()
    scene.credentials_fault("status", status=status)
    scene.complete(username)
    scene.settle()
    assert scene.applied() == 1
    assert scene.outcome(username) == ("succeeded", 0)

    scene.finish(f"Credentials answers {status}", "once", lost=1, wrong_before=1)


def test_credentials_refuses_a_revocation(scene):
    username = scene.learner("awarded")
    scene.credentials_fault("status", status=503)
    scene.revoke(username)
    scene.settle()
    assert scene.applied() == 1
    assert scene.outcome(username, "revoke_program_certificates") == ("succeeded", 0)

    scene.finish(
        "Credentials answers 503 to a revocation",
        "once",
        lost=1,
        wrong_before=1,
    )


def test_gateway_times_out_after_acceptance(scene):
    awarded, revoked = scene.learner(), scene.learner("awarded")
    scene.credentials_fault("status_after", status=504, times=2)
    scene.complete(awarded)
    scene.revoke(revoked)
    scene.settle()
    assert scene.applied() == 2
    scene.notify_credentials()  # an operator cannot know that both were stored
    scene.note = "`notify_credentials` finds both stored, and brings no event"

    scene.finish("a gateway answers 504, and Credentials has stored the change", "an award and a revocation", lost=2)


def test_revocation_of_a_hidden_certificate(site, scene):
    username = scene.learner("awarded")
    site.do("set_available_date", course_run=scene.first_run, mode="verified", date="2100-01-01T00:00:00Z")
    scene.settle()
    scene.revoke(username)
    scene.settle()

    scene.finish(
        "Credentials hides the certificate when it has to be revoked",
        "the date of a course run lies ahead",
        lost=1,
        wrong_before=1,
        repair=scene.revoke_in_credentials,
    )


def test_credentials_answers_429(scene):
    username = scene.learner()
    scene.credentials_fault("status", status=429, headers={"Retry-After": "1"}, times=2)
    scene.complete(username)
    scene.settle()
    assert scene.applied() == 2
    assert scene.outcome(username) == ("succeeded", 2)

    scene.finish("Credentials answers 429", "twice", lost=0, task="succeeded after 2 retries")


def test_credentials_closes(scene):
    username = scene.learner()
    scene.credentials_fault("close")
    scene.complete(username)
    scene.settle()
    assert scene.applied() == 1
    assert scene.outcome(username) == ("succeeded", 1)

    scene.finish("Credentials closes the connection before answering", "once", lost=0, task="succeeded after 1 retry")


def test_credentials_loses_the_response(scene):
    awarded, revoked = scene.learner(), scene.learner("awarded")
    scene.credentials_fault("lose_response", times=2)
    scene.complete(awarded)
    scene.revoke(revoked)
    scene.settle()
    assert scene.applied() == 2
    assert scene.outcome(awarded) == scene.outcome(revoked, "revoke_program_certificates") == ("succeeded", 1)

    scene.finish(
        "Credentials accepts the POST and loses the response",
        "for an award and a revocation",
        lost=2,
        task="succeeded after 1 retry",
        note="the retry finds the certificate there",
    )


@pytest.mark.parametrize(
    ("fault", "injected", "answer", "requests"),
    [
        (
            "Credentials redirects by 301",
            "once: the POST becomes a GET",
            {"status": 301, "headers": {"Location": CREDENTIALS_PATH}},
            [("POST", 301), ("GET", 200)],
        ),
        ("a gateway answers 200 with a page", "once", {"status": 200, "body": "<p>Back soon</p>"}, [("POST", 200)]),
    ],
    ids=["redirect", "page"],
)
def test_award_answered_by_something_else(site, scene, fault, injected, answer, requests):
    username = scene.learner()
    before, logged = len(site.credentials.requests()), site.count_in_log("worker", "CREDENTIALS_INTERNAL_SERVICE_URL")
    scene.credentials_fault("status", **answer)
    scene.complete(username)
    scene.settle()
    assert scene.applied() == 1
    assert scene.outcome(username) == ("succeeded", 0)
    assert scene.events() == []
    came = [request for request in site.credentials.requests()[before:] if request["type"] != "course-run"]
    # Before it awards, the task asks what is awarded already.
    assert [(request["method"], request["status"]) for request in came] == [("GET", 200), *requests]
    assert site.count_in_log("worker", "CREDENTIALS_INTERNAL_SERVICE_URL") == logged + 1

    scene.finish(fault, injected, lost=1, wrong_before=1)


def test_revocation_answered_by_something_else(site, scene):
    username = scene.learner("awarded")
    logged = site.count_in_log("worker", "CREDENTIALS_INTERNAL_SERVICE_URL")
    scene.credentials_fault("status", status=200, body="<p>Back soon</p>")
    scene.revoke(username)
    scene.settle()
    assert scene.applied() == 1
    assert scene.outcome(username, "revoke_program_certificates") == ("succeeded", 0)
    assert scene.known() == {username: "awarded"}
    assert site.count_in_log("worker", "CREDENTIALS_INTERNAL_SERVICE_URL") == logged + 1

    scene.finish(
        "a gateway answers 200 with a page to a revocation",
        "once",
        lost=1,
        wrong_before=1,
    )


def test_credentials_redirects_and_keeps_the_post(scene):
    awarded, revoked = scene.learner(), scene.learner("awarded")
    for change, username in ((scene.complete, awarded), (scene.revoke, revoked)):
        scene.credentials_fault("status", status=308, headers={"Location": CREDENTIALS_PATH})
        change(username)
        scene.settle()
        assert scene.applied() == 1
    assert scene.outcome(awarded) == scene.outcome(revoked, "revoke_program_certificates") == ("succeeded", 0)

    scene.finish("Credentials redirects by 308", "once each: an award and a revocation stay POSTs", lost=0)


def test_credentials_revokes_in_bulk(site, scene):
    username = scene.learner("awarded")

    def modified():
        stored = site.credentials.credentials()
        return [item["modified"] for item in stored if item["program_uuid"] and item["username"] == username]

    before = modified()
    site.credentials.change_status([username], "revoked")
    scene.owed[username] = "revoked"
    assert modified() == before

    scene.finish(
        "Credentials revokes in bulk, `modified` stays",
        "status changed there alone",
        lost=1,
        task="never published",
        note="nobody tells the LMS",
    )


@pytest.mark.parametrize(("hours", "fault"), [(-1, "an hour behind"), (1, "an hour ahead")], ids=["behind", "ahead"])
def test_clock_of_credentials(site, scene, hours, fault):
    site.credentials.set_clock(hours * 3600)
    lost, live = scene.learner("awarded"), scene.learner("awarded")
    scene.republish()
    site.bus.stop()
    scene.revoke(lost)
    site.wait_for_tasks()
    site.bus.start()
    # Neither may an event that was republished outlive what is announced later.
    scene.revoke(live)
    scene.settle()
    assert scene.known() == {lost: "awarded", live: "revoked"}

    scene.finish(
        f"Credentials' time stamps {fault}",
        "republished, then revoked; bus stopped for one of two",
        lost=1,
        note="the run before the fault made the duplicates",
    )
    assert ROWS[scene.name].duplicates == 2


def test_credentials_slow(scene):
    username = scene.learner()
    scene.credentials_fault("delay", seconds=3)
    scene.complete(username)
    scene.settle()
    assert scene.applied() == 1
    assert scene.outcome(username) == ("succeeded", 0)

    scene.finish("Credentials answers slowly", "after 3 s", lost=0)


# The learner


def test_learner_without_profile(scene):
    username = scene.learner(profile=False)
    scene.complete(username)
    scene.settle()
    assert scene.outcome(username) == ("succeeded", 0)
    [event] = scene.events()
    assert event["data"]["program_certificate"]["user"]["pii"]["name"] == ""

    scene.finish("learner without a profile row", "none created", lost=0)


def test_learner_renamed(site, scene):
    username = scene.learner_whose_event_is_lost()
    new_username = f"{username}-renamed"
    site.do("rename", username=username, new_username=new_username)
    scene.gone.add(username)
    scene.owed[new_username] = "awarded"

    # Credentials has the certificate under the old name; asked under the new one it knows of none, and awards it.
    summary = scene.finish(
        "learner renamed between task and republish",
        "bus stopped while awarding",
        lost=1,
        wrong_before=1,
        note="republish skips the old name",
    )
    assert " read=2 " in summary
    assert " skipped_unknown_learner=1 " in summary


def test_old_username_taken_over(site, scene):
    username = scene.learner_whose_event_is_lost()
    new_username = f"{username}-renamed"
    site.do("rename", username=username, new_username=new_username)
    scene.gone.add(username)
    scene.owed[new_username] = "awarded"
    joined = datetime.now(UTC) + timedelta(days=2)
    newcomer = site.do(
        "create_learner",
        username=username,
        email=f"newcomer-{username}@example.com",
        name="Newcomer",
        joined=joined.isoformat(),
    )

    summary = scene.finish(
        "old username taken over by a newcomer",
        "joined two days after the award; bus stopped while awarding",
        lost=1,
        wrong_before=1,
        note="republish skips the old name",
    )
    assert " read=2 " in summary
    assert " skipped_younger_account=1 " in summary
    assert newcomer not in {event["data"]["program_certificate"]["user"]["id"] for event in scene.events()}
    assert {_username(event) for event in scene.events()} == {new_username}


def test_learner_deleted(site, scene):
    scene.learner("awarded")  # a run that announces nothing at all is no success
    username = scene.learner_whose_event_is_lost()
    site.do("delete", username=username)
    scene.gone.add(username)

    summary = scene.finish(
        "learner deleted between task and republish",
        "bus stopped while awarding",
        lost=0,
        note="no event is owed about someone who is gone; republish skips them",
    )
    assert " read=2 " in summary
    assert " skipped_unknown_learner=1 " in summary


# The republish command


def test_republish_stopped(site, scene):
    scene.learner_whose_event_is_lost()
    run = scene.start_republish("hold_before")
    run.popen.terminate()
    code, summary = scene.end_republish(run)
    assert code == 1
    assert summary.startswith("Program certificates: read=0 ")
    site.credentials.clear()

    scene.finish("republish run told to stop", "SIGTERM while it waits for Credentials", lost=1, note="run again")


def test_revoked_while_republish_reads(site, scene):
    username = scene.learner("awarded")
    run = scene.start_republish("hold")  # Credentials has looked, and found it awarded
    scene.revoke(username)
    scene.settle()
    assert scene.known() == {username: "revoked"}
    site.credentials.clear()
    code, summary = scene.end_republish(run)
    assert code == 0
    assert " published_awarded=1 published_revoked=0 " in summary

    scene.finish(
        "certificate revoked while a republish run reads it",
        "answer held until the revocation was announced",
        lost=0,
        note="the held run made the duplicate",
    )
    assert ROWS[scene.name].duplicates == 1
