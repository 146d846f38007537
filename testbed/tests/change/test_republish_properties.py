"""
The guarantee of the events, as a property: after one complete run of ``republish_program_certificate_events`` whose
events arrived, a consumer that keeps the event with the latest time has what Credentials has. Without losses and
without changes in Credentials itself, the consumer has it without a run, in whatever order the events arrive.

A small world is played on a clock of its own: tasks ask Credentials, Credentials stores and answers at once or late,
events arrive, come late, come twice or are lost, and the command runs now and then. The emitter, the command and its
task are real; Credentials, the bus and the clocks are played.

The tests are here rather than beside the change's other tests because the platform does not have hypothesis.
"""

import io
import json
import logging
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock
from uuid import UUID

import requests
import responses
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils.timezone import now
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from opaque_keys.edx.locator import CourseLocator
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

from common.djangoapps.student.tests.factories import UserFactory
from lms.djangoapps.certificates.models import GeneratedCertificate
from openedx.core.djangoapps.credentials.tests.mixins import CredentialsApiConfigMixin
from openedx.core.djangoapps.credentials.utils import get_credentials_api_base_url
from openedx.core.djangoapps.programs.events import emit_program_certificate_awarded, emit_program_certificate_revoked
from openedx.core.djangoapps.programs.management.commands.republish_program_certificate_events import Command

COMMAND = "republish_program_certificate_events"
PROGRAMS_APP = "openedx.core.djangoapps.programs"
COMMAND_MODULE = f"{PROGRAMS_APP}.management.commands.{COMMAND}"
REPUBLISH_MODULE = f"{PROGRAMS_APP}.republish"
SETTINGS = settings(max_examples=100, deadline=None, print_blob=True)
EMITTERS = {"awarded": emit_program_certificate_awarded, "revoked": emit_program_certificate_revoked}
OTHER = {"awarded": "revoked", "revoked": "awarded"}
SIGNALS = (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED)
BOTH_ENABLED = {each.event_type: {"topic": {"enabled": True, "event_key_field": "x"}} for each in SIGNALS}
PROGRAMS = ["1b0b0000-0000-4000-8000-000000000001", "1b0b0000-0000-4000-8000-000000000002"]
RUNS = [CourseLocator("edX", "DemoX", str(number)) for number in range(2)]
HOUR = timedelta(hours=1)
NOTHING = timedelta(0)
# In every name, username and e-mail address here, and nowhere else.
PRIVATE = "PRIVATE"


class Event(NamedTuple):
    """What an event says: when, of which learner's certificate of which program, and its status."""

    time: datetime
    key: tuple[int, str]
    status: str


