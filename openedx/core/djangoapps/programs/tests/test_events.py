"""Tests of the events about program certificates: the emitter, and its callers in ``programs.tasks``."""

import io
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl
from uuid import UUID

import ddt
import pytest
import requests
from django.conf import settings
from django.contrib.auth.models import User  # pylint: disable=imported-auth-user
from django.db import connection
from django.test import TestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils.functional import SimpleLazyObject
from openedx_events.learning.data import ProgramCertificateData, ProgramData, UserData, UserPersonalData
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED
from openedx_events.tooling import OpenEdxPublicSignal

from common.djangoapps.student.tests.factories import UserFactory
from openedx.core.djangoapps.credentials.tests.mixins import CredentialsApiConfigMixin
from openedx.core.djangoapps.programs import events, tasks
from openedx.core.djangolib.testing.utils import skip_unless_lms

EVENTS_MODULE = "openedx.core.djangoapps.programs.events"
TASKS_MODULE = "openedx.core.djangoapps.programs.tasks"
PROGRAM_UUID = "1b0b6f3c-5a0e-4f3a-9d7e-0c2f6a5d0001"
OTHER_PROGRAM_UUID = "1b0b6f3c-5a0e-4f3a-9d7e-0c2f6a5d0002"
COURSE_KEY = "course-v1:edX+DemoX+2026"
TIME = datetime(2026, 11, 23, 12, 30, 15, 250, tzinfo=UTC)

AWARDED = (events.emit_program_certificate_awarded, PROGRAM_CERTIFICATE_AWARDED, "awarded")
REVOKED = (events.emit_program_certificate_revoked, PROGRAM_CERTIFICATE_REVOKED, "revoked")


def broken_event(status: str, error: type[BaseException] | BaseException) -> Any:
    """Have the emitter fail to send an event, and nobody else."""
    broken = mock.Mock(**{"send_event.side_effect": error})
    return mock.patch.dict(f"{EVENTS_MODULE}.EVENTS", {status: broken})


def accepted(elapsed: float = 0) -> requests.Response:
    """Make the response of a Credentials that has stored a change, after some seconds."""
    response = requests.Response()
    response.status_code, response.elapsed = 201, timedelta(seconds=elapsed)
    return response


class EventsTestCase(TestCase):
    """Collects the events that are sent."""

    def setUp(self) -> None:
        super().setUp()
        self.events: list[tuple] = []  # signal, metadata and data
        for signal in (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED):
            self.connect(signal, self._collect)
        self.user = UserFactory.create(username="learner", email="learner@example.com")
        self.user.profile.name = "Ada Lovelace"
        self.user.profile.save()

    def patch(self, name: str, **kwargs: Any) -> mock.Mock:
        """Patch a name until the end of the test."""
        return self.enterContext(mock.patch(name, **kwargs))

    def connect(self, signal: OpenEdxPublicSignal, receiver: Callable) -> None:
        """Connect a receiver until the end of the test."""
        signal.enable()  # a test that isolates itself from events may have left it disabled
        signal.connect(receiver)
        self.addCleanup(signal.disconnect, receiver)

    def connect_failing(self, signal: OpenEdxPublicSignal, error: type[Exception]) -> None:
        """Connect a receiver that fails."""

        def fail(**kwargs: object) -> None:
            raise error("learner@example.com")

        self.connect(signal, fail)

    def _collect(self, signal: Any, metadata: Any, program_certificate: Any, **kwargs: Any) -> None:
        self.events.append((signal, metadata, program_certificate))

    @property
    def sent(self) -> list[tuple[OpenEdxPublicSignal, str]]:
        """Signal and program of each event, in the order they were sent."""
        return [(signal, certificate.program.uuid) for signal, _metadata, certificate in self.events]


