"""
Two producers of the same events on one bus: Credentials and the LMS; how a site moves from one to the other, and back.

And what comes after: a Credentials that takes certificates from the events, instead of being asked for them.

The clock of Credentials is an hour ahead, or an hour behind, as far as its time stamps and its events go. A clock that
checks tokens could not be so: PyJWT refuses one from the future without any leeway, so with a clock that is behind by
more than a second nothing is awarded at all, and one that is ahead by an hour or more takes each token for expired.

Consumers keep, for each learner (user id) and program, the event with the latest time.
"""

import contextlib
import itertools
import shlex
import sqlite3
from collections import Counter
from datetime import datetime

import pytest
import yaml

from testbed.pages.blocks import named_block
from testbed.run.inputs import AWARDED, REVOKED
from testbed.servers.processes import Processes, wait_for
from testbed.servers.valkey import Valkey, connect
from testbed.site.site import GROUP, TOPIC, Site
from testbed.standins.credentials.control.client import CredentialsControl
from testbed.tests.conftest import leftovers

pytestmark = pytest.mark.e2e

# One for each test, and one more. Each is of one course, of which either run will do.
PROGRAMS = [
    {
        "uuid": f"c07e1b7c-0f0d-4f57-9b8e-2f6f3f0d{number:04}",
        "title": f"Cut-over {number}",
        "type": "MicroMasters",
        "status": "active",
        "courses": [
            {"course_runs": [{"key": f"course-v1:OpenX+C{number}+{year}", "type": "verified"} for year in (2025, 2026)]}
        ],
    }
    for number in range(1, 7)
]
STATUS = {AWARDED: "awarded", REVOKED: "revoked"}
LMS, CREDENTIALS = "openedx/lms/web", "openedx/SERVICE_NAME_UNSET/web"
HOUR = 3600
# Celery waits up to 30 s before it sends the course certificate of a learner again whom Credentials does not know.
RETRY_DIVISOR = "100"
CLOCKS = {"behind": -HOUR, "ahead": HOUR}
# Of each learner with a clock, the letter of the phase in which they are awarded the certificate, and, if there is one,
# that of the phase in which they lose it.
HISTORIES = ["A", "AA", "AB", "AC", "B", "BB", "BC", "C", "CC"]
REPUBLISH_ALL = shlex.split(named_block("cut-over-all"))[2:]


