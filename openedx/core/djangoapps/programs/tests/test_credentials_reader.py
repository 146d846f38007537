"""
Tests of what reads program certificates from Credentials.
"""

import json
import logging
from datetime import UTC, datetime
from unittest import mock

import ddt
import pytest
import requests
from django.conf import settings
from django.test import TestCase
from django.utils.http import http_date

from common.djangoapps.student.tests.factories import UserFactory
from openedx.core.djangoapps.credentials.tests.mixins import CredentialsApiConfigMixin
from openedx.core.djangoapps.programs import credentials_reader
from openedx.core.djangoapps.programs.credentials_reader import (
    CertificateReader,
    CredentialsError,
    ListError,
    parse_certificate,
)
from openedx.core.djangoapps.programs.tests.test_events import FakeCredentials
from openedx.core.djangolib.testing.utils import skip_unless_lms

READER = "openedx.core.djangoapps.programs.credentials_reader"
PROGRAM = "1b0b0000-0000-4000-8000-000000000001"
OTHER_PROGRAM = "1b0b0000-0000-4000-8000-000000000002"
CREDENTIAL = "583f360c-0000-4000-8000-000000000001"
OTHER_CREDENTIAL = "583f360c-0000-4000-8000-000000000002"
MODIFIED = "2026-11-23T04:41:16Z"
NOW = 1_795_408_876


def credential(username, program_uuid=PROGRAM, **fields):
    """
    Make a program credential, as the API returns it.
    """
    return {
        "username": username,
        "credential": {"type": "program", "credential_id": 1, "program_uuid": program_uuid},
        "status": "awarded",
        "uuid": CREDENTIAL,
        "attributes": [],
        "date_override": None,
        "created": "2026-11-01T00:00:00Z",
        "modified": MODIFIED,
        "certificate_url": "http://credentials/credentials/583f360c/",
        **fields,
    }


class ReaderTestCase(CredentialsApiConfigMixin, TestCase):
    """Plays Credentials, and keeps what is asked, waited for and logged."""

    def setUp(self):
        super().setUp()
        config = self.create_credentials_config()
        self.service_user = UserFactory(username=settings.CREDENTIALS_SERVICE_USERNAME)
        self.url = f"{config.internal_api_url.rstrip('/')}/credentials/"
        self.api = FakeCredentials(self.url)
        get_client = credentials_reader.get_credentials_api_client
        self.open_client = self.patch(f"{READER}.get_credentials_api_client")
        self.open_client.side_effect = lambda user: self.mount(get_client(user))
        # These are names in the module: other threads send requests and sleep, too.
        self.clock = self.patch(f"{READER}.time")
        self.sleep = self.clock.sleep
        self.logs = []
        self.pages = []

    def patch(self, target, **kwargs):
        """Patch until the test ends."""
        patcher = mock.patch(target, **kwargs)
        self.addCleanup(patcher.stop)
        return patcher.start()

    def mount(self, session):
        """Have a session lead to the played Credentials."""
        for scheme in ("http://", "https://"):
            session.mount(scheme, self.api)
        return session

    def open_clients_without_queries(self):
        """Have no token made for a client, which takes queries of the database."""
        self.open_client.side_effect = lambda user: self.mount(requests.Session())

    def serve(self, records, page_size=20):
        """Answer every request with the page of the records that it asks for. They may change meanwhile."""

        def answer(params):
            assert params["type"] == "program"
            assert "status" not in params
            assert "only_visible" not in params
            matching = [
                record
                for record in records
                if params.get("username") in (None, record["username"])
                and params.get("program_uuid") in (None, record["credential"]["program_uuid"])
            ]
            page = int(params["page"])
            start, end = (page - 1) * page_size, page * page_size
            if page > 1 and start >= len(matching):
                return {"status": 404, "body": b"{}"}
            link = f"{self.url}?page={page + 1}&type=program" if len(matching) > end else None
            body = {"count": len(matching), "next": link, "results": matching[start:end]}
            return {"body": json.dumps(body).encode()}

        self.api.answers.append(answer)

    def answer(self, *results, link=None, count=None, **kwargs):
        """Prepare one answer: a page with these results, unless ``body`` (text, bytes or exception) is given."""
        count = len(results) if count is None else count
        page = {"count": count, "next": link, "previous": None, "results": list(results)}
        body = kwargs.pop("body", json.dumps(page))
        self.api.answers.append({"body": body.encode() if isinstance(body, str) else body, **kwargs})

    def logged(self, level, module=READER):
        """Return the messages of a level."""
        prefix = f"{level}:{module}:"
        return [line.removeprefix(prefix) for line in self.logs if line.startswith(prefix)]

    @property
    def pauses(self):
        """The seconds of each pause."""
        return [call.args[0] for call in self.sleep.call_args_list]


