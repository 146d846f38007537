"""Tests of the task ``republish_program_certificates``, and of the module that it uses."""

import json
import threading
import time
from unittest import mock

import ddt
import pytest
import requests
from celery.exceptions import MaxRetriesExceededError
from django.conf import settings
from django.db import connection
from django.test import SimpleTestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

from common.djangoapps.student.tests.factories import UserFactory
from openedx.core.djangoapps.credentials.tests.mixins import CredentialsApiConfigMixin
from openedx.core.djangoapps.programs import republish
from openedx.core.djangoapps.programs.tasks import republish_program_certificates
from openedx.core.djangoapps.programs.tests.test_events import PROGRAM_UUID, EventsTestCase, FakeCredentials
from openedx.core.djangolib.testing.utils import skip_unless_lms

MODULE = republish.__name__
BASE_URL = "https://credentials.example.com/api/v2/"
CERTIFICATE_UUID = "5c1d7c1e-0000-4000-8000-000000000001"


def record(program_uuid: str = PROGRAM_UUID, **fields: object) -> dict[str, object]:
    """Return a certificate as Credentials lists it."""
    return {
        "username": "learner",
        "uuid": CERTIFICATE_UUID,
        "status": "awarded",
        "created": "2026-11-01T12:00:00.123456Z",
        "credential": {"type": "program", "program_uuid": program_uuid},
    } | fields


def page(*records: object, following: str | None = None) -> dict[str, bytes]:
    """Return the answer of Credentials with a page of certificates."""
    return {"body": json.dumps({"results": records, "next": following}).encode()}


class RepublishTestCase(CredentialsApiConfigMixin, EventsTestCase):
    """Has a Credentials that answers what a test has prepared."""

    def setUp(self) -> None:
        super().setUp()
        self.create_credentials_config()
        self.service_user = UserFactory.create(username=settings.CREDENTIALS_SERVICE_USERNAME)
        self.api = FakeCredentials(f"{BASE_URL}credentials/")
        self.get_client = self.patch(f"{MODULE}.get_credentials_api_client", return_value=self.api.session)
        self.patch(f"{MODULE}.get_credentials_api_base_url", return_value=BASE_URL)
        self.logged = self.patch(f"{MODULE}.LOGGER").mock_calls


