"""
Tests of the events about program certificates: the emitter, and its callers in ``programs.tasks``.
"""

import io
import logging
import sys
from datetime import UTC, datetime
from unittest import mock
from urllib.parse import parse_qsl
from uuid import UUID

import ddt
import requests
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import TestCase, override_settings
from django.utils.functional import SimpleLazyObject
from openedx_events.learning.data import ProgramCertificateData, ProgramData, UserData, UserPersonalData
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

from common.djangoapps.student.tests.factories import UserFactory
from openedx.core.djangoapps.credentials.tests.mixins import CredentialsApiConfigMixin
from openedx.core.djangoapps.programs import tasks
from openedx.core.djangoapps.programs.events import emit_program_certificate_awarded, emit_program_certificate_revoked
from openedx.core.djangolib.testing.utils import skip_unless_lms

User = get_user_model()

EVENTS_MODULE = "openedx.core.djangoapps.programs.events"
TASKS_MODULE = "openedx.core.djangoapps.programs.tasks"
PROGRAM_UUID = "1b0b6f3c-5a0e-4f3a-9d7e-0c2f6a5d0001"
OTHER_PROGRAM_UUID = "1b0b6f3c-5a0e-4f3a-9d7e-0c2f6a5d0002"
COURSE_KEY = "course-v1:edX+DemoX+2026"

AWARDED = (emit_program_certificate_awarded, PROGRAM_CERTIFICATE_AWARDED, "awarded")
REVOKED = (emit_program_certificate_revoked, PROGRAM_CERTIFICATE_REVOKED, "revoked")


def broken_event(signal, error):
    """
    Have the emitter fail to send an event: its name for the signal is replaced, as others may send the same.
    """
    name = f"PROGRAM_CERTIFICATE_{signal.event_type.split('.')[-2].upper()}"
    broken = mock.Mock(event_type=signal.event_type, **{"send_event.side_effect": error})
    return mock.patch(f"{EVENTS_MODULE}.{name}", new=broken)


class EventsTestCase(TestCase):
    """Collects the events that are sent."""

    def setUp(self):
        super().setUp()
        self.events = []
        for signal in (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED):
            self.connect(signal, self._collect)
        self.user = UserFactory(username="learner", email="learner@example.com")
        self.user.profile.name = "Ada Lovelace"
        self.user.profile.save()

    def connect(self, signal, receiver):
        """Connect a receiver until the end of the test."""
        signal.enable()  # a test that isolates itself from events may have left it disabled
        signal.connect(receiver)
        self.addCleanup(signal.disconnect, receiver)

    def _collect(self, signal, metadata, program_certificate, **kwargs):
        self.events.append((signal, metadata, program_certificate))

    @property
    def sent(self):
        """list[tuple]: signal and program of each event, in the order they were sent."""
        return [(signal, certificate.program.uuid) for signal, _metadata, certificate in self.events]