class CutoverSite(Site):
    """A site whose LMS and whose Credentials can both publish the two events; the bus keeps them over a restart."""

    def __init__(self, processes, directory):
        super().__init__(processes, directory)
        self.credentials_on = self.lms_on = False
        self.prefix = self.run_id
        self.bus = Valkey(processes, "bus", directory / "bus", durable=True)
        self.redis_url, self.bus_url = Valkey(processes, "broker", directory / "broker").url, self.bus.url
        self.credentials_process = self.start_credentials(PROGRAMS)
        self.start_discovery(PROGRAMS)
        self.credentials = CredentialsControl(self.credentials_url)
        self.write_configurations()
        # Tasks and the command alone send these events, so this process is the LMS of those who run the command.
        self.lms_on = True
        self.start_lms()
        self.do("create_courses", keys=[run for program in PROGRAMS for run in _runs(program)])
        self.unused_programs = iter(PROGRAMS[:-1])

    # Configuration

    def write_configurations(self):
        """Write the LMS's configuration twice, with its events on and off, as the page for operators has it."""
        self.configure()
        config = yaml.safe_load(self.config_file.read_text(encoding="utf-8"))
        self.bus_settings = {name: value for name, value in config.items() if name.startswith("EVENT_BUS_")}
        del self.bus_settings["EVENT_BUS_PRODUCER_CONFIG"], config["EVENT_BUS_PRODUCER_CONFIG"]
        for self.lms_on, events in ((True, yaml.safe_load(named_block("events-yaml"))), (False, {})):
            self.config_file.touch(mode=0o600)
            self.config_file.write_text(yaml.safe_dump(config | events), encoding="utf-8")

    @property
    def config_file(self):
        """Path: the YAML file that ``LMS_CFG`` names, by whether the LMS's events are on."""
        return self.directory / f"lms-{'on' if self.lms_on else 'off'}.yml"

    def credentials_env(self, enabled, prefix):
        """Write Credentials' configuration, as the page for operators has it; return the environment."""
        block = named_block("credentials-off")
        events = yaml.safe_load(block.replace("enabled: false", "enabled: true") if enabled else block)
        path = self.directory / f"credentials-{enabled}.yml"
        path.touch(mode=0o600)
        settings = self.bus_settings | events | {"EVENT_BUS_TOPIC_PREFIX": prefix}
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return {"CREDENTIALS_CFG": str(path)}

    # Switches

    def switch_credentials(self, on, prefix=None):
        """Restart Credentials with its events on or off; its database stays, its clock is right again."""
        self.credentials_process.stop()
        self.processes.forget(self.credentials_process)
        self.credentials_on, self.prefix = on, prefix or self.run_id
        port = self.credentials_url.rpartition(":")[2]
        self.credentials_process = self.start_credentials(
            PROGRAMS, "--port", port, env=self.credentials_env(on, self.prefix)
        )

    def start_credentials(self, programs, *options, env=None):
        """Start Credentials as ever, with more in its environment."""
        process, self.credentials_url = self.processes.server(
            "credentials",
            *(*self._credentials_command(programs), *options),
            env=self._jwt_env("CREDENTIALS") | (env or {}),
        )
        return process

    def _credentials_command(self, programs, database="credentials"):
        path = self.directory / f"{database}.sqlite3"
        return "-m", "testbed.standins.credentials", "--database", path, "--programs", self._programs_file(programs)

    def stop_worker(self):
        """Stop the worker, which ends its tasks first. Those that are published from now on wait in the broker."""
        self.worker.stop()
        self.processes.forget(self.worker)

    def switch_lms(self, on):
        """Restart the worker with the LMS's events on or off."""
        if self.worker in self.processes.running:
            # Its tasks are done, so nothing is lost, and to end by itself would take it more than two seconds.
            self.wait_for_tasks()
            self.worker.kill()
            self.processes.forget(self.worker)
        self.lms_on = on
        self.start_worker()

    def start_worker(self, name="worker", concurrency=2, **env):
        """Start a worker that does not wait long before a retry."""
        return super().start_worker(name, concurrency, TESTBED_RETRY_DIVISOR=RETRY_DIVISOR, **env)

    def set_up(self, *, credentials, lms, prefix=None, consumer=True):
        """Go to where a test begins, whatever another one has left; without a consumer if none is needed."""
        if self.bus.process not in self.processes.running:
            self.bus.start()
        if self.worker not in self.processes.running or self.lms_on != lms:
            self.switch_lms(lms)
        if (self.credentials_on, self.prefix) != (credentials, prefix or self.run_id):
            self.switch_credentials(credentials, prefix)
        self.credentials.set_clock(0)
        if consumer and not self.consumer:
            self.start_consumer(check_backlog=True)

    def stop_bus(self):
        """Stop the bus, and the consumer before it: it would end by itself, but nobody could say when."""
        if self.consumer:
            self.consumer.stop()
            self.processes.forget(self.consumer)
            self.consumer = None
        self.bus.stop()

    # What happens

    def republish(self, ahead=0):
        """Announce everything, as the page for operators says; by an LMS's clock that is so many seconds ahead."""
        if ahead:
            env = self.env(TESTBED_CLOCK_AHEAD=str(ahead))
            self.processes.run("republish", "manage.py", "lms", *REPUBLISH_ALL, env=env)
        else:
            done = self.do("command", name=REPUBLISH_ALL[0], options={"all": REPUBLISH_ALL[1:] == ["--all"]})
            assert (done["error"], done["returncode"]) == (None, 0)

    def wait_for_group(self, group, consumer):
        """Wait until a consumer, the only one of its group, has read and acknowledged all that is in the stream."""

        def has_read_all():
            with connect(self.bus_url) as client:
                for known in client.xinfo_groups(self.stream_key):
                    if known["name"].decode() == group:
                        unread = client.xrange(self.stream_key, min=b"(" + known["last-delivered-id"], count=1)
                        return not (unread or known["pending"])
            return False

        wait_for(has_read_all, f"{consumer.name} to read the stream", alive=[consumer])

    def settle(self):
        """Wait until nothing goes on any more."""
        self.wait_for_tasks()
        if self.consumer:
            self.wait_for_group(GROUP, self.consumer)

    # Credentials as a consumer

    @contextlib.contextmanager
    def second_credentials(self, name, publishing=False):
        """Have another Credentials, with an empty database, that takes certificates from events, and is not asked."""
        process = self.processes.python(
            name,
            *(*self._credentials_command(PROGRAMS, database=name), "--consume", name),
            env=self._jwt_env("CREDENTIALS") | self.credentials_env(publishing, self.run_id),
        )
        try:
            yield process
        finally:
            process.stop()
            self.processes.forget(process)

    def certificates(self, database):
        """Return a Credentials' program certificates: (username, program uuid) -> status."""
        connection = sqlite3.connect(self.directory / f"{database}.sqlite3")
        rows = connection.execute("SELECT username, key, status FROM credentials_credential WHERE type = 'program'")
        found = {(username, program): status for username, program, status in rows}
        connection.close()
        return found


