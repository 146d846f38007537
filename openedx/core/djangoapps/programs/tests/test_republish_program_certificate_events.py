"""
Tests of the management command ``republish_program_certificate_events``.
"""

import io
import json
import logging
from datetime import UTC, datetime, timedelta
from unittest import mock
from urllib.parse import parse_qsl
from uuid import UUID

import ddt
import requests
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import TestCase, override_settings
from django.utils.http import http_date
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

from common.djangoapps.student.tests.factories import UserFactory
from openedx.core.djangoapps.credentials.tests.mixins import CredentialsApiConfigMixin
from openedx.core.djangoapps.programs.events import emit_program_certificate_revoked
from openedx.core.djangolib.testing.utils import skip_unless_lms

COMMAND = "republish_program_certificate_events"
MODULE = f"openedx.core.djangoapps.programs.management.commands.{COMMAND}"
PROGRAM = "1b0b0000-0000-4000-8000-000000000001"
OTHER_PROGRAM = "1b0b0000-0000-4000-8000-000000000002"
CREDENTIAL = "583f360c-0000-4000-8000-000000000001"
MODIFIED = "2026-11-23T04:41:16Z"
NOW = 1_795_408_876
TOPIC = "learning-program-certificate-lifecycle"


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


def summary(read=0, outside=0, awarded=0, revoked=0, skipped=0, failed=0, published="published"):
    """
    Make the line that ends the command's output.
    """
    return (
        f"Program certificates read: {read}, outside the window: {outside}, {published} awarded: {awarded}, "
        f"{published} revoked: {revoked}, skipped (learner unknown to the LMS): {skipped}, failed: {failed}\n"
    )


class Terminal(io.StringIO):
    """A text stream that calls itself a terminal."""

    def isatty(self):
        """Say yes."""
        return True


class FakeCredentials(requests.adapters.BaseAdapter):
    """Answers every request with what a test has prepared; the last answer repeats."""

    def __init__(self, url):
        super().__init__()
        self.url = url
        self.answers = []
        self.queries = []
        self.timeouts = []

    def send(self, request, timeout=None, **kwargs):
        """Answer."""
        url, _, query = request.url.partition("?")
        assert url == self.url
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


class RepublishTestCase(CredentialsApiConfigMixin, TestCase):
    """Answers for Credentials, and keeps what the command waits for, logs and sends."""

    def setUp(self):
        super().setUp()
        config = self.create_credentials_config()
        self.service_user = UserFactory(username=settings.CREDENTIALS_SERVICE_USERNAME)
        self.url = f"{config.internal_api_url.rstrip('/')}/credentials/"
        self.api = FakeCredentials(self.url)
        self.patch("requests.Session.get_adapter", return_value=self.api)
        self.sleep = self.patch(f"{MODULE}.time.sleep")
        self.events = []
        for signal in (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED):
            signal.enable()  # a test that isolates itself from events may have left it disabled
            signal.connect(self.receive)
            self.addCleanup(signal.disconnect, self.receive)

    def patch(self, target, **kwargs):
        """Patch until the test ends."""
        patcher = mock.patch(target, **kwargs)
        self.addCleanup(patcher.stop)
        return patcher.start()

    def receive(self, signal, program_certificate, metadata, **kwargs):
        """Keep an event."""
        self.events.append((signal.event_type.split(".")[-2], program_certificate, metadata.time))

    def serve(self, records, page_size=20):
        """Answer every request with the page of the records that it asks for."""

        def answer(params):
            self.assertEqual(params["type"], "program")
            self.assertNotIn("status", params)
            self.assertNotIn("only_visible", params)
            matching = [
                record
                for record in records
                if params.get("username") in (None, record["username"])
                and params.get("program_uuid") in (None, record["credential"]["program_uuid"])
            ]
            page = int(params["page"])
            link = f"{self.url}?page={page + 1}&type=program" if len(matching) > page * page_size else None
            results = matching[(page - 1) * page_size : page * page_size]
            page = {"count": len(matching), "next": link, "results": results}
            return {"body": json.dumps(page).encode()}

        self.api.answers.append(answer)

    def answer(self, *results, link=None, **kwargs):
        """Prepare one answer: a page with these results, unless ``body`` (text, bytes or exception) is given."""
        page = {"count": len(results), "next": link, "previous": None, "results": list(results)}
        body = kwargs.pop("body", json.dumps(page))
        self.api.answers.append({"body": body.encode() if isinstance(body, str) else body, **kwargs})

    def run_command(self, *args, stdout=None):
        """Run the command, and return its output."""
        self.stdout = stdout or io.StringIO()
        with self.assertLogs(MODULE, logging.DEBUG) as logs:
            # assertLogs() fails if nothing is logged.
            logging.getLogger(MODULE).info("Starting")
            self.logs = logs.output
            call_command(COMMAND, *args, stdout=self.stdout)
        return self.stdout.getvalue()

    def run_failing(self, *args):
        """Run the command, which is to fail, and return the error's message."""
        with self.assertRaises(CommandError) as error:
            self.run_command(*args)
        return str(error.exception)

    def logged(self, level):
        """Return the messages of a level."""
        prefix = f"{level}:{MODULE}:"
        return [line.removeprefix(prefix) for line in self.logs if line.startswith(prefix)]

    @property
    def pauses(self):
        """The seconds of each pause."""
        return [call.args[0] for call in self.sleep.call_args_list]