@skip_unless_lms
@ddt.ddt
class EmitterTests(EventsTestCase):
    """What the two functions send, and how they fail."""

    @ddt.data(AWARDED, REVOKED)
    @ddt.unpack
    def test_event(self, emit, signal, status):
        time = datetime(2026, 11, 23, 12, 30, 15, 250, tzinfo=UTC)

        assert emit(self.user, PROGRAM_UUID, time=time) is True

        assert len(self.events) == 1
        sent_signal, metadata, certificate = self.events[0]
        assert sent_signal is signal
        assert metadata.event_type == f"org.openedx.learning.program.certificate.{status}.v1"
        assert metadata.time == time
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

    @ddt.data(emit_program_certificate_awarded, emit_program_certificate_revoked)
    def test_time_defaults_to_now(self, emit):
        before = datetime.now(UTC)

        emit(self.user, PROGRAM_UUID)

        assert before <= self.events[0][1].time <= datetime.now(UTC)

    @ddt.data((PROGRAM_UUID, PROGRAM_UUID), (UUID(PROGRAM_UUID), PROGRAM_UUID), (7, "7"))
    @ddt.unpack
    def test_program_uuid_is_text(self, program_uuid, expected):
        emit_program_certificate_awarded(self.user, program_uuid)

        assert self.events[0][2].program.uuid == expected

    def test_learner_without_profile(self):
        self.user.profile.delete()
        user = User.objects.get(id=self.user.id)

        assert emit_program_certificate_awarded(user, PROGRAM_UUID) is True

        assert self.events[0][2].user.pii.name == ""

    def test_profile_without_a_name(self):
        # The column takes no None, but a profile that is not saved yet, or a receiver's, may have one.
        self.user.profile.name = None

        assert emit_program_certificate_awarded(self.user, PROGRAM_UUID) is True

        assert self.events[0][2].user.pii.name == ""

    @ddt.data(True, False)
    def test_queries_do_not_grow_with_programs(self, has_profile):
        if not has_profile:
            self.user.profile.delete()
        user = User.objects.get(id=self.user.id)

        with self.assertNumQueries(1):
            for number in range(5):
                emit_program_certificate_awarded(user, number)

    @ddt.data(*[(emit, signal, debug) for emit, signal, _status in (AWARDED, REVOKED) for debug in (True, False)])
    @ddt.unpack
    def test_receiver_that_raises(self, emit, signal, debug):
        # With DEBUG, send_event() raises what a receiver raised; without, it returns it.
        def fail(**kwargs):
            raise ValueError("learner@example.com")

        self.connect(signal, fail)
        with override_settings(DEBUG=debug):
            self.assert_reports_failure(emit, signal, "ValueError")

    @ddt.data(AWARDED[:2], REVOKED[:2])
    @ddt.unpack
    def test_send_event_that_raises(self, emit, signal):
        with broken_event(signal, ConnectionError("learner is unreachable")):
            self.assert_reports_failure(emit, signal, "ConnectionError")

    def assert_reports_failure(self, emit, signal, *errors):
        """Each failure is returned, recorded and logged in one line, without personal data."""
        recorded = []
        with mock.patch(f"{EVENTS_MODULE}.record_exception", side_effect=lambda: recorded.append(sys.exc_info()[0])):
            with self.assertLogs(EVENTS_MODULE) as logs:
                assert emit(self.user, PROGRAM_UUID) is False

        assert [error.__name__ for error in recorded] == list(errors)
        assert {(record.levelname, record.exc_info) for record in logs.records} == {("ERROR", None)}
        assert [record.getMessage() for record in logs.records] == [
            f"Failed to send {signal.event_type} for user {self.user.id} in program {PROGRAM_UUID}: {error}"
            for error in errors
        ]

    def test_every_receiver_that_raises_is_reported(self):
        def fail(**kwargs):
            raise ValueError("learner@example.com")

        def fail_too(**kwargs):
            raise KeyError("learner@example.com")

        self.connect(PROGRAM_CERTIFICATE_AWARDED, fail)
        self.connect(PROGRAM_CERTIFICATE_AWARDED, fail_too)

        self.assert_reports_failure(*AWARDED[:2], "ValueError", "KeyError")

    @ddt.data("record_exception", "LOGGER")
    def test_monitoring_or_logging_that_raises_does_not_stop_the_other(self, broken):
        names = {"record_exception", "LOGGER"}
        patched = {name: mock.patch(f"{EVENTS_MODULE}.{name}") for name in names}
        mocks = {name: patcher.start() for name, patcher in patched.items()}
        for patcher in patched.values():
            self.addCleanup(patcher.stop)
        works = {"record_exception": mocks["record_exception"], "LOGGER": mocks["LOGGER"].error}
        works[broken].side_effect = RuntimeError

        with broken_event(PROGRAM_CERTIFICATE_AWARDED, ConnectionError):
            assert emit_program_certificate_awarded(self.user, PROGRAM_UUID) is False

        assert {name: work.call_count for name, work in works.items()} == {"record_exception": 1, "LOGGER": 1}

    @ddt.data(lambda: None, lambda: SimpleLazyObject(lambda: User.objects.get(id=0)), object)
    def test_a_user_that_fails_leaves_a_line_with_the_program(self, make_user):
        with self.assertLogs(EVENTS_MODULE) as logs:
            assert emit_program_certificate_awarded(make_user(), PROGRAM_UUID) is False

        assert len(logs.records) == 1
        assert f"for user unknown in program {PROGRAM_UUID}: " in logs.records[0].getMessage()
        assert not self.events

    # What Credentials answered

    @ddt.data(*[(emit, signal, answer) for emit, signal, _status in (AWARDED, REVOKED) for answer in (201, 200, 301)])
    @ddt.unpack
    def test_only_what_credentials_has_accepted_is_announced(self, emit, signal, answer):
        response = requests.Response()
        response.status_code = answer
        response._content = b'{"username": "learner"}'  # pylint: disable=protected-access
        with self.assertLogs(EVENTS_MODULE) as logs:
            logging.getLogger(EVENTS_MODULE).info("Starting")
            assert emit(self.user, PROGRAM_UUID, response) is (answer == 201)

        assert self.sent == ([(signal, PROGRAM_UUID)] if answer == 201 else [])
        errors = [record.getMessage() for record in logs.records if record.levelname == "ERROR"]
        assert len(errors) == (answer != 201)
        for error in errors:
            assert error.startswith(
                f"Not sending {signal.event_type} for user {self.user.id} in program {PROGRAM_UUID}: "
            )
            assert f"the answer was {answer} instead of 201" in error
            assert "CREDENTIALS_INTERNAL_SERVICE_URL" in error

    @ddt.data(None, mock.MagicMock(), {"username": "learner@example.com"}, mock.Mock(spec=[]))
    def test_an_answer_that_is_no_response_is_no_acceptance(self, response):
        with self.assertLogs(EVENTS_MODULE) as logs:
            assert emit_program_certificate_awarded(self.user, PROGRAM_UUID, response) is False

        assert not self.events
        assert len(logs.records) == 1
        assert "learner" not in logs.records[0].getMessage()

    def test_a_helper_that_returns_nothing_does_not_go_unnoticed(self):
        with self.assertLogs(EVENTS_MODULE) as logs:
            emit_program_certificate_awarded(self.user, PROGRAM_UUID, None)

        assert "the answer was NoneType instead of 201" in logs.records[0].getMessage()