class RepublishTestCase(CredentialsApiConfigMixin, TestCase):
    """Runs the command, and keeps the events that are sent."""

    @classmethod
    def setUpTestData(cls):
        UserFactory(username=django_settings.CREDENTIALS_SERVICE_USERNAME)
        cls.learners = [
            UserFactory(
                username=f"{PRIVATE}-{number}",
                email=f"{PRIVATE}-{number}@example.com",
                profile__name=PRIVATE,
                date_joined=datetime(2020, 1, 1, tzinfo=UTC),
            )
            for number in (1, 2)
        ]
        GeneratedCertificate.objects.bulk_create(  # without signals
            GeneratedCertificate(user=user, course_id=run) for user in cls.learners for run in RUNS
        )

    def setUp(self):
        super().setUp()
        self.create_credentials_config()
        self.url = f"{get_credentials_api_base_url().rstrip('/')}/credentials/"
        self.addCleanup(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        patches = ExitStack()
        self.addCleanup(patches.close)
        patches.enter_context(override_settings(EVENT_BUS_PRODUCER_CONFIG=BOTH_ENABLED))
        patches.enter_context(mock.patch(f"{COMMAND_MODULE}.get_producer"))
        patches.enter_context(mock.patch(f"{COMMAND_MODULE}.close_old_connections"))  # in the test's transaction
        patches.enter_context(mock.patch("urllib3.util.retry.time.sleep"))
        program = {"courses": [{"course_runs": [{"key": str(run)} for run in RUNS]}]}
        patches.enter_context(mock.patch(f"{COMMAND_MODULE}.get_programs", return_value=[program]))
        self.events = []
        for each in SIGNALS:
            each.connect(self.receive)
            self.addCleanup(each.disconnect, self.receive)

    def receive(self, program_certificate, metadata, **kwargs):
        """Keep an event."""
        key = (program_certificate.user.id, program_certificate.program.uuid)
        self.events.append(Event(metadata.time, key, program_certificate.status))

    def run_command(self, answer, *options):
        """
        Run the command.

        Args:
            answer (callable): what Credentials does with a request.
            options (str): arguments of the command.

        Returns:
            tuple: the error or None, and the output.
        """
        output, error = io.StringIO(), None
        self.events.clear()
        with responses.RequestsMock(assert_all_requests_are_fired=False) as api:
            api.add_callback(responses.GET, self.url, answer)
            try:
                call_command(COMMAND, *options, stdout=output)
            except CommandError as exc:
                error = exc
        return error, output.getvalue()


@dataclass
class Request:
    """A task's request to Credentials."""

    key: tuple[int, str]
    status: str
    began: datetime
    stored: bool = False


class World:
    """
    Credentials, a bus, a consumer, and the clocks of all.

    Args:
        case (RepublishTestCase): sends the events.
        credentials_ahead (timedelta): how far Credentials' clock is ahead of the LMS's.
        worker_ahead (timedelta): how far the workers' clocks are ahead of the host on which the command runs.
        page_size (int): of Credentials' lists.
    """

    def __init__(self, case, credentials_ahead=NOTHING, worker_ahead=NOTHING, page_size=20):
        self.case, self.page_size = case, page_size
        self.credentials_ahead, self.worker_ahead = credentials_ahead, worker_ahead
        self.now = datetime(2026, 11, 25, 12, tzinfo=UTC)
        self.records = {}  # (user id, program) -> status
        self.requests = []  # those that are not answered yet
        self.known = {}  # (user id, program) -> the event that the consumer keeps

    def tick(self, time=timedelta(microseconds=1)):
        """Let time pass, and return the new one. No two things happen at once."""
        self.now += time
        return self.now

    # Tasks

    def ask(self, key, status=None):
        """Have a task ask for the other state than the one that Credentials has, and return its request."""
        status = status or OTHER[self.records.get(key, "revoked")]
        self.requests.append(Request(key, status, self.tick()))
        return self.requests[-1]

    def store(self, request):
        """Have Credentials do what a request says."""
        self.tick()
        if not request.stored:
            self.records[request.key], request.stored = request.status, True

    def answer(self, request):
        """Have Credentials answer a request, and return the live event."""
        self.store(request)
        self.requests.remove(request)
        response = SimpleNamespace(status_code=201, elapsed=self.tick() - request.began)
        user_id, program = request.key
        [user] = [user for user in self.case.learners if user.id == user_id]
        self.case.events.clear()
        with mock.patch(f"{PROGRAMS_APP}.events.now", return_value=self.now + self.worker_ahead):
            assert EMITTERS[request.status](user, program, response)
        return self.case.events[0]

    def change(self, key, status=None):
        """Have a task change a certificate at once, and return the live event."""
        return self.answer(self.ask(key, status))

    # The command

    def list(self, request):
        """Answer a request for a page of a learner's certificates."""
        names = {user.id: user.username for user in self.case.learners}
        records = [
            {
                "username": names[user_id],
                "uuid": str(UUID(int=number)),
                "credential": {"program_uuid": program},
                "status": status,
                "created": (self.now + self.credentials_ahead).isoformat(),
            }
            for number, ((user_id, program), status) in enumerate(self.records.items())
            if names[user_id] == request.params["username"]
        ]
        end = int(request.params["page"]) * self.page_size
        more = "?page=" if end < len(records) else None
        return 200, {}, json.dumps({"next": more, "results": records[end - self.page_size : end]})

    def republish(self, *options):
        """Run the command, and return its events."""
        with (
            mock.patch(f"{REPUBLISH_MODULE}.now", side_effect=self.tick),
            mock.patch(f"{COMMAND_MODULE}.now", side_effect=self.tick),
        ):
            error, _output = self.case.run_command(self.list, *(options or ["--all"]))
        assert (error is None) == bool(self.records or options)
        return list(self.case.events)

    # The consumer

    def deliver(self, *events):
        """Have the consumer receive events: it keeps the latest, and of two with the same time the last."""
        for received in events:
            kept = self.known.get(received.key)
            if kept is None or received.time >= kept.time:
                self.known[received.key] = received

    def right(self):
        """bool: whether the consumer knows each certificate as Credentials has it."""
        return {key: kept.status for key, kept in self.known.items()} == self.records


KEYS = st.tuples(st.integers(0, 1), st.sampled_from(PROGRAMS))
PAUSES = st.sampled_from([NOTHING, timedelta(microseconds=1), timedelta(seconds=1)]) | st.timedeltas(NOTHING, HOUR)
PLACES = st.integers(0, 99)
LIVE_STEPS = st.one_of(
    st.tuples(st.just("asks"), PAUSES, KEYS),
    st.tuples(st.just("is stored"), PAUSES, PLACES),
    st.tuples(st.just("is answered"), PAUSES, PLACES),
)
STEPS = st.lists(
    st.one_of(
        LIVE_STEPS,
        st.tuples(st.just("in Credentials"), PAUSES, KEYS),
        st.tuples(st.just("run"), PAUSES),
    ),
    max_size=15,
)
FATES = st.sampled_from(["arrives", "late", "lost"])
OFFSETS = st.sampled_from([-HOUR, NOTHING, HOUR]) | st.timedeltas(-HOUR, HOUR)


class GuaranteeTests(RepublishTestCase):
    """What a consumer knows that keeps, for each learner and program, the event with the latest time."""

    def play(self, world, steps):
        """
        Play some steps.

        Yields:
            list[Event]: the events of each step.
        """
        ids = [user.id for user in self.learners]
        for kind, pause, *details in steps:
            world.tick(pause)
            if kind == "run":
                yield world.republish()
            elif kind in ("asks", "in Credentials"):
                [(place, program)] = details
                key = ids[place], program
                if kind == "in Credentials":
                    if key in world.records:  # Credentials cannot change what it does not have.
                        world.records[key] = OTHER[world.records[key]]
                # A task asks for a change of what it has read. See the limits below for two requests at once.
                elif not any(request.key == key and not request.stored for request in world.requests):
                    world.ask(key)
            elif world.requests:
                request = world.requests[details[0] % len(world.requests)]
                if kind == "is stored":
                    world.store(request)
                else:
                    yield [world.answer(request)]

    @settings(SETTINGS, max_examples=200)
    @given(steps=st.lists(LIVE_STEPS, max_size=20), data=st.data())
    def test_live_events_need_no_run(self, steps, data):
        world = World(self)
        sent = sum(self.play(world, steps), [])
        event(f"{len(world.requests)} answered in the end")
        for request in data.draw(st.permutations(world.requests), "answers"):
            sent.append(world.answer(request))

        world.deliver(*data.draw(st.permutations(sent), "order"))

        assert world.right()

    @settings(SETTINGS, max_examples=200)
    @given(
        steps=STEPS,
        credentials_ahead=OFFSETS,
        worker_behind=st.timedeltas(NOTHING, HOUR) | st.just(NOTHING),
        page_size=st.integers(1, 3),
        data=st.data(),
    )
    def test_one_run_brings_a_consumer_to_the_truth(self, steps, credentials_ahead, worker_behind, page_size, data):
        world = World(self, credentials_ahead, -worker_behind, page_size)
        late, sent = [], []
        for events in self.play(world, steps):
            sent += events
            fate = data.draw(FATES, "fate")
            if fate == "arrives":
                world.deliver(*events)
            elif fate == "late":
                late += events
        event(f"consumer was {'right' if world.right() else 'wrong'} before the run")
        for request in world.requests:
            world.store(request)

        republished = world.republish()
        # What is answered late, what was under way, and what comes again may come before, between and after the
        # events of the run.
        others = late + [world.answer(request) for request in list(world.requests)]
        others += data.draw(st.lists(st.sampled_from(sent)), "repeats") if sent else []
        world.deliver(*data.draw(st.permutations(republished + others), "order"))

        assert world.right()

    # The limits: where the order can still fail, until the next run. The decision record names them.

    def certificate(self):
        """Return whose certificate of which program the tests below are about."""
        return self.learners[0].id, PROGRAMS[0]

    def assert_wrong_until_the_next_run(self, world):
        """Check that a consumer is wrong, and right after a run."""
        assert not world.right()
        world.deliver(*world.republish())
        assert world.right()

    def test_a_run_that_asks_while_a_request_is_in_progress(self):
        world = World(self)
        world.deliver(world.change(self.certificate()))
        request = world.ask(self.certificate())
        world.deliver(*world.republish())
        world.deliver(world.answer(request))

        self.assert_wrong_until_the_next_run(world)

    def test_a_task_that_reads_from_a_cache_while_a_request_is_in_progress(self):
        """With a ``cache_ttl`` above 0, an award task may not see yet that the certificate was awarded."""
        world = World(self)
        world.deliver(world.change(self.certificate()))
        request = world.ask(self.certificate())
        world.deliver(world.change(self.certificate(), "awarded"))
        world.deliver(world.answer(request))

        self.assert_wrong_until_the_next_run(world)

    def test_a_request_that_is_stored_after_a_later_one(self):
        """A request that timed out, or the second of two award tasks that read at once."""
        for answered in (False, True):
            with self.subTest(answered=answered):
                world = World(self)
                first, second = world.ask(self.certificate()), world.ask(self.certificate())
                world.deliver(world.answer(second))
                world.deliver(world.change(self.certificate()))
                world.store(first)
                world.deliver(*[world.answer(first)] if answered else [])

                self.assert_wrong_until_the_next_run(world)

    def test_a_clock_that_is_further_ahead_than_the_next_request(self):
        """Then the run has to be that much later."""
        world = World(self)
        world.worker_ahead = HOUR
        world.deliver(world.change(self.certificate()))
        world.worker_ahead = NOTHING
        world.deliver(world.change(self.certificate()))
        world.deliver(*world.republish())
        assert not world.right()
        world.tick(HOUR)

        self.assert_wrong_until_the_next_run(world)

    def test_what_was_deleted_in_credentials_is_not_taken_back(self):
        world = World(self)
        key, other = self.certificate(), (self.learners[1].id, PROGRAMS[0])
        for each in (key, other):
            world.deliver(world.change(each))
        del world.records[key]

        world.deliver(*world.republish())

        assert world.known[key].status == "awarded"


class HourlyTests(RepublishTestCase):
    """What a consumer knows if the command runs every hour, whatever else happens to the events."""

    WINDOW = 4 * HOUR
    # Between the change of a course certificate and the request that follows from it: Celery's retries.
    LATEST = timedelta(minutes=66)

    @settings(SETTINGS, max_examples=30)
    @given(
        changes=st.lists(
            st.tuples(
                st.timedeltas(NOTHING, 3 * HOUR),
                KEYS,
                st.sampled_from(RUNS),
                st.timedeltas(NOTHING, LATEST) | st.just(NOTHING) | st.just(LATEST),
            ),
            max_size=6,
        ),
        bus_is_up=st.lists(st.booleans(), min_size=8, max_size=8),
    )
    def test_what_is_lost_comes_with_a_run_of_the_next_hours(self, changes, bus_is_up):
        world = World(self)
        begin, ids = world.now, [user.id for user in self.learners]
        GeneratedCertificate.objects.update(modified_date=begin - 24 * HOUR)
        todo = []
        for ago, (place, program), course, late in changes:
            key = ids[place], program
            todo.append((begin + ago, "change", key, course))
            todo.append((begin + ago + late, "request", key, begin + ago))
        # A quarter past each hour.
        todo += [(begin + HOUR * hour + HOUR / 4, "run", bus_is_up[hour], None) for hour in range(8)]
        owed = {}  # key -> when the course certificate changed that its last request follows
        for moment, kind, what, detail in sorted(todo, key=lambda step: step[:2]):
            world.now = max(world.now, moment)
            if kind == "change":
                certificates = GeneratedCertificate.objects.filter(user=what[0], course_id=detail)
                certificates.update(modified_date=world.now)
            elif kind == "request":
                world.change(what)  # its event is lost
                owed[what] = detail
            else:
                events = world.republish("--start-date", "4h")
                if what:
                    world.deliver(*events)
                    found = {key for key, changed in owed.items() if world.now - changed < self.WINDOW}
                    assert all(world.known[key].status == world.records[key] for key in found)
                    owed = {key: changed for key, changed in owed.items() if key not in found}
        event(f"{len(owed)} certificates are still owed")
        assert all(world.known[key].status == status for key, status in world.records.items() if key not in owed)

    def test_an_outage_that_is_longer_than_the_window_needs_a_run_from_its_start(self):
        world = World(self)
        GeneratedCertificate.objects.update(modified_date=world.now)
        world.change((self.learners[0].id, PROGRAMS[0]))  # its event is lost

        world.tick(self.WINDOW)
        world.deliver(*world.republish("--start-date", "4h"))
        assert not world.right()

        world.deliver(*world.republish("--start-date", "5h"))
        assert world.right()


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(PRIVATE)
JSON = st.recursive(SCALARS, lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(), some, max_size=3))