@skip_unless_lms
@ddt.ddt
class RepublishTests(RepublishTestCase):
    """What is read, counted and sent."""

    def test_sends_the_event_of_the_current_status(self):
        learner = UserFactory(username="learner", first_name="Ada", last_name="Lovelace")
        self.answer(
            credential("learner"),
            credential("learner", OTHER_PROGRAM, status="revoked", modified="2026-11-24T01:00:00+01:00"),
        )

        assert self.run_command("--all") == summary(read=2, awarded=1, revoked=1)

        awarded, revoked = self.events
        assert awarded[0] == awarded[1].status == "awarded"
        assert awarded[1].program.uuid == PROGRAM
        assert awarded[1].user.id == learner.id
        assert awarded[1].user.pii.name == "Ada Lovelace"
        assert awarded[2] == datetime(2026, 11, 23, 4, 41, 16, tzinfo=UTC)
        assert revoked[0] == revoked[1].status == "revoked"
        assert revoked[1].program.uuid == OTHER_PROGRAM
        assert revoked[2] == datetime(2026, 11, 24, tzinfo=UTC)

    def test_asks_as_the_service_user(self):
        self.answer()
        client = self.patch(f"{MODULE}.get_credentials_api_client", return_value=requests.Session())

        self.run_command("--all")

        client.assert_called_once_with(self.service_user)
        assert self.api.queries == [{"type": "program", "page": "1"}]
        assert all(0 < seconds <= 60 for seconds in self.api.timeouts[0])

    def test_reads_all_pages(self):
        for number in range(5):
            UserFactory(username=f"learner{number}")
        self.serve([credential(f"learner{number}") for number in range(5)], page_size=2)

        assert self.run_command("--all", "--delay", "1.5") == summary(read=5, awarded=5)

        assert {event[1].user.pii.username for event in self.events} == {f"learner{number}" for number in range(5)}
        assert self.pauses == [1.5, 1.5]
        assert self.logged("INFO")[1:] == [
            "Program certificates: 2 of 5 read, up to page 1 of list 1 of 1",
            "Program certificates: 4 of 5 read, up to page 2 of list 1 of 1",
            "Program certificates: 5 of 5 read, up to page 3 of list 1 of 1",
        ]

    def test_narrows_the_query(self):
        usernames = ["learner1", "learner2", "learner3"]
        for username in usernames:
            UserFactory(username=username)
        self.serve([credential(username, program) for username in usernames for program in (PROGRAM, OTHER_PROGRAM)])

        output = self.run_command(
            "--usernames", "learner1", "learner3", "learner1", "--program-uuids", UUID(PROGRAM).hex, PROGRAM.upper()
        )

        assert output == summary(read=2, awarded=2)
        assert len(self.api.queries) == 2
        assert {(event[1].user.pii.username, event[1].program.uuid) for event in self.events} == {
            ("learner1", PROGRAM),
            ("learner3", PROGRAM),
        }

    @ddt.data(
        (["--start-date", "2026-11-23T04:41:16Z"], True),
        (["--start-date", "2026-11-23T04:41:16"], True),
        (["--start-date", "2026-11-23T04:41:16.000001"], False),
        (["--start-date", "2026-11-23T05:41:16+01:00"], True),
        (["--start-date", "2026-11-23"], True),
        (["--start-date", "2026-11-24"], False),
        (["--end-date", "2026-11-23T04:41:16Z"], False),
        (["--end-date", "2026-11-23T04:41:17Z"], True),
        (["--end-date", "2026-11-23"], False),
        (["--all", "--start-date", "2026-11-23", "--end-date", "2026-11-24"], True),
    )
    @ddt.unpack
    def test_window(self, options, inside):
        UserFactory(username="learner")
        self.answer(credential("learner"))

        assert self.run_command(*options) == summary(read=1, awarded=int(inside), outside=int(not inside))

        assert len(self.events) == int(inside)

    def test_dry_run_sends_nothing(self):
        UserFactory(username="learner")
        self.answer(
            credential("learner"), credential("learner", OTHER_PROGRAM, status="revoked"), credential("nobody"), {}
        )

        self.run_failing("--all", "--dry-run")

        assert self.stdout.getvalue() == summary(
            read=4, awarded=1, revoked=1, skipped=1, failed=1, published="would publish"
        )
        assert not self.events
        assert not self.logged("WARNING")

    def test_skips_learners_that_the_lms_does_not_know(self):
        UserFactory(username="learner")
        self.answer(credential("nobody"), credential("Learner"), credential("learner"))

        assert self.run_command("--all") == summary(read=3, skipped=2, awarded=1)

    def test_a_database_that_ignores_case_does_not_bring_in_another_learner(self):
        UserFactory(username="learner")
        self.answer(credential("Learner"))
        found = mock.Mock(**{"select_related.return_value": [UserFactory(username="learner")]})
        service_user = mock.Mock(**{"first.return_value": self.service_user})
        self.patch(f"{MODULE}.User.objects.filter", side_effect=[service_user, found])
        self.patch(f"{MODULE}.get_credentials_api_client", return_value=requests.Session())

        assert self.run_command("--all") == summary(read=1, skipped=1)

    @ddt.data(1, 20)
    def test_looks_learners_up_in_one_query_a_page(self, learners):
        for number in range(learners):
            user = UserFactory(username=f"learner{number}")
            if number % 2:
                user.profile.delete()
        self.answer(*[credential(f"learner{number}") for number in range(learners)])
        self.patch(f"{MODULE}.get_credentials_api_client", return_value=requests.Session())
        self.patch(f"{MODULE}._get_service_user", return_value=self.service_user)

        with self.assertNumQueries(1):
            self.run_command("--all")

        assert len(self.events) == learners

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
    )
    def test_a_malformed_record_is_named_and_stops_nothing(self, fields):
        UserFactory(username="learner")
        self.answer(credential("learner") | fields, credential("learner"))

        message = self.run_failing("--all")

        assert message.startswith("Program certificates that failed: 1; the log names them. Run the same command again")
        assert self.stdout.getvalue() == summary(read=2, awarded=1, failed=1)
        assert self.logged("ERROR") == [
            f"Program certificate {CREDENTIAL}: username, status, modified or program_uuid is missing or malformed"
        ]

    @ddt.data(None, [], "text", {"uuid": "learner@example.com"}, {"uuid": 7})
    def test_a_record_without_a_uuid_is_named_by_its_place(self, record):
        UserFactory(username="learner")
        self.answer(credential("learner"), record)

        self.run_failing("--all")

        assert self.logged("ERROR") == [
            "Program certificate 2 on page 1 of list 1 of 1: username, status, modified or program_uuid is missing or "
            "malformed"
        ]

    def test_an_event_that_fails_is_counted_and_stops_nothing(self):
        UserFactory(username="learner")
        self.answer(credential("learner"), credential("learner", OTHER_PROGRAM, status="revoked"))
        self.patch(f"{MODULE}.emit_program_certificate_awarded", return_value=False)

        message = self.run_failing("--all")

        assert "Program certificates that failed: 1;" in message
        assert self.stdout.getvalue() == summary(read=2, revoked=1, failed=1)
        assert self.logged("ERROR") == [f"Program certificate {CREDENTIAL}: its event could not be sent"]

    def test_warns_of_events_that_the_bus_does_not_take(self):
        self.answer()
        config = {
            PROGRAM_CERTIFICATE_AWARDED.event_type: {TOPIC: {"event_key_field": "x", "enabled": True}},
            PROGRAM_CERTIFICATE_REVOKED.event_type: {TOPIC: {"event_key_field": "x", "enabled": False}},
        }
        with override_settings(EVENT_BUS_PRODUCER_CONFIG=config):
            self.run_command("--all")

        assert self.logged("WARNING") == [
            f"EVENT_BUS_PRODUCER_CONFIG does not enable {PROGRAM_CERTIFICATE_REVOKED.event_type}: "
            "it will not leave the LMS"
        ]

    def test_shows_a_bar_on_a_terminal(self):
        UserFactory(username="learner")
        self.serve([credential("learner")] * 3, page_size=2)

        output = self.run_command("--all", stdout=Terminal())

        assert output == (
            "\r[####################..........] 2 of 3, list 1 of 1\033[K"
            "\r[##############################] 3 of 3, list 1 of 1\033[K"
            "\n" + summary(read=3, awarded=3)
        )
        assert self.logged("INFO") == ["Starting"]

    @ddt.data(None, "many", -1)
    def test_an_unusable_count_spoils_no_more_than_the_bar(self, count):
        self.answer(body=json.dumps({"count": count, "next": None, "results": [credential("nobody")]}))

        assert self.run_command("--all") == summary(read=1, skipped=1)

        assert self.logged("INFO")[1:] == ["Program certificates: 1 of 1 read, up to page 1 of list 1 of 1"]

    def test_tells_how_far_it_got_when_interrupted(self):
        UserFactory(username="learner")
        self.serve([credential("learner")] * 3, page_size=2)
        self.sleep.side_effect = KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            self.run_command("--all", "--delay", "1")

        assert self.stdout.getvalue() == summary(read=2, awarded=2)

    def test_a_consumer_that_keeps_the_latest_event_takes_no_harm_from_repeats(self):
        learner = UserFactory(username="learner")
        latest = {}

        def keep_latest(program_certificate, metadata, **kwargs):
            key = (program_certificate.user.id, program_certificate.program.uuid)
            if key not in latest or latest[key][0] <= metadata.time:
                latest[key] = (metadata.time, program_certificate.status)

        for signal in (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED):
            signal.connect(keep_latest)
            self.addCleanup(signal.disconnect, keep_latest)
        self.answer(credential("learner"))
        self.run_command("--all")
        before = dict(latest)
        self.run_command("--all")
        assert latest == before

        # A revocation goes out live after the page was read, and before its events are sent.
        time = datetime.fromisoformat(MODIFIED) + timedelta(seconds=2)
        emit_program_certificate_revoked(learner, PROGRAM, time=time)
        self.run_command("--all")
        assert [status for _time, status in latest.values()] == ["revoked"]