class Story:
    """
    What one test does to its learners, in a program of its own.

    Args:
        site (CutoverSite): where.
    """

    numbers = itertools.count(1)

    def __init__(self, site):
        self.site = site
        self.number = next(self.numbers)
        self.program = next(site.unused_programs)
        self.ids = {}  # learner -> user id
        self.owed = {}  # learner -> status
        self.usernames = {}  # learner -> the present one

    # What the platform's people do

    def award(self, learner, program=None, known=True):
        """
        Let a learner complete the program, a second time by the course's other run; one who is new is enrolled first.

        Args:
            learner (str): who.
            program (dict): the program, if it is another one than the story's.
            known (bool): whether a learner who is new has looked at their record, so that Credentials knows them.
        """
        for_program = program or self.program
        if learner not in self.ids:
            username = self.usernames[learner] = f"{learner}-{self.number}"
            self.ids[learner] = self.site.do(
                "create_learner", username=username, email=f"{username}@example.com", name=f"Name of {username}"
            )
            for run in _runs(for_program):
                self.site.do("enrol", username=username, course_run=run, mode="verified")
            if known:
                self.site.do("open_record", username=username)
        run = _runs(for_program)[learner in self.owed]
        self.site.do("certify", username=self.usernames[learner], course_run=run, mode="verified")
        self.owed[learner] = "awarded"

    def revoke(self, learner):
        """Take the certificate of the program's first run away."""
        self.site.do("invalidate", username=self.usernames[learner], course_run=_runs(self.program)[0])
        self.owed[learner] = "revoked"

    def award_again(self, learner):
        """Have the LMS look again at what a learner has completed."""
        self.site.do("award_again", username=self.usernames[learner])

    def rename(self, learner):
        """Give a learner another username, in the LMS; return the old one."""
        old = self.usernames[learner]
        self.usernames[learner] = f"{old}-renamed"
        self.site.do("rename", username=old, new_username=self.usernames[learner])
        return old

    def change(self, phase, clock, passed=0):
        """
        Award, then revoke, what the histories have for a phase.

        Args:
            phase (str): its letter.
            clock (str): one of ``CLOCKS``: what Credentials' clock is to the learners whose names say so.
            passed (int): how many seconds this clock has gone on, while nothing happened.
        """
        self.site.credentials.set_clock(CLOCKS[clock] + passed)
        for act, place in ((self.award, 0), (self.revoke, 1)):
            for history in HISTORIES:
                if history[place : place + 1] == phase:
                    act(f"{history}-{clock}")
            self.site.wait_for_tasks()

    # What came of it

    def events(self):
        """list[dict]: the events about these learners, as consumed."""
        self.site.settle()
        return [event for event in self.site.events() if _user_id(event) in self.ids.values()]

    def missing(self):
        """set[str]: the learners whose last state the consumer does not have."""
        latest = {}
        for event in self.events():
            key = _user_id(event)
            time = datetime.fromisoformat(event["time"])
            if key not in latest or time >= latest[key][0]:
                latest[key] = (time, STATUS[event["type"]])
        known = {key: status for key, (_time, status) in latest.items()}
        return {learner for learner, status in self.owed.items() if known.get(self.ids[learner]) != status}

    def wrong(self):
        """set[str]: the learners whose last state Credentials itself does not have."""
        stored = self.site.certificates("credentials")
        return {
            learner
            for learner, status in self.owed.items()
            if stored.get((self.usernames[learner], self.program["uuid"])) != status
        }

    def duplicates(self):
        """int: how many events said again what another had said."""
        counts = Counter((_user_id(event), event["type"]) for event in self.events())
        return sum(times - 1 for times in counts.values())

    def report(self, moment):
        """Print the counts at a moment, and return who is missing."""
        missing = self.missing()
        sources = Counter(event["source"] for event in self.events())
        print(
            f"{moment}: certificates {len(self.owed)}, last states missing {len(missing)}, events {sources.total()} "
            f"(LMS {sources[LMS]}, Credentials {sources[CREDENTIALS]}), duplicates {self.duplicates()}"
        )
        return missing