@skip_unless_lms
@ddt.ddt
class EmitterTests(EventsTestCase):
    """What the emitter sends, and how it fails."""

    @ddt.data(AWARDED, REVOKED)
    @ddt.unpack
    def test_event(self, emit: Callable[..., bool], signal: OpenEdxPublicSignal, status: str) -> None:
        before = datetime.now(UTC)
        assert emit(self.user, PROGRAM_UUID, accepted(elapsed=30)) is True
        after = datetime.now(UTC)
        # The same certificate, as it was read from Credentials.
        local_time = TIME.astimezone(timezone(timedelta(hours=5)))
        assert events.emit_program_certificate(self.user, PROGRAM_UUID, status, local_time) is True

        assert len(self.events) == 2
        request_time = self.events[0][1].time
        assert before <= request_time + timedelta(seconds=30) <= after
        assert self.events[1][1].time == TIME
        for sent_signal, metadata, certificate in self.events:
            assert sent_signal is signal
            assert metadata.event_type == f"org.openedx.learning.program.certificate.{status}.v1"
            assert metadata.time.tzinfo is UTC
            assert certificate == ProgramCertificateData(
                user=UserData(
                    pii=UserPersonalData(username="learner", email="learner@example.com", name="Ada Lovelace"),
                    id=self.user.id,
                    is_active=True,
                ),
                program=ProgramData(uuid=PROGRAM_UUID, title="", program_type=""),
                uuid="",
                status=status,
                url="",
            )

    @ddt.data((PROGRAM_UUID, PROGRAM_UUID), (UUID(PROGRAM_UUID), PROGRAM_UUID), (7, "7"))
    @ddt.unpack
    def test_program_uuid_is_text(self, program_uuid: Any, expected: str) -> None:
        events.emit_program_certificate(self.user, program_uuid, "awarded", TIME)

        assert self.events[0][2].program.uuid == expected

    def test_no_name_is_empty(self) -> None:
        # The column does not accept None, but a profile that is not saved may have it.
        self.user.profile.name = None

        assert events.emit_program_certificate(self.user, PROGRAM_UUID, "awarded", TIME) is True

        assert self.events[0][2].user.pii.name == ""

    @ddt.data(True, False)
    def test_no_query(self, has_profile: bool) -> None:
        if not has_profile:
            self.user.profile.delete()
        user = User.objects.select_related("profile").get(id=self.user.id)

        with self.assertNumQueries(0):
            assert events.emit_program_certificate(user, PROGRAM_UUID, "awarded", TIME) is True

        assert self.events[0][2].user.pii.name == ("Ada Lovelace" if has_profile else "")

    @ddt.data(*[(signal, status, debug) for _emit, signal, status in (AWARDED, REVOKED) for debug in (True, False)])
    @ddt.unpack
    def test_receivers_that_raise(self, signal: OpenEdxPublicSignal, status: str, debug: bool) -> None:
        self.connect_failing(signal, ValueError)
        self.connect_failing(signal, KeyError)
        # With DEBUG, send_event() raises what a receiver raised. Without, it returns it, and Django has logged it.
        with override_settings(DEBUG=debug):
            errors = ["ValueError"] if debug else ["ValueError", "KeyError"]
            self.assert_reports_failure(status, *errors, recorded=debug)

    @ddt.data("awarded", "revoked")
    def test_send_event_that_raises(self, status: str) -> None:
        with broken_event(status, ConnectionError("learner is unreachable")):
            self.assert_reports_failure(status, "ConnectionError", recorded=True)

    def assert_reports_failure(self, status: str, *errors: str, recorded: bool) -> None:
        """Each failure is logged in one line without personal data, and recorded unless Django has done so."""
        seen: list[type] = []
        self.patch(f"{EVENTS_MODULE}.record_exception", side_effect=lambda: seen.append(type(sys.exception())))
        with self.assertLogs(EVENTS_MODULE) as logs:
            assert events.emit_program_certificate(self.user, PROGRAM_UUID, status, TIME) is False

        assert [error.__name__ for error in seen] == (list(errors) if recorded else [])
        assert {(record.levelname, record.exc_info) for record in logs.records} == {("ERROR", None)}
        event_type = f"org.openedx.learning.program.certificate.{status}.v1"
        assert [record.getMessage() for record in logs.records] == [
            f"Failed to send {event_type} for user {self.user.id} in program {PROGRAM_UUID}: {error}"
            for error in errors
        ]

    @ddt.data("record_exception", "LOGGER")
    def test_monitoring_or_logging_that_raises_does_not_stop_the_other(self, broken: str) -> None:
        record, logger = self.patch(f"{EVENTS_MODULE}.record_exception"), self.patch(f"{EVENTS_MODULE}.LOGGER")
        works = {"record_exception": record, "LOGGER": logger.error}
        works[broken].side_effect = RuntimeError
        with broken_event("awarded", ConnectionError):
            assert events.emit_program_certificate_awarded(self.user, PROGRAM_UUID, accepted()) is False

        assert {name: work.call_count for name, work in works.items()} == {"record_exception": 1, "LOGGER": 1}

    @ddt.data(lambda: None, lambda: SimpleLazyObject(lambda: User.objects.get(id=0)), object)
    def test_a_user_that_fails_leaves_a_line_with_the_program(self, make_user: Callable[[], Any]) -> None:
        with self.assertLogs(EVENTS_MODULE) as logs:
            assert events.emit_program_certificate_awarded(make_user(), PROGRAM_UUID, accepted()) is False

        assert len(logs.records) == 1
        assert f"for user unknown in program {PROGRAM_UUID}: " in logs.records[0].getMessage()
        assert not self.events

    def test_a_program_that_fails_leaves_a_line_with_the_user(self) -> None:
        broken = mock.MagicMock(**{"__str__.side_effect": ValueError("learner@example.com")})
        with self.assertLogs(EVENTS_MODULE) as logs:
            assert events.emit_program_certificate_awarded(self.user, broken, accepted()) is False

        assert f"for user {self.user.id} in program unknown: ValueError" in logs.records[0].getMessage()

    @ddt.data((TIME.replace(tzinfo=None), "awarded", "ValueError"), (TIME, "unknown", "KeyError"))
    @ddt.unpack
    def test_arguments_that_are_invalid(self, time: datetime, status: str, error: str) -> None:
        with self.assertLogs(EVENTS_MODULE) as logs:
            assert events.emit_program_certificate(self.user, PROGRAM_UUID, status, time) is False

        assert logs.records[0].getMessage().endswith(f": {error}")
        assert not self.events

    def test_the_end_of_the_process_is_not_held_up(self) -> None:
        with broken_event("awarded", SystemExit), pytest.raises(SystemExit):
            events.emit_program_certificate_awarded(self.user, PROGRAM_UUID, accepted())

    @ddt.data(
        (200, "200 instead of 201"),
        (None, "NoneType instead of 201"),
        ({"username": "learner@example.com"}, "dict instead of 201"),
        (mock.MagicMock(), "instead of 201"),
        (mock.Mock(spec=[]), "Mock instead of 201"),
        # A mock that is accepted has no time that could be subtracted.
        (mock.Mock(status_code=201), "TypeError"),
        (mock.MagicMock(status_code=201), "TypeError"),
    )
    @ddt.unpack
    def test_what_credentials_has_not_accepted_is_not_published(self, response: Any, problem: str) -> None:
        if isinstance(response, int):
            status_code, response = response, accepted()
            response.status_code = status_code
        for emit, signal, _status in (AWARDED, REVOKED):
            with self.assertLogs(EVENTS_MODULE) as logs:
                assert emit(self.user, PROGRAM_UUID, response) is False

            [message] = [record.getMessage() for record in logs.records]
            assert f"{signal.event_type} for user {self.user.id} in program {PROGRAM_UUID}: " in message
            assert problem in message
            assert "learner" not in message
        assert not self.events