@skip_unless_lms
@ddt.ddt
class OptionsTests(RepublishTestCase):
    """What is refused before the first request."""

    @ddt.data(
        ([], "Give --program-uuids, --usernames, --start-date, --end-date, or --all for everything."),
        (["--dry-run", "--delay", "1"], "Give --program-uuids"),
        (["--all", "--usernames", "learner"], "--all contradicts --program-uuids and --usernames."),
        (["--all", "--program-uuids", PROGRAM], "--all contradicts --program-uuids and --usernames."),
        (["--program-uuids", PROGRAM, "private"], "--program-uuids: not uuids."),
        (["--program-uuids", PROGRAM[:-2] + "_1"], "--program-uuids: not uuids."),
        (["--usernames", "private", ""], "--usernames: not usernames."),
        (["--usernames", "private\udcff"], "--usernames: not usernames."),
        (["--start-date", "private"], "--start-date: not an ISO 8601 time."),
        (["--start-date", "2026-02-30"], "--start-date: not an ISO 8601 time."),
        (["--end-date", ""], "--end-date: not an ISO 8601 time."),
        (["--end-date", "0001-01-01T00:00:00+14:00"], "--end-date: not an ISO 8601 time."),
        (["--start-date", "2026-11-24", "--end-date", "2026-11-24"], "--start-date has to be before --end-date."),
        (["--all", "--delay", "private"], "--delay: not a number from 0 to 3600."),
        (["--all", "--delay", "-1"], "--delay: not a number from 0 to 3600."),
        (["--all", "--delay", "nan"], "--delay: not a number from 0 to 3600."),
        (["--all", "--delay", "inf"], "--delay: not a number from 0 to 3600."),
        (["--all", "--delay", "1e6"], "--delay: not a number from 0 to 3600."),
    )
    @ddt.unpack
    def test_unusable_options(self, options, message):
        client = self.patch(f"{MODULE}.get_credentials_api_client")

        error = self.run_failing(*options)

        assert error.startswith(message)
        assert "private" not in error
        assert self.stdout.getvalue() == ""
        client.assert_not_called()

    def test_values_that_do_not_come_from_the_parser_are_checked_too(self):
        for option in (
            {"program_uuids": 1},
            {"program_uuids": [], "start_date": "2026-11-23"},
            {"usernames": [1]},
            {"usernames": [], "all": True},
            {"start_date": 1},
            {"delay": 10**400, "all": True},
        ):
            with self.assertRaisesRegex(CommandError, f"^--{next(iter(option)).replace('_', '-')}: "):
                call_command(COMMAND, **option)

    def test_credentials_disabled(self):
        self.create_credentials_config(enabled=False)

        assert self.run_failing("--all") == "The use of Credentials is disabled in CredentialsApiConfig."

    @override_settings(CREDENTIALS_SERVICE_USERNAME="nobody")
    def test_no_service_user(self):
        assert self.run_failing("--all") == (
            "The setting CREDENTIALS_SERVICE_USERNAME names a user who does not exist."
        )