@skip_unless_lms
@ddt.ddt
class RepublishTests(RepublishTestCase):
    """What is read from Credentials, and what is made of it."""

    def republish(self, *answers: object, named: bool = False) -> list[int]:
        """Republish the certificates of the learner, and return the counts."""
        self.api.answers = list(answers)
        return list(republish.republish(self.user, named).values())

    def test_all_pages_are_published_with_the_time_before_the_first_request(self) -> None:
        revoked_uuid, last_uuid = PROGRAM_UUID.replace("1b", "2b"), PROGRAM_UUID.replace("1b", "3b")
        answers = [page(record(), record(revoked_uuid, status="revoked"), following="?page=2"), page(record(last_uuid))]
        times = [now()]

        def answer(query: dict[str, str]) -> dict[str, bytes]:
            times.append(now())
            return answers[int(query["page"]) - 1]

        assert self.republish(answer) == [2, 1, 0, 0]

        assert self.sent == [
            (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_UUID),
            (PROGRAM_CERTIFICATE_REVOKED, revoked_uuid),
            (PROGRAM_CERTIFICATE_AWARDED, last_uuid),
        ]
        [event_time] = {metadata.time for _signal, metadata, _certificate in self.events}
        assert times[0] <= event_time <= times[1] < times[2]
        assert {certificate.user.pii.name for _signal, _metadata, certificate in self.events} == {"Ada Lovelace"}
        # Of all statuses, visible or not, as the service user.
        query = {"type": "program", "username": "learner"}
        assert self.api.queries == [query | {"page": "1"}, query | {"page": "2"}]
        self.get_client.assert_called_once_with(self.service_user)
        assert not self.logged

    def test_a_request_is_bounded(self) -> None:
        self.republish(page(record()))
        assert self.api.timeouts == [(5, 30)]
        for scheme in ("http://", "https://"):
            retries = self.api.session.adapters[scheme].max_retries
            retried = [status for status in range(200, 600) if retries.is_retry("GET", status, has_retry_after=True)]
            assert retried == [429, 502, 503, 504]
            assert not retries.is_retry("POST", 503)
            assert (retries.total, retries.connect, retries.read) == (2, 0, 0)
            assert retries.respect_retry_after_header is False
            assert 0 < retries.backoff_factor < 1

    @ddt.data(b"{}", b"[]", b"null", b'{"results": null}', b'{"results": {}}')
    def test_an_answer_that_is_not_a_page_is_an_error(self, body: bytes) -> None:
        self.api.answers = [page(record(), following="?page=2"), {"body": body}]
        with pytest.raises(ValueError, match="is not a page of certificates"):
            republish.republish(self.user, False)
        assert len(self.events) == 1

    @ddt.data(500, 404, requests.ConnectionError(), requests.Timeout(), b"<html></html>")
    def test_an_error_of_credentials_is_raised(self, answer: object) -> None:
        self.api.answers = [{"status": answer, "body": b""} if isinstance(answer, int) else {"body": answer}]
        with pytest.raises(requests.RequestException):
            republish.republish(self.user, False)
        assert len(self.api.queries) == 1

    def test_case_of_the_username(self) -> None:
        # Credentials keeps the case that a username had when the learner was first seen.
        self.user.username = "Learner"
        assert self.republish(page(record(username="leaRNer"))) == [1, 0, 0, 0]

    @ddt.data(record(username="else"), record(username=None), {})
    def test_no_page_with_certificates_of_others_is_published(self, other: dict[str, object]) -> None:
        # A gateway that drops the query string leads to everybody's certificates.
        answers = [page(record(), following="?page=2"), page(record(), other, following="?page=3"), page(record())]
        assert self.republish(*answers) == [1, 0, 0, 1]
        line = f"Credentials answered with certificates of other learners than user {self.user.id}"
        assert self.logged == [mock.call.error(line)]
        assert len(self.api.queries) == 2
        assert len(self.events) == 1

    @ddt.data(None, "?page=2")
    def test_at_most_ten_pages(self, following: str | None) -> None:
        answers = [page(record(), following="?page=2")] * 9 + [page(record(), following=following)]
        assert self.republish(*answers) == [10, 0, 0, 1 if following else 0]
        line = f"Credentials has more than 10 pages of program certificates of user {self.user.id}"
        assert self.logged == ([mock.call.error(line)] if following else [])
        assert [query["page"] for query in self.api.queries] == [str(number) for number in range(1, 11)]

    @ddt.data(
        (None, "TypeError"),
        ("learner@example.com", "TypeError"),
        (record(uuid=None), "TypeError"),
        (record(uuid="learner@example.com"), "ValueError"),
        (record(uuid=7), "AttributeError"),
        (record(credential=None), "TypeError"),
        (record(credential={}), "KeyError"),
        (record(program_uuid="learner@example.com"), "ValueError"),
        (record(status="expired"), "KeyError"),
        (record(status=[]), "TypeError"),
        (record(created=None), "TypeError"),
        (record(created="yesterday"), "ValueError"),
        (record(created="2026-11-01T12:00:00"), "TypeError"),
        ({"username": "learner"}, "KeyError"),
    )
    @ddt.unpack
    def test_a_malformed_record_is_failed_and_the_others_continue(self, malformed: object, error: str) -> None:
        assert self.republish(page(malformed, record())) == [1, 0, 0, 1]
        assert self.logged == [mock.call.error(f"A program certificate of user {self.user.id} is malformed ({error})")]

    @ddt.data(
        ("2026-11-02T12:00:00Z", False, [1, 0, 0, 0]),
        ("2026-11-02T11:59:59Z", False, [0, 0, 1, 0]),
        ("2026-11-02T11:59:59Z", True, [1, 0, 0, 0]),
    )
    @ddt.unpack
    def test_a_certificate_that_is_older_than_the_account(self, created: str, named: bool, expected: list[int]) -> None:
        self.user.date_joined = now().replace(2026, 11, 3, 12, 0, 0, 0)
        assert self.republish(page(record(created=created)), named=named) == expected
        line = f"Program certificate {CERTIFICATE_UUID} is older than the account of user {self.user.id}: skipped"
        assert self.logged == [mock.call.warning(line)] * expected[2]

    def test_a_receiver_that_fails(self) -> None:
        self.connect_failing(PROGRAM_CERTIFICATE_REVOKED, ValueError)
        with override_settings(DEBUG=False):
            assert self.republish(page(record(status="revoked"), record())) == [1, 0, 0, 1]
        assert len(self.api.queries) == 1
        assert len(self.events) == 2