@skip_unless_lms
class ConfigurationTests(TestCase):
    """How the events go to the event bus once they are enabled."""

    def test_topic_and_key(self):
        for signal in (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED):
            [(topic, entry)] = settings.EVENT_BUS_PRODUCER_CONFIG[signal.event_type].items()
            assert topic == "learning-program-certificate-lifecycle"
            assert entry["event_key_field"] == "program_certificate.program.uuid"


class TaskTestCase(CredentialsApiConfigMixin, EventsTestCase):
    """Runs a task with a Credentials service that is played by mocks."""

    def setUp(self):
        super().setUp()
        self.create_credentials_config()
        UserFactory(username=settings.CREDENTIALS_SERVICE_USERNAME)
        self.patch("get_credentials_api_client")

    def patch(self, name, **kwargs):
        """Patch a name of ``programs.tasks`` until the end of the test."""
        patcher = mock.patch(f"{TASKS_MODULE}.{name}", **kwargs)
        self.addCleanup(patcher.stop)
        return patcher.start()

    def patch_helper(self, name):
        """Patch a helper of ``programs.tasks``: Credentials accepts all."""
        return self.patch(name, return_value=mock.Mock(status_code=201))

    @staticmethod
    def http_error(status_code):
        """Return what ``raise_for_status()`` raises."""
        return requests.HTTPError(response=mock.Mock(status_code=status_code))


@skip_unless_lms
@ddt.ddt
class AwardTaskTests(TaskTestCase):
    """``award_program_certificates`` announces what it has awarded, and nothing else."""

    def setUp(self):
        super().setUp()
        self.patch("get_completed_programs", return_value={PROGRAM_UUID: None, OTHER_PROGRAM_UUID: None})
        self.certified = self.patch("get_certified_programs", return_value=[])
        self.award = self.patch_helper("award_program_certificate")

    def run_task(self):
        """Run the task and its retries."""
        tasks.award_program_certificates.delay(self.user.username).get()

    def test_one_event_a_program(self):
        self.run_task()

        assert self.sent == [
            (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_UUID),
            (PROGRAM_CERTIFICATE_AWARDED, OTHER_PROGRAM_UUID),
        ]

    def test_no_event_for_what_is_certified_already(self):
        self.certified.return_value = [PROGRAM_UUID]

        self.run_task()

        assert self.sent == [(PROGRAM_CERTIFICATE_AWARDED, OTHER_PROGRAM_UUID)]

    @ddt.data(400, 403, 404, 500, 503)
    def test_no_event_for_what_credentials_refused(self, status_code):
        self.award.side_effect = [self.http_error(status_code), mock.DEFAULT]

        self.run_task()

        assert self.sent == [(PROGRAM_CERTIFICATE_AWARDED, OTHER_PROGRAM_UUID)]

    def test_event_after_the_retry_that_succeeds(self):
        self.certified.side_effect = [[], [PROGRAM_UUID]]
        self.award.side_effect = [mock.DEFAULT, ConnectionError("boom"), mock.DEFAULT]

        self.run_task()

        assert self.sent == [
            (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_UUID),
            (PROGRAM_CERTIFICATE_AWARDED, OTHER_PROGRAM_UUID),
        ]

    @ddt.data(True, False)
    def test_broken_event_fails_no_award(self, debug):
        with broken_event(PROGRAM_CERTIFICATE_AWARDED, ConnectionError):
            with override_settings(DEBUG=debug):
                self.run_task()

        assert [call.args[2] for call in self.award.call_args_list] == [PROGRAM_UUID, OTHER_PROGRAM_UUID]
        assert not self.events

    def test_learner_without_profile(self):
        self.user.profile.delete()

        self.run_task()

        assert self.award.call_count == len(self.events) == 2