@st.composite
def spoiled(draw, **document):
    """
    Make an object that is mostly sound; else a field is missing, added or changed, or it is not an object.

    Args:
        draw (callable): draws from a strategy.
        **document (SearchStrategy): the object's fields.

    Returns:
        object: what JSON can hold.
    """
    fields = {name: draw(strategy) for name, strategy in document.items()}
    change = draw(st.sampled_from(["none"] * 12 + ["drop", "set", "replace"]))
    if change == "replace":
        return draw(JSON)
    if change == "drop":
        del fields[draw(st.sampled_from(sorted(fields)))]
    if change == "set":
        fields[draw(st.sampled_from(sorted(fields)) | st.text())] = draw(JSON)
    return fields


TIMES = st.one_of(
    st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    st.sampled_from(["2026-11-23T04:41:16Z", "2026-11-23T04:41:16", "2026-11-23", "0001-01-01T00:00:00+14:00", "now"]),
)
RECORDS = spoiled(
    username=st.sampled_from([f"{PRIVATE}-1"] * 8 + [f"{PRIVATE}-1".lower(), f"{PRIVATE}-2", f"{PRIVATE}\ud800"]),
    status=st.sampled_from(["awarded", "revoked"] * 4 + ["AWARDED"]),
    uuid=st.uuids().map(str) | st.just(f"{PRIVATE}@example.com"),
    credential=spoiled(
        type=st.just("program"),
        program_uuid=st.uuids().flatmap(lambda uuid: st.sampled_from([str(uuid)] * 8 + [uuid.hex, uuid.urn, uuid.int])),
    ),
    created=TIMES,
)
PAGES = spoiled(next=st.sampled_from([None, None, None, "", "?page=2", 7]), results=st.lists(RECORDS, max_size=4))
ANSWERS = st.one_of(
    st.tuples(st.just(200), st.just({}), PAGES.map(json.dumps)),
    st.tuples(st.just(200), st.just({}), PAGES.map(json.dumps)),
    st.tuples(
        st.sampled_from([201, 301, 400, 401, 403, 404, 429, 500, 503]),
        st.fixed_dictionaries({"Retry-After": st.integers(0).map(str) | st.just("never")}),
        st.text(),
    ),
    st.tuples(st.just(200), st.just({}), st.binary(max_size=20)),
    st.just(requests.ConnectionError(f"https://credentials/?username={PRIVATE}")),
)