@skip_unless_lms
@ddt.ddt
class WaitTests(SimpleTestCase):
    """The wait for a producer that sends in the background."""

    @ddt.data(
        (mock.Mock(spec_set=[]), None, True),
        (mock.Mock(prepare_for_shutdown=lambda: time.sleep(0.2)), None, True),
        (mock.Mock(**{"prepare_for_shutdown.side_effect": ValueError}), None, False),
        (mock.Mock(prepare_for_shutdown=threading.Event().wait), 0.01, False),
    )
    @ddt.unpack
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_wait(self, producer: mock.Mock, seconds: float | None, sent: bool) -> None:
        with mock.patch(f"{MODULE}.get_producer", return_value=producer), mock.patch(f"{MODULE}.LOGGER") as logger:
            assert republish.wait_for_producer(seconds) is sent
        assert logger.error.call_count == (0 if sent else 1)


@skip_unless_lms
class TaskTests(RepublishTestCase):
    """The task, called directly and by Celery."""

    def setUp(self) -> None:
        super().setUp()
        self.wait = self.patch(f"{MODULE}.wait_for_producer")
        self.failure, self.success = {"status": 503, "body": b""}, page(record())

    def test_called_directly_it_runs_once(self) -> None:
        self.api.answers = [self.failure, self.success]
        with pytest.raises(requests.HTTPError):
            republish_program_certificates(self.user.id, False)
        with CaptureQueriesContext(connection) as queries:
            counts = republish_program_certificates(self.user.id, False)
        assert counts == {"awarded": 1, "revoked": 0, "skipped": 0, "failed": 0}
        assert len(self.api.queries) == 2
        # The command waits once, at its end.
        self.wait.assert_not_called()
        # The profile is read with the learner.
        assert len([query for query in queries.captured_queries if "auth_userprofile" in query["sql"]]) == 1

    def test_celery_runs_it_until_it_succeeds(self) -> None:
        self.api.answers = [self.failure, {"body": b"{}"}, self.success]
        counts = republish_program_certificates.delay(self.user.id).get()
        assert counts == {"awarded": 1, "revoked": 0, "skipped": 0, "failed": 0}
        assert len(self.api.queries) == 3
        self.wait.assert_called_once_with(5)
        # The task of a worker that is lost runs again.
        assert republish_program_certificates.acks_late is True
        assert republish_program_certificates.reject_on_worker_lost is True

    def test_a_user_id_that_does_not_exist(self) -> None:
        with self.assertLogs("openedx.core.djangoapps.programs.tasks", "WARNING") as logs:
            assert not republish_program_certificates(0, False)
        assert "user id 0" in logs.output[0]
        assert not self.api.queries

    def test_credentials_disabled(self) -> None:
        self.create_credentials_config(enable_learner_issuance=False)
        with pytest.raises(MaxRetriesExceededError):
            republish_program_certificates(self.user.id, False)
        assert not self.api.queries