@skip_unless_lms
@ddt.ddt
class ReadingTests(ReaderTestCase):
    """Which pages come, and how failures of the API are handled."""

    def read(self, delay=0, **query):
        """Read a list, and return its pages; also in ``self.pages``, if it cannot be read to the end."""
        self.pages = []
        with self.assertLogs(READER, logging.DEBUG) as logs:
            # assertLogs() fails if nothing is logged.
            logging.getLogger(READER).info("Starting")
            self.logs = logs.output
            for page in CertificateReader(self.service_user, delay).read(query):
                self.pages.append(page)
        return self.pages

    def read_failing(self, error, **query):
        """Read a list, which is to fail, and return the error's message."""
        with pytest.raises(CredentialsError) as raised:
            self.read(**query)
        assert raised.type is error
        return str(raised.value)

    def records(self, number):
        """Make some records that differ."""
        return [credential(f"learner{place}", uuid=f"583f360c-0000-4000-8000-{place:012}") for place in range(number)]

    def test_reads_all_pages(self):
        records = self.records(5)
        self.serve(records, page_size=2)

        pages = self.read(delay=1.5)

        assert [record for page in pages for record in page.records] == records
        assert [(page.number, page.read, page.count) for page in pages] == [(1, 2, 5), (2, 4, 5), (3, 5, 5)]
        assert self.pauses == [1.5, 1.5]

    def test_an_empty_list_has_one_page(self):
        self.answer()

        pages = self.read()

        assert [(page.number, page.read, page.count, page.records) for page in pages] == [(1, 0, 0, [])]

    def test_pauses_between_lists_too(self):
        self.answer()
        reader = CertificateReader(self.service_user, 3)

        for _ in range(3):
            assert len(list(reader.read({}))) == 1

        assert self.pauses == [3, 3]

    def test_asks_as_the_service_user(self):
        self.answer()

        self.read(username="learner")

        self.open_client.assert_called_once_with(self.service_user)
        assert self.api.queries == [{"type": "program", "username": "learner", "page": "1"}]
        # For a connection, and for an answer on it.
        assert self.api.timeouts == [(10, 60)]

    def test_a_page_says_when_the_request_that_was_answered_was_sent(self):
        moments = [datetime(2026, 11, 23, 12, minute, tzinfo=UTC) for minute in range(6)]
        asking = self.patch(f"{READER}.now", side_effect=moments)
        sent = []

        def answer(**options):
            self.api.answers.append(lambda params: sent.append(asking.call_count) or {"body": b"", **options})

        page = json.dumps({"count": 2, "next": "?page=2", "results": [credential("a")]}).encode()
        last = json.dumps({"count": 2, "next": None, "results": [credential("b")]}).encode()
        answer(status=503)
        answer(status=401)
        answer(status=429)
        answer(body=page)
        answer(body=requests.ConnectionError())
        answer(body=last)

        assert [page.asked for page in self.read()] == [moments[3], moments[5]]
        # Each moment was taken before its request was sent.
        assert sent == [1, 2, 3, 4, 5, 6]

    # Lists that move

    def test_a_list_that_shrinks_is_read_again(self):
        records = self.records(5)
        self.serve(records, page_size=2)
        reader = CertificateReader(self.service_user)
        pages = []
        with self.assertLogs(READER) as logs:
            for page in reader.read({}):
                pages.append(page)
                if len(pages) == 1:
                    del records[0]  # those behind it move up, one onto the page that was just read

        read = [[record["username"] for record in page.records] for page in pages]
        assert read[:2] == [["learner0", "learner1"], ["learner3", "learner4"]]
        assert read[2:] == [["learner1", "learner2"], ["learner3", "learner4"]]
        assert self.pauses == []
        assert logs.output == [
            f"WARNING:{READER}:The list moved while it was read (it had 5 records, then 4), at reading 1 of 3"
        ]

    def test_a_list_whose_next_page_has_gone_is_read_again(self):
        records = self.records(3)
        self.serve(records, page_size=2)
        reader = CertificateReader(self.service_user)
        pages = []
        with self.assertLogs(READER) as logs:
            for page in reader.read({}):
                pages.append(page)
                del records[2:]

        assert [page.count for page in pages] == [3, 2]
        assert "(page 2 has gone)" in logs.output[0]

    def test_a_list_with_less_than_it_says_is_read_again(self):
        self.answer(*self.records(2), count=3)
        self.answer(*self.records(3))

        assert [page.count for page in self.read()] == [3, 3]

        assert "(it has 3 records, 2 were read)" in self.logged("WARNING")[0]

    def test_a_list_that_grows_is_read_once(self):
        self.answer(*self.records(2), link="?page=2", count=3)
        self.answer(*self.records(2), count=4)

        assert [page.count for page in self.read()] == [3, 4]

    def test_a_list_that_never_stands_still_is_not_called_complete(self):
        self.answer(*self.records(2), count=3)

        message = self.read_failing(ListError)

        assert message == "it moved while it was read, 3 times: it has 3 records, 2 were read"
        assert len(self.api.queries) == len(self.pages) == len(self.logged("WARNING")) == 3

    @ddt.data(
        lambda page: {"count": 5, "results": [credential("learner")]},
        lambda page: {"count": 50, "results": []},
        lambda page: {"count": 20 * page + 1, "results": [credential("learner")] * 20},
    )
    def test_a_service_that_pages_for_ever_is_ended(self, make):
        def answer(params):
            page = int(params["page"])
            return {"body": json.dumps({"next": f"?page={page + 1}", **make(page)}).encode()}

        self.api.answers.append(answer)

        assert self.read_failing(ListError).endswith("records read, and there is no end to the pages")

        assert len(self.api.queries) < 100
        assert len(self.pages) == len(self.api.queries)

    def test_a_link_behind_the_last_record_is_an_error(self):
        self.answer(credential("learner"), link="?page=2")

        message = self.read_failing(ListError)

        assert message == "page 1: 1 of 1 records read, and there is no end to the pages"

    # Failures

    @ddt.data(
        ("7", [7]),
        ("0", [1]),
        ("-5", [1]),
        ("86400", [600]),
        ("9" * 5000, [60]),
        ("soon", [60]),
        (None, [60]),
        (http_date(NOW + 7), [7]),
        (http_date(NOW - 7), [1]),
        (http_date(NOW + 86400), [600]),
    )
    @ddt.unpack
    def test_waits_as_told_when_throttled(self, retry_after, pauses):
        self.clock.time.return_value = NOW
        self.answer(status=429, headers={} if retry_after is None else {"Retry-After": retry_after})
        self.answer()

        assert len(self.read()) == 1

        assert self.pauses == pauses

    @ddt.data(
        {"status": 500, "body": "<html>"},
        {"status": 503, "body": "{}"},
        {"body": requests.ConnectionError("https://credentials/?username=private")},
        {"body": requests.ReadTimeout("https://credentials/?username=private")},
        {"body": requests.exceptions.ChunkedEncodingError("private")},
        {"body": "<html>private"},
        {"body": b"\xff\xfe\xfa"},
        {"body": "[" * 100_000},
        {"body": "9" * 5000},
        {"body": '{"detail": "We are back soon, private"}'},
    )
    def test_retries_failures_that_may_pass(self, failure):
        for _ in range(5):
            self.answer(**failure)
        self.answer()

        assert len(self.read(username="private")) == 1

        assert self.pauses == [1, 2, 4, 8, 16]
        assert len(self.logged("WARNING")) == 5
        assert self.logged("WARNING")[-1].startswith("Failed to read page 1: ")
        assert self.logged("WARNING")[-1].endswith("; trying again in 16 s")
        assert "private" not in "".join(self.logs)

    def test_a_later_page_that_fails_is_asked_for_again_and_nothing_else_is(self):
        self.answer(credential("a"), link="?page=2", count=2)
        self.answer(status=503)
        self.answer(credential("b"), count=2)

        assert len(self.read()) == 2

        assert [query["page"] for query in self.api.queries] == ["1", "2", "2"]

    def test_gives_up_after_a_number_of_tries(self):
        self.answer(credential("private"), link=f"{self.url}?page=2", count=2)
        self.answer(body=requests.ConnectionError("https://credentials/?username=private"))

        message = self.read_failing(CredentialsError, username="private")

        assert message == "page 2: no usable answer (ConnectionError), 6 times"
        assert len(self.pages) == 1
        assert len(self.api.queries) == 7
        assert self.pauses == [1, 2, 4, 8, 16]
        assert "private" not in "".join(self.logs)

    def test_renews_the_token_when_it_has_expired(self):
        self.answer(status=401)
        self.answer()

        assert len(self.read()) == 1

        assert self.open_client.call_args_list == [mock.call(self.service_user)] * 2
        assert self.pauses == []

    def test_a_token_that_expires_late_is_renewed_all_the_same(self):
        for _ in range(5):
            self.answer(status=503)
        self.answer(status=401)
        self.answer()

        assert len(self.read()) == 1

    @ddt.data("MissingSchema", "InvalidSchema", "InvalidURL")
    def test_an_address_that_is_none_is_not_tried_again(self, error):
        self.answer(body=getattr(requests.exceptions, error)("https://credentials/?username=private"))

        assert self.read_failing(CredentialsError) == f"CREDENTIALS_INTERNAL_SERVICE_URL is no address ({error})"

        assert self.pauses == []

    @ddt.data(
        (400, ListError, ""),
        (414, ListError, ""),
        (499, ListError, ""),
        (401, CredentialsError, "; it does not accept the LMS's token: compare JWT_AUTH, and the clocks"),
        (403, CredentialsError, "; there, the user CREDENTIALS_SERVICE_USERNAME has to be a superuser"),
        (204, CredentialsError, "; CREDENTIALS_INTERNAL_SERVICE_URL leads to something else"),
        (299, CredentialsError, "; CREDENTIALS_INTERNAL_SERVICE_URL leads to something else"),
        (404, CredentialsError, "; CREDENTIALS_INTERNAL_SERVICE_URL leads to something else"),
    )
    @ddt.unpack
    def test_stops_at_once_at_a_refusal(self, status, error, reason):
        self.answer(status=status)

        assert self.read_failing(error) == f"page 1: Credentials answered {status}{reason}"

        assert self.pauses == []
        # A token may have expired.
        assert len(self.api.queries) == (2 if status == 401 else 1)

    @ddt.data(
        ("https://elsewhere.example.com/there/?username=private", "https://elsewhere.example.com/there/"),
        (
            "https://private:secret@elsewhere.example.com:8443/there/#private",
            "https://elsewhere.example.com:8443/there/",
        ),
        ("/secure/credentials/?private", "/secure/credentials/"),
        ("https://elsewhere:port/private", "an unusable address"),
    )
    @ddt.unpack
    def test_does_not_follow_redirects(self, location, shown):
        self.answer(status=301, headers={"Location": location})

        assert self.read_failing(CredentialsError, username="private") == (
            "page 1: Credentials answered 301; CREDENTIALS_INTERNAL_SERVICE_URL leads to "
            f"{self.url}, which redirects to {shown}"
        )

        assert len(self.api.queries) == 1

    @ddt.data(300, 399)
    def test_a_redirect_that_leads_nowhere(self, status):
        self.answer(status=status)

        assert self.read_failing(CredentialsError) == (
            f"page 1: Credentials answered {status}; CREDENTIALS_INTERNAL_SERVICE_URL leads to "
            f"{self.url}, which redirects to nowhere"
        )

    @ddt.data(
        None,
        [],
        "text",
        1,
        {},
        {"count": 0, "results": {}, "next": None},
        {"count": 0, "results": None, "next": None},
        {"count": 0, "results": []},
        {"results": [], "next": None},
        {"count": None, "results": [], "next": None},
        {"count": "0", "results": [], "next": None},
        {"count": 0.0, "results": [], "next": None},
        {"count": -1, "results": [], "next": None},
    )
    def test_an_answer_that_is_no_page_is_not_taken_for_one(self, body):
        self.answer(body=json.dumps(body))

        assert self.read_failing(CredentialsError) == "page 1: the answer is not a page of results, 6 times"

    @ddt.data(
        "?page=2",
        "https://elsewhere.example.com/api/v2/credentials/?page=7",
        "https://user:password@elsewhere.example.com:8443/?username=other",
        "file:///etc/passwd",
        "",
        0,
        {},
    )
    def test_a_link_says_only_that_there_is_another_page(self, link):
        self.answer(credential("learner"), link=link, count=2)
        self.answer(credential("learner"), count=2)

        self.read(username="learner")

        assert self.api.queries == [{"type": "program", "username": "learner", "page": page} for page in ("1", "2")]

    def test_closes_connections_that_the_database_has_given_up(self):
        dead, alive, transaction, unopened = mock.Mock(), mock.Mock(), mock.Mock(), mock.Mock(connection=None)
        unopened.configure_mock(in_atomic_block=False, **{"is_usable.side_effect": AttributeError})
        dead.configure_mock(in_atomic_block=False, **{"is_usable.return_value": False})
        alive.configure_mock(in_atomic_block=False, **{"is_usable.return_value": True})
        transaction.configure_mock(in_atomic_block=True, **{"is_usable.return_value": False})
        connections = self.patch(f"{READER}.connections")
        connections.all.return_value = [dead, alive, transaction, unopened]
        self.answer()

        self.read()

        connections.all.assert_called_once_with(initialized_only=True)
        dead.close.assert_called_once_with()
        for other in (alive, transaction, unopened):
            other.close.assert_not_called()