class RepublishProperties(RepublishTestCase):
    """The command between its users and an unreliable Credentials."""

    @SETTINGS
    # argparse of Python 3.11 drops "--", whatever the option.
    @given(
        text=st.text().filter(lambda text: text != "--")
        | st.from_regex(r"\A[0-9eE+.:TZ-]+\Z")
        | st.from_regex(r"\A[0-9]{1,12}[mhds]\Z")
        | TIMES
    )
    @example("0001-01-01T00:00+14:00")
    @example("9999-12-31T23:59-14:00")
    @example("999999999d")
    @example("9999999999999d")
    def test_a_start_is_refused_or_a_time_of_the_past(self, text):
        parser = Command().create_parser("manage.py", COMMAND)
        try:
            start = parser.parse_args([f"--start-date={text}"]).start_date
        except CommandError:
            event("refused")
        else:
            assert start <= now()
            assert start.utcoffset() == NOTHING

    @settings(SETTINGS, max_examples=200)
    @given(prepared=st.lists(ANSWERS, min_size=1, max_size=4))
    @example([(200, {}, "{}")])
    @example([(200, {}, "[" * 100_000)])
    def test_whatever_credentials_answers(self, prepared):
        last, answers = prepared[-1], iter(prepared)
        log = io.StringIO()
        handler = logging.StreamHandler(log)
        logger = logging.getLogger(PROGRAMS_APP)
        logger.addHandler(handler)
        try:
            error, output = self.run_command(lambda request: next(answers, last), "--usernames", f"{PRIVATE}-1")
        finally:
            logger.removeHandler(handler)

        counts = dict(pair.split("=") for pair in output.split())
        learners, awarded, revoked, skipped, failed, bus_errors = map(int, counts.values())
        event(f"certificates published: {'some' if self.events else 'none'}")
        event(f"failed: {'some' if failed else 'none'}")
        assert (learners, skipped, bus_errors) == (1, 0, 0)
        # If a later page cannot be read, the pages before it are published, and the learner counts as failed.
        assert len(self.events) == awarded + revoked or (failed and len(self.events) > awarded + revoked)
        assert {each.key[0] for each in self.events} <= {self.learners[0].id}
        assert (error is None) == (awarded + revoked > 0 and not failed)
        assert PRIVATE not in f"{error}{output}{log.getvalue()}"