@skip_unless_lms
class ConfigurationTests(TestCase):
    """How the events go to the event bus once they are enabled."""

    def test_the_defaults(self) -> None:
        for signal in (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED):
            [(topic, entry)] = settings.EVENT_BUS_PRODUCER_CONFIG[signal.event_type].items()
            assert topic == "learning-program-certificate-lifecycle"
            assert entry == {"event_key_field": "program_certificate.program.uuid", "enabled": False}


class TaskTestCase(CredentialsApiConfigMixin, EventsTestCase):
    """Runs the tasks for a learner who has completed two programs, with a Credentials that mocks play."""

    def setUp(self) -> None:
        super().setUp()
        self.create_credentials_config()
        UserFactory(username=settings.CREDENTIALS_SERVICE_USERNAME)
        self.patch(f"{TASKS_MODULE}.get_credentials_api_client")
        self.patch(
            f"{TASKS_MODULE}.get_completed_programs", return_value={PROGRAM_UUID: None, OTHER_PROGRAM_UUID: None}
        )
        programs = [{"uuid": PROGRAM_UUID}, {"uuid": OTHER_PROGRAM_UUID}]
        self.patch(f"{TASKS_MODULE}.get_inverted_programs", return_value={COURSE_KEY: programs})
        self.certified = self.patch(f"{TASKS_MODULE}.get_certified_programs")

    def patch_helper(self, status: str) -> mock.Mock:
        """Patch the helper that leads to a status: Credentials accepts everything."""
        name = "award_program_certificate" if status == "awarded" else "revoke_program_certificate"
        return self.patch(f"{TASKS_MODULE}.{name}", return_value=accepted())

    def run_task(self, status: str, *done: list[str]) -> None:
        """Run the task that leads to a status, and its retries. Credentials has it already for some programs."""
        if status == "awarded":
            self.certified.side_effect = done or [[]]
            tasks.award_program_certificates.delay(self.user.username).get()
        else:
            both = {PROGRAM_UUID, OTHER_PROGRAM_UUID}
            self.certified.side_effect = [sorted(both - set(uuids)) for uuids in done or [[]]]
            tasks.revoke_program_certificates.delay(self.user.username, COURSE_KEY).get()