@ddt.ddt
class RecordTests(TestCase):
    """What is read from a record."""

    def test_a_record(self):
        record = credential(
            "Learner",
            program_uuid=PROGRAM.replace("-", "").upper(),
            status="revoked",
            modified="2026-11-24T01:00:00+01:00",
        )

        certificate = parse_certificate(record, "unused")

        assert certificate.name == CREDENTIAL
        assert certificate.username == "Learner"
        assert str(certificate.program_uuid) == PROGRAM
        assert certificate.status == "revoked"
        assert certificate.created == datetime(2026, 11, 1, tzinfo=UTC)
        assert certificate.modified == datetime(2026, 11, 24, tzinfo=UTC)

    @ddt.data(
        {"status": "expired"},
        {"status": ["awarded"]},
        {"username": None},
        {"username": " "},
        {"username": "lone surrogate \ud800"},
        {"username": "nul \0"},
        {"username": ""},
        {"credential": None},
        {"credential": {}},
        {"credential": {"program_uuid": "no uuid"}},
        {"credential": {"program_uuid": 1}},
        {"modified": None},
        {"modified": "yesterday"},
        {"modified": "2026-11-23T04:41:16"},
        {"modified": "0001-01-01T00:00:00+14:00"},
        {"created": None},
        {"created": 1},
    )
    def test_a_malformed_record_is_named(self, malformed):
        fields = "username, status, created, modified or program_uuid"
        message = f"Program certificate {CREDENTIAL}: {fields} is missing or malformed"

        with pytest.raises(ValueError, match=f"^{message}$"):
            parse_certificate(credential("learner") | malformed, "unused")

    @ddt.data(None, [], "text", {"uuid": "learner@example.com"}, {"uuid": 7})
    def test_a_record_without_a_uuid_is_named_by_its_place(self, record):
        with pytest.raises(ValueError, match="^Program certificate 2 on page 1: "):
            parse_certificate(record, "2 on page 1")