@skip_unless_lms
@ddt.ddt
class ReadingTests(RepublishTestCase):
    """How failures of the API are handled."""

    @ddt.data(
        ("7", [7]),
        ("0", []),
        ("-5", []),
        ("86400", [600]),
        ("9" * 5000, [60]),
        ("soon", [60]),
        (None, [60]),
        (http_date(NOW + 7), [7]),
        (http_date(NOW - 7), []),
        (http_date(NOW + 86400), [600]),
    )
    @ddt.unpack
    def test_waits_as_told_when_throttled(self, retry_after, pauses):
        self.patch(f"{MODULE}.time.time", return_value=NOW)
        self.answer(status=429, headers={} if retry_after is None else {"Retry-After": retry_after})
        self.answer()

        assert self.run_command("--all") == summary()

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
    )
    def test_retries_failures_that_may_pass(self, failure):
        for _ in range(5):
            self.answer(**failure)
        self.answer()

        assert self.run_command("--usernames", "private") == summary()

        assert self.pauses == [1, 2, 4, 8, 16]
        assert "private" not in "".join(self.logs)

    def test_gives_up_after_a_number_of_tries(self):
        UserFactory(username="private")
        self.answer(credential("private"), link=f"{self.url}?page=2")
        self.answer(body=requests.ConnectionError("https://credentials/?username=private"))

        message = self.run_failing("--usernames", "private")

        assert message == (
            "Stopped in list 1 of 1, page 2: no usable answer (ConnectionError), 6 times. All before that is done. "
            "Run the same command again once the cause is gone: repeats are harmless to consumers that keep, for each "
            "learner and program, the event with the latest time."
        )
        assert self.stdout.getvalue() == summary(read=1, awarded=1)
        assert len(self.api.queries) == 7
        assert self.pauses == [1, 2, 4, 8, 16]
        assert "private" not in "".join(self.logs)

    def test_renews_the_token_when_it_has_expired(self):
        self.answer(status=401)
        self.answer()
        client = self.patch(f"{MODULE}.get_credentials_api_client", side_effect=lambda user: requests.Session())

        assert self.run_command("--all") == summary()

        assert client.call_args_list == [mock.call(self.service_user)] * 2
        assert self.pauses == []

    @ddt.data(
        (400, "Credentials answered 400. "),
        (401, "Credentials answered 401. "),
        (403, "Credentials answered 403; there, the user CREDENTIALS_SERVICE_USERNAME has to be a superuser. "),
        (404, "Credentials answered 404. "),
    )
    @ddt.unpack
    def test_stops_at_once_at_a_refusal(self, status, problem):
        self.answer(status=status)

        assert self.run_failing("--all").startswith(f"Stopped in list 1 of 1, page 1: {problem}All before that is done")

        assert self.pauses == []
        assert self.stdout.getvalue() == summary()

    def test_does_not_follow_redirects(self):
        self.answer(status=302, headers={"Location": "https://elsewhere.example.com/"})

        assert "page 1: Credentials answered 302." in self.run_failing("--all")

    @ddt.data(None, [], "text", 1, {}, {"results": {}, "next": None}, {"results": None, "next": None}, {"results": []})
    def test_stops_at_an_answer_that_is_no_page(self, body):
        self.answer(body=json.dumps(body))

        assert "page 1: the answer is not a page of results." in self.run_failing("--all")

    @ddt.data(
        "https://[bad/?page=2",
        "{url}",
        "{url}?page=1",
        "{url}?page=0",
        "{url}?page=-2",
        "{url}?page=next",
        "{url}?page=2&page=3",
        "{url}?page=" + "9" * 5000,
        "",
        0,
        2,
        True,
        ["{url}?page=2"],
        {},
    )
    def test_stops_at_a_link_to_no_later_page(self, link):
        if isinstance(link, str):
            link = link.format(url=self.url)
        UserFactory(username="learner")
        self.answer(credential("learner"), link=link)

        assert "page 1: its link does not lead to a later page." in self.run_failing("--all")

        assert self.stdout.getvalue() == summary(read=1, awarded=1)
        assert len(self.api.queries) == 1

    @ddt.data(
        "?page=2",
        "/api/v2/credentials/?page=2&username=other",
        "https://elsewhere.example.com/api/v2/credentials/?page=2",
        "//elsewhere.example.com/api/v2/credentials/?page=2",
        "https://user:password@elsewhere.example.com:8443/?page=2",
        "file:///etc/passwd?page=2",
    )
    def test_follows_a_link_by_its_number_alone(self, link):
        self.answer(link=link)
        self.answer()

        self.run_command("--usernames", "learner")

        assert self.api.queries == [{"type": "program", "username": "learner", "page": page} for page in ("1", "2")]