@skip_unless_lms
@ddt.ddt
class RevokeTaskTests(TaskTestCase):
    """``revoke_program_certificates`` announces what it has revoked, and nothing else."""

    def setUp(self):
        super().setUp()
        programs = [{"uuid": OTHER_PROGRAM_UUID}, {"uuid": PROGRAM_UUID}]
        self.patch("get_inverted_programs", return_value={COURSE_KEY: programs})
        self.certified = self.patch("get_certified_programs", return_value=[PROGRAM_UUID, OTHER_PROGRAM_UUID])
        self.revoke = self.patch_helper("revoke_program_certificate")

    def run_task(self):
        """Run the task and its retries."""
        tasks.revoke_program_certificates.delay(self.user.username, COURSE_KEY).get()

    def test_one_event_a_program(self):
        self.run_task()

        assert self.sent == [
            (PROGRAM_CERTIFICATE_REVOKED, OTHER_PROGRAM_UUID),
            (PROGRAM_CERTIFICATE_REVOKED, PROGRAM_UUID),
        ]

    def test_no_event_for_what_was_not_certified(self):
        self.certified.return_value = [PROGRAM_UUID]

        self.run_task()

        assert self.sent == [(PROGRAM_CERTIFICATE_REVOKED, PROGRAM_UUID)]

    @ddt.data(400, 403, 404, 500, 503)
    def test_no_event_for_what_credentials_refused(self, status_code):
        self.revoke.side_effect = [self.http_error(status_code), mock.DEFAULT]

        self.run_task()

        assert self.sent == [(PROGRAM_CERTIFICATE_REVOKED, PROGRAM_UUID)]

    def test_event_after_the_retry_that_succeeds(self):
        self.certified.side_effect = [[PROGRAM_UUID, OTHER_PROGRAM_UUID], [PROGRAM_UUID]]
        self.revoke.side_effect = [mock.DEFAULT, ConnectionError("boom"), mock.DEFAULT]

        self.run_task()

        assert self.sent == [
            (PROGRAM_CERTIFICATE_REVOKED, OTHER_PROGRAM_UUID),
            (PROGRAM_CERTIFICATE_REVOKED, PROGRAM_UUID),
        ]

    @ddt.data(True, False)
    def test_broken_event_fails_no_revocation(self, debug):
        with broken_event(PROGRAM_CERTIFICATE_REVOKED, ConnectionError):
            with override_settings(DEBUG=debug):
                self.run_task()

        assert [call.args[2] for call in self.revoke.call_args_list] == [OTHER_PROGRAM_UUID, PROGRAM_UUID]
        assert not self.events


@skip_unless_lms
@ddt.ddt
class AcceptanceTests(TaskTestCase):
    """The tasks with the helpers as they are, and a Credentials that may be hidden behind something else."""

    def setUp(self):
        super().setUp()
        self.api = FakeCredentials("https://credentials.example.com/api/v2/credentials/")
        session = requests.Session()
        session.get_adapter = lambda url: self.api
        self.patch("get_credentials_api_client", return_value=session)
        self.patch("get_credentials_api_base_url", return_value="https://credentials.example.com/api/v2/")
        self.patch("get_completed_programs", return_value={PROGRAM_UUID: None})
        self.patch("get_inverted_programs", return_value={COURSE_KEY: [{"uuid": PROGRAM_UUID}]})
        self.certified = self.patch("get_certified_programs")

    def run_task(self, status):
        """Run the task that leads to a status."""
        if status == "awarded":
            self.certified.return_value = []
            tasks.award_program_certificates.delay(self.user.username).get()
        else:
            self.certified.return_value = [PROGRAM_UUID]
            tasks.revoke_program_certificates.delay(self.user.username, COURSE_KEY).get()

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
    def test_event_only_if_credentials_has_accepted(self, signal, status, answers, methods, announced):
        for answer in answers:
            self.api.answers.append({"status": answer, "headers": {"Location": self.api.url}, "body": b"{}"})

        with self.assertLogs(TASKS_MODULE) as logs:
            self.run_task(status)

        assert self.api.methods == methods
        assert self.sent == ([(signal, PROGRAM_UUID)] if announced else [])
        # As ever, the task itself takes either for a success.
        assert f"{status.capitalize()} program certificate" in "".join(logs.output)


class FakeCredentials(requests.adapters.BaseAdapter):
    """Answers every request with what a test has prepared; the last answer repeats."""

    def __init__(self, url):
        super().__init__()
        self.url = url
        self.answers = []
        self.methods = []
        self.queries = []
        self.timeouts = []

    def send(self, request, stream=False, timeout=None, verify=True, cert=None, proxies=None):
        """Answer."""
        url, _, query = request.url.partition("?")
        assert url == self.url
        self.methods.append(request.method)
        self.queries.append(dict(parse_qsl(query)))
        self.timeouts.append(timeout)
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

    def close(self):
        """There is nothing to close."""