def _runs(program):
    return [run["key"] for course in program["courses"] for run in course["course_runs"]]


def _user_id(event):
    return event["data"]["program_certificate"]["user"]["id"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Start the site that all tests here use, one after the other."""
    directory = tmp_path_factory.mktemp("cutover")
    with Processes(directory) as processes:
        yield CutoverSite(processes, directory)
    assert not leftovers(directory)


@pytest.fixture
def story(site):
    """Begin a story."""
    return Story(site)


def test_cut_over(site, story):
    # Before: Credentials alone publishes, to another stream than the consumers read, as its default has it.
    site.set_up(credentials=True, lms=False, prefix="dev")
    story.award("unheard")
    assert story.events() == []
    with connect(site.bus_url) as client:
        assert client.xlen(f"dev-{TOPIC}") == 1

    # 1. The same prefix everywhere.
    site.switch_credentials(True)
    for clock in CLOCKS:
        story.change("A", clock)
    assert story.report("Credentials alone") == {"unheard"}
    assert {event["source"] for event in story.events()} == {CREDENTIALS}

    # 3. The LMS's events on. What changes while its workers restart waits in the broker.
    site.stop_worker()
    story.award("waited")
    site.switch_lms(True)
    site.wait_for_tasks()
    for clock in CLOCKS:
        story.change("B", clock)
    assert story.report("both") == {"unheard"}
    told_twice = 2 * len(["B", "BB", "BC", "AB", "BB"]) + len(["waited"])
    assert story.duplicates() == told_twice

    # 4. Those of Credentials off.
    before = len(story.events())
    site.switch_credentials(False)
    for clock in CLOCKS:
        story.change("C", clock)
    # What Credentials has said lately looks later than what the LMS says now, if its clock is ahead.
    overtaken = {"AC-ahead", "BC-ahead"}
    assert story.report("LMS alone") == {"unheard"} | overtaken
    assert {event["source"] for event in story.events()[before:]} == {LMS}

    # 5. Too early, it says what the consumers do not take.
    site.republish()
    assert story.report("republished before the lead has passed") == overtaken

    # 5. Once Credentials' clock, as it was, would say what the LMS's says.
    site.republish(ahead=HOUR)
    assert story.report("republished") == set()
    assert story.wrong() == set()
    assert len(story.owed) == 2 * len(HISTORIES) + 2
    assert story.duplicates() == told_twice + 2 * len(story.owed) - len(["unheard"])


def test_credentials_off_too_early(site, story):
    site.set_up(credentials=True, lms=False)
    story.award("kept")
    story.award("lost")
    site.wait_for_tasks()
    site.switch_credentials(False)
    # Nobody says so.
    story.award("unheard")
    story.revoke("lost")
    site.wait_for_tasks()
    site.switch_lms(True)
    story.award("heard")
    assert story.report("Credentials off before the LMS on") == {"unheard", "lost"}

    site.republish()
    assert story.report("republished") == set()
    assert story.wrong() == set()


def test_way_back(site, story):
    site.set_up(credentials=False, lms=True)
    for clock in CLOCKS:
        story.change("A", clock)

    assert {event["source"] for event in story.events()} == {LMS}

    # 1. Credentials' events on.
    site.switch_credentials(True)

    # 2. The last chance to say again what was lost before.
    site.republish()
    for clock in CLOCKS:
        story.change("B", clock)
    site.credentials.set_clock(CLOCKS["behind"])
    story.award("waiting")
    story.award("hurried")
    site.wait_for_tasks()
    assert story.report("both") == set()

    # 3. All workers of the LMS stop, before the first one starts again with the events off.
    site.stop_worker()
    before = len(story.events())
    story.revoke("waiting")

    # 4. Meanwhile a clock that is behind comes to where the LMS's was. To have an hour pass on it is to set it.
    site.credentials.set_clock(CLOCKS["behind"] + HOUR)
    site.switch_lms(False)
    site.wait_for_tasks()
    story.change("C", "behind", passed=HOUR)
    story.change("C", "ahead")
    assert story.report("Credentials alone") == set()
    assert story.wrong() == set()
    assert {event["source"] for event in story.events()[before:]} == {CREDENTIALS}

    # Had nobody waited, what Credentials says would look older than what the LMS has said.
    site.credentials.set_clock(CLOCKS["behind"])
    story.revoke("hurried")
    story.award("later")
    site.wait_for_tasks()
    assert story.report("not waited") == {"hurried"}

    # To republish puts that right, and makes it so for all certificates, for as long again.
    site.republish()
    assert story.report("republished") == set()
    story.revoke("later")
    assert story.report("after that") == {"later"}


def test_events_suffice_for_credentials(site, story):
    hidden = PROGRAMS[-1]
    site.set_up(credentials=False, lms=True, consumer=False)
    begun = len(site.stream())
    story.award("never-looked", known=False)
    for learner in ("awarded", "revoked", "returned", "renamed", "renamed-revoked", "revocation-lost", "renamed-lost"):
        story.award(learner)
    # Until that date, Credentials hides the certificate from the LMS, which awards it again each time.
    site.do("set_available_date", course_run=_runs(hidden)[0], mode="verified", date="2100-01-01T00:00:00Z")
    site.wait_for_tasks()
    story.award("repeated", hidden)
    site.wait_for_tasks()
    for learner in ("revoked", "returned"):
        story.revoke(learner)
    site.wait_for_tasks()
    story.award("returned")
    for _repeat in range(2):
        story.award_again("repeated")
        site.wait_for_tasks()
    # Asked for the new name, Credentials knows no certificate, and is asked to award another one.
    old_names = [story.rename(learner) for learner in ("renamed", "renamed-revoked")]
    for learner in ("renamed", "renamed-revoked"):
        story.award(learner)
    site.wait_for_tasks()
    story.revoke("renamed-revoked")
    site.wait_for_tasks()

    site.stop_bus()
    for learner in ("award-lost", "both-lost"):
        story.award(learner)
    site.wait_for_tasks()
    story.revoke("revocation-lost")
    old_names.append(story.rename("renamed-lost"))
    story.award("renamed-lost")
    site.wait_for_tasks()
    story.revoke("both-lost")
    site.wait_for_tasks()
    site.bus.start()

    def certificates(database):
        programs = (story.program["uuid"], hidden["uuid"])
        return {key: status for key, status in site.certificates(database).items() if key[1] in programs}

    posted = certificates("credentials")
    assert [posted.pop((name, story.program["uuid"])) for name in old_names] == ["awarded"] * 3
    assert {name: status for (name, _program), status in posted.items()} == {
        story.usernames[learner]: status for learner, status in story.owed.items()
    }
    assert max(item["posts"] for item in site.credentials.credentials() if item["program_uuid"] == hidden["uuid"]) == 3

    # From nothing but the stream.
    with site.second_credentials("second") as second:
        site.wait_for_group("second", second)
        told = certificates("second")
        different = {name for (name, _program), _status in posted.items() ^ told.items()}
        print(f"told by the stream: {len(told)} certificates, posted: {len(posted)}, different names: {len(different)}")
        assert different == {
            *(story.usernames[learner] for learner in ("award-lost", "both-lost", "revocation-lost", "renamed-lost")),
            old_names[-1],
        }
        before = len(site.stream())
        site.republish()
        site.wait_for_group("second", second)
        told = certificates("second")
        print(f"republished: {len(told)} certificates, posted: {len(posted)}, and {len(old_names)} under old usernames")
        assert told == posted
        # One for each name that the LMS knows: the consumer has published nothing itself.
        assert len(site.stream()) - before == len(site.certificates("credentials")) - len(old_names)

        # Everything once more, late and in the wrong order.
        with connect(site.bus_url) as client:
            for _id, entry in reversed(site.stream()[begun:]):
                client.xadd(site.stream_key, entry)
        site.wait_for_group("second", second)
        assert certificates("second") == posted


def test_credentials_must_not_publish_what_it_consumes(site, story):
    site.set_up(credentials=False, lms=True, consumer=False)
    with connect(site.bus_url) as client:
        client.xgroup_create(site.stream_key, "loop", id="$", mkstream=True)
    before = len(site.stream())
    with site.second_credentials("loop", publishing=True) as process:
        story.award("one")
        wait_for(lambda: len(site.stream()) > before + 20, "answers to one event, and to the answers", alive=[process])
    site.wait_for_tasks()
    sources = [entry[b"source"].decode() for _id, entry in site.stream()[before:]]
    assert (sources[0], set(sources[1:])) == (LMS, {CREDENTIALS})
