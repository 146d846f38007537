"""
Properties of ``programs.events`` and of the repair's input: whatever the emitter sends survives the event bus, and
whatever Credentials answers, the command counts it and keeps personal data to itself.

The tests are here because the platform does not have hypothesis.
"""

import io
import json
import logging
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, ClassVar
from uuid import UUID

import requests
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils.timezone import now
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from opaque_keys.edx.keys import CourseKey
from openedx_events.event_bus.avro.deserializer import deserialize_bytes_to_event_data
from openedx_events.event_bus.avro.serializer import serialize_event_data_to_bytes

from common.djangoapps.student.models import UserProfile
from common.djangoapps.student.tests.factories import UserFactory
from lms.djangoapps.certificates.models import GeneratedCertificate
from openedx.core.djangoapps.programs import events
from openedx.core.djangoapps.programs.management.commands import republish_program_certificate_events as command
from openedx.core.djangoapps.programs.tests import test_republish_program_certificate_events as tests
from openedx.core.djangoapps.programs.tests.test_events import EventsTestCase
from openedx.core.djangoapps.programs.tests.test_republish import RepublishTestCase

RUNS = [CourseKey.from_string(run) for run in (tests.RUN, tests.OTHER_RUN)]
# In every name, username and e-mail address of a learner, and nowhere else.
PRIVATE = "PRIVATE"
USERNAMES = [f"{PRIVATE}-1", f"{PRIVATE}-2"]

STATUSES = st.sampled_from(sorted(events.EVENTS))
ZONES = st.timezones() | st.just(timezone(timedelta(hours=14))) | st.just(timezone(-timedelta(hours=12)))
# All that a database can hold: no lone surrogates, which are not UTF-8. Half of them are such as often break things.
CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from(
    "\0\x1b\r\n\x85\u2028\u200d\u202e\u0627\u05d0\ufeff\uffff\u0301\U0001f469\U0010ffff{}%\"'\\"
)


def forms_of(uuid: UUID) -> st.SearchStrategy[Any]:
    """Write a uuid in all the ways that a caller may."""
    return st.sampled_from([uuid, str(uuid), str(uuid).upper(), uuid.hex, uuid.urn, f"{{{uuid}}}", uuid.int])


class EmitterProperties(TestCase, EventsTestCase):
    """The emitter with learners, programs, times and answers of all kinds."""

    def rename(self, username: str, email: str, name: str) -> User:
        """Give the learner other names, and read it from the database as a task does."""
        self.events.clear()
        User.objects.filter(pk=self.user.pk).update(username=username, email=email)
        UserProfile.objects.filter(user_id=self.user.pk).update(name=name)
        return User.objects.select_related("profile").get(pk=self.user.pk)

    def assert_not_sent(self, emit: Callable[..., bool], *args: object) -> None:
        """Check that a call logs one line without personal data, and sends nothing."""
        learner = self.rename(PRIVATE, f"{PRIVATE}@example.com", PRIVATE)
        with self.assertLogs(events.__name__, logging.DEBUG) as logs:
            assert emit(learner, "1b0b0000-0000-4000-8000-000000000001", *args) is False
        assert not self.events
        assert len(logs.output) == 1
        assert PRIVATE not in logs.output[0]

    @given(
        status=STATUSES,
        username=st.text(CHARACTERS, min_size=1, max_size=150),
        email=st.text(CHARACTERS, max_size=254),
        name=st.text(CHARACTERS, max_size=255),
        program_uuid=st.uuids().flatmap(forms_of),
        time=st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES),
    )
    @example("awarded", "learner", "", "\U0001f393" * 255, 0, datetime(2026, 11, 25, tzinfo=UTC))
    @example("revoked", "learner", "", "\u202eecalevoL adA\u202c \u0622\u062f\u0627", "", datetime(1, 1, 3, tzinfo=UTC))
    def test_what_is_sent_is_received(
        self, status: str, username: str, email: str, name: str, program_uuid: Any, time: datetime
    ) -> None:
        learner = self.rename(username, email, name)

        with self.assertNumQueries(0):
            assert events.emit_program_certificate(learner, program_uuid, status, time) is True

        [(sent_by, metadata, certificate)] = self.events
        event_data = {"program_certificate": certificate}
        sent = serialize_event_data_to_bytes(event_data, sent_by)
        received = deserialize_bytes_to_event_data(sent, sent_by)
        assert sent_by is events.EVENTS[status]
        assert received == event_data
        assert type(metadata).from_json(metadata.to_json()) == metadata
        # In UTC: a time that a zone has twice is not equal to any time of another zone.
        assert (metadata.time, metadata.time.utcoffset()) == (time.astimezone(UTC), timedelta(0))
        # What was received is what went in.
        certificate = received["program_certificate"]
        pii = certificate.user.pii
        assert (pii.username, pii.email, pii.name) == (username, email, name)
        assert (certificate.user.id, certificate.user.is_active) == (learner.id, True)
        assert (certificate.program.uuid, certificate.status) == (str(program_uuid), status)
        assert (certificate.program.title, certificate.program.program_type) == ("", "")
        assert (certificate.uuid, certificate.url) == ("", "")

    @given(status=STATUSES, time=st.datetimes() | st.integers() | st.text() | st.dates() | st.just(datetime.min))
    def test_an_invalid_time_is_logged_and_not_raised(self, status: str, time: object) -> None:
        self.assert_not_sent(events.emit_program_certificate, status, time)

    @given(
        emit=st.sampled_from([events.emit_program_certificate_awarded, events.emit_program_certificate_revoked]),
        response=st.none()
        | st.dictionaries(st.text(), st.integers())
        | st.builds(SimpleNamespace, status_code=st.integers().filter(lambda code: code != 201) | st.text())
        | st.builds(SimpleNamespace, status_code=st.just(201), elapsed=st.none() | st.floats() | st.text()),
    )
    def test_anything_but_a_201_is_logged_and_not_raised(self, emit: Callable[..., bool], response: object) -> None:
        self.assert_not_sent(emit, response)