@skip_unless_lms
@ddt.ddt
class TaskTests(TaskTestCase):
    """The tasks publish what Credentials has accepted, and nothing else."""

    @ddt.data(*[(*case[1:], code) for case in (AWARDED, REVOKED) for code in (400, 403, 404, 500, 503)])
    @ddt.unpack
    def test_no_event_for_what_credentials_refused(self, signal: OpenEdxPublicSignal, status: str, code: int) -> None:
        helper = self.patch_helper(status)
        helper.side_effect = [requests.HTTPError(response=mock.Mock(status_code=code)), mock.DEFAULT]
        self.run_task(status)
        assert self.sent == [(signal, OTHER_PROGRAM_UUID)]

    @ddt.data(AWARDED[1:], REVOKED[1:])
    @ddt.unpack
    def test_event_after_the_retry_that_succeeds(self, signal: OpenEdxPublicSignal, status: str) -> None:
        self.patch_helper(status).side_effect = [mock.DEFAULT, ConnectionError("boom"), mock.DEFAULT]
        self.run_task(status, [], [PROGRAM_UUID])
        assert self.sent == [(signal, PROGRAM_UUID), (signal, OTHER_PROGRAM_UUID)]

    @ddt.data(*[(status, debug) for status in ("awarded", "revoked") for debug in (True, False)])
    @ddt.unpack
    def test_broken_event_repeats_no_request(self, status: str, debug: bool) -> None:
        helper = self.patch_helper(status)
        with broken_event(status, ConnectionError), override_settings(DEBUG=debug):
            self.run_task(status)

        assert [call.args[2] for call in helper.call_args_list] == [PROGRAM_UUID, OTHER_PROGRAM_UUID]
        assert not self.events

    @ddt.data(*[(status, has_profile) for status in ("awarded", "revoked") for has_profile in (True, False)])
    @ddt.unpack
    def test_events_need_no_query(self, status: str, has_profile: bool) -> None:
        if not has_profile:
            self.user.profile.delete()
        self.patch_helper(status)
        with CaptureQueriesContext(connection) as with_events:
            self.run_task(status)
        self.patch(f"{TASKS_MODULE}.emit_program_certificate_{status}")
        with CaptureQueriesContext(connection) as without_events:
            self.run_task(status)

        assert len(self.events) == 2
        assert len(with_events) == len(without_events)


@skip_unless_lms
@ddt.ddt
class AcceptanceTests(TaskTestCase):
    """The tasks with the helpers as they are, and a Credentials that may be hidden behind something else."""

    def setUp(self) -> None:
        super().setUp()
        self.api = FakeCredentials("https://credentials.example.com/api/v2/credentials/")
        self.patch(f"{TASKS_MODULE}.get_credentials_api_client", return_value=self.api.session)
        self.patch(
            f"{TASKS_MODULE}.get_credentials_api_base_url", return_value="https://credentials.example.com/api/v2/"
        )
        self.patch(f"{TASKS_MODULE}.get_completed_programs", return_value={PROGRAM_UUID: None})
        self.patch(f"{TASKS_MODULE}.get_inverted_programs", return_value={COURSE_KEY: [{"uuid": PROGRAM_UUID}]})

    @ddt.data(
        *[
            (signal, status, *case)
            for _emit, signal, status in (AWARDED, REVOKED)
            for case in (
                ([201], ["POST"], True),
                # What a redirect makes of the request: from http to https, say.
                ([301, 200], ["POST", "GET"], False),
                ([302, 200], ["POST", "GET"], False),
                ([307, 201], ["POST", "POST"], True),
                ([308, 201], ["POST", "POST"], True),
                # A gateway's own page: maintenance, or a login.
                ([200], ["POST"], False),
            )
        ]
    )
    @ddt.unpack
    def test_event_only_if_credentials_has_accepted(
        self, signal: OpenEdxPublicSignal, status: str, answers: list[int], methods: list[str], published: bool
    ) -> None:
        for answer in answers:
            self.api.answers.append({"status": answer, "headers": {"Location": self.api.url}, "body": b"{}"})

        with self.assertLogs(TASKS_MODULE) as logs:
            self.run_task(status)

        assert self.api.methods == methods
        assert self.sent == ([(signal, PROGRAM_UUID)] if published else [])
        # The task itself takes either for a success, as it always did.
        assert f"{status.capitalize()} program certificate" in "".join(logs.output)


class FakeCredentials(requests.adapters.BaseAdapter):
    """Answers every request of its session with what a test has prepared; the last answer repeats."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.session: Any = requests.Session()
        self.session.get_adapter = lambda url: self  # type: ignore[method-assign]
        self.url = url
        self.answers: list[Any] = []
        self.methods: list[str] = []
        self.queries: list[dict[str, str]] = []
        self.timeouts: list[object] = []

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """Answer."""
        url, _, query = request.url.partition("?")
        assert url == self.url
        self.methods.append(request.method)
        self.queries.append(dict(parse_qsl(query)))
        self.timeouts.append(kwargs["timeout"])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        answer = answer(self.queries[-1]) if callable(answer) else answer
        if isinstance(answer["body"], Exception):
            raise answer["body"]
        response = requests.Response()
        response.request, response.url = request, request.url
        response.status_code = answer.get("status", 200)
        response.headers.update(answer.get("headers", {}))
        response.raw = io.BytesIO(answer["body"])
        return response

    def close(self) -> None:
        """There is nothing to close."""