class CommandTestCase(TestCase, RepublishTestCase):
    """Runs the command on a site with two learners."""

    learners: ClassVar[dict[str, User]]

    @classmethod
    def setUpTestData(cls) -> None:
        joined = datetime(2020, 1, 1, tzinfo=UTC)
        for name in USERNAMES:
            UserFactory(username=name, email=f"{name}@e.com", profile__name=PRIVATE, date_joined=joined)
        cls.learners = {user.username: user for user in User.objects.select_related("profile")}
        GeneratedCertificate.objects.bulk_create(  # without signals
            GeneratedCertificate(user=user, course_id=run) for user in cls.learners.values() for run in RUNS
        )

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        self.enterContext(override_settings(EVENT_BUS_PRODUCER_CONFIG=tests.configure(*tests.BOTH)))
        self.patch(f"{command.__name__}.get_producer")
        self.patch(f"{command.__name__}.close_old_connections")  # in the test's transaction
        self.patch(f"{command.__name__}.get_programs", return_value=tests.PROGRAMS.values())

    def run_command(self, *options: str) -> tuple[CommandError | None, str]:
        """Run the command; return the error and the output."""
        self.events.clear()
        output, error = io.StringIO(), None
        try:
            call_command(tests.COMMAND, *options, stdout=output)
        except CommandError as exc:
            error = exc
        return error, output.getvalue()


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(PRIVATE)
JSON = st.recursive(SCALARS, lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(), some, max_size=3))


@st.composite
def spoiled(draw: st.DrawFn, **document: st.SearchStrategy) -> object:
    """Make an object that is mostly sound; else a field is missing, added or changed, or it is not an object."""
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
    username=st.sampled_from(USERNAMES[:1] * 8 + [USERNAMES[0].lower(), USERNAMES[1], f"{PRIVATE}\ud800"]),
    status=st.sampled_from(["awarded", "revoked"] * 4 + ["AWARDED"]),
    uuid=st.uuids().map(str) | st.just(f"{PRIVATE}@example.com"),
    credential=spoiled(
        type=st.just("program"),
        program_uuid=st.uuids().flatmap(lambda uuid: st.sampled_from([str(uuid)] * 8 + [uuid.hex, uuid.urn, uuid.int])),
    ),
    created=TIMES,
)
PAGES = spoiled(next=st.sampled_from([None, None, None, "", "?page=2", 7]), results=st.lists(RECORDS, max_size=4))
FOUND = st.fixed_dictionaries({"body": PAGES.map(json.dumps).map(str.encode)})
ANSWERS = st.one_of(
    FOUND,
    FOUND,
    st.fixed_dictionaries(
        {
            "status": st.sampled_from([201, 301, 400, 401, 403, 404, 429, 500, 503]),
            "headers": st.fixed_dictionaries({"Retry-After": st.integers(0).map(str) | st.just("never")}),
            "body": st.text().map(str.encode),
        }
    ),
    st.fixed_dictionaries({"body": st.binary(max_size=20)}),
    st.just({"body": requests.ConnectionError(f"https://credentials/?username={PRIVATE}")}),
)


class CommandProperties(CommandTestCase):
    """The command between its users and an unreliable Credentials."""

    # argparse of Python 3.11 drops "--", whatever the option.
    @given(
        text=st.one_of(
            st.text(), st.from_regex(r"\A[0-9eE+.:TZ-]+\Z"), st.from_regex(r"\A[0-9]{1,12}[mhds]\Z"), TIMES
        ).filter(lambda text: text != "--")
    )
    @example("0001-01-01T00:00+14:00")
    @example("9999-12-31T23:59-14:00")
    @example("999999999d")
    @example("9999999999999d")
    def test_a_start_is_refused_or_a_time_of_the_past(self, text: str) -> None:
        parser = command.Command().create_parser("manage.py", tests.COMMAND)
        try:
            start = parser.parse_args([f"--start-date={text}"]).start_date
        except CommandError:
            return
        assert start <= now()
        assert start.utcoffset() == timedelta(0)

    @given(answers=st.lists(ANSWERS, min_size=1, max_size=4))
    @example([{"body": b"{}"}])
    @example([{"body": b"[" * 100_000}])
    def test_whatever_credentials_answers(self, answers: list[dict]) -> None:
        self.api.answers = list(answers)  # the last one repeats
        self.logged.clear()
        with self.assertLogs(events.__name__.rpartition(".")[0], logging.DEBUG) as logs:
            logging.getLogger(events.__name__).debug("assertLogs needs a line")
            error, output = self.run_command("--usernames", USERNAMES[0])

        counts = dict(pair.split("=") for pair in output.split())
        learners, awarded, revoked, skipped, failed, bus_errors = map(int, counts.values())
        assert (learners, skipped, bus_errors) == (1, 0, 0)
        # If a later page cannot be read, the pages before it are published, and the learner counts as failed.
        sent = len(self.events)
        assert sent == awarded + revoked or (failed and sent > awarded + revoked)
        assert {certificate.user.pii.username for _signal, _metadata, certificate in self.events} <= {USERNAMES[0]}
        assert (error is None) == (awarded + revoked > 0 and not failed)
        assert PRIVATE not in f"{error}{output}{self.logged}{logs.output}"
