"""
Properties of the management command ``republish_program_certificate_events``: what it makes of bad options and of bad
answers. What a consumer makes of its events is in ``test_republish_guarantee.py``.

The tests are here rather than beside the command's other tests because the platform does not have hypothesis.
"""

import io
import json
import logging
import re
import weakref
from datetime import datetime
from typing import NamedTuple
from unittest import mock

import requests
import responses
from django.conf import settings as django_settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils.timezone import now
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from openedx_events.event_bus.avro.deserializer import deserialize_bytes_to_event_data
from openedx_events.event_bus.avro.serializer import serialize_event_data_to_bytes
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

from common.djangoapps.student.tests.factories import UserFactory
from openedx.core.djangoapps.credentials.tests.mixins import CredentialsApiConfigMixin
from openedx.core.djangoapps.credentials.utils import get_credentials_api_base_url

COMMAND = "republish_program_certificate_events"
READER = "openedx.core.djangoapps.programs.credentials_reader"
SETTINGS = settings(max_examples=100, deadline=None, print_blob=True)
SUMMARY = re.compile(
    r"\AProgram certificates: (?:learners_asked=\d+ )?read=(\d+) not_selected=(\d+) "
    r"(?:sent|would_send)_in_lms_only_awarded=(\d+) (?:sent|would_send)_in_lms_only_revoked=(\d+) "
    r"skipped_unknown_learner=(\d+) skipped_younger_account=(\d+) failed=(\d+)\n\Z"
)
PROGRAMS = ["1b0b0000-0000-4000-8000-000000000001", "1b0b0000-0000-4000-8000-000000000002"]
# In every name, username and e-mail address here, and nowhere else.
PRIVATE = "PRIVATE"

AGES = st.from_regex(r"\A[0-9]{1,5}[mhds]\Z")
USERNAMES = st.sampled_from([f"{PRIVATE}-1", f"{PRIVATE}-2"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(PRIVATE)
JSON = st.recursive(SCALARS, lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(), some, max_size=3))


@st.composite
def spoiled(draw, **document):
    """
    Make an object that is mostly sound; else a field is missing, added or changed, or it is no object.

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
    st.datetimes().map(lambda moment: f"{moment.replace(microsecond=0).isoformat()}Z"),
    st.sampled_from(["2026-11-23T04:41:16Z", "2026-11-23T04:41:16", "2026-11-23", "20261123T044116Z", "now"]),
)
RECORDS = spoiled(
    username=st.sampled_from([f"{PRIVATE}-1", f"{PRIVATE}-2"] * 3 + [f"{PRIVATE}-unknown", f"{PRIVATE}\ud800"]),
    status=st.sampled_from(["awarded", "revoked"] * 4 + ["AWARDED"]),
    uuid=st.uuids().map(str) | st.just(f"{PRIVATE}@example.com"),
    credential=spoiled(
        type=st.just("program"),
        program_uuid=st.uuids().flatmap(lambda uuid: st.sampled_from([str(uuid)] * 8 + [uuid.hex, uuid.urn, uuid.int])),
    ),
    created=TIMES,
    modified=TIMES,
)
# In links, {number} stands for the right page's, {url} for the list and {host} for its host.
GOOD_LINKS = ["{url}?page={number}", "{url}?page={number}&type=program", "?page={number}", None]
BAD_LINKS = st.one_of(
    st.integers(-1, 9).map(lambda number: f"{{url}}?page={number}"),
    st.sampled_from(
        [
            "",
            "?page=2",
            "//evil.example.com/api/v2/credentials/?page=2",
            "http://{host}@evil.example.com/api/v2/credentials/?page=2",
            "https://user:password@{host}/api/v2/credentials/?page=2",
            "https://{host}.evil.example.com/api/v2/credentials/?page=2",
            "https://evil.example.com\\@{host}/api/v2/credentials/?page=2",
            "https://{host}:444/api/v2/credentials/?page=2",
            "ftp://{host}/api/v2/credentials/?page=2",
            "https://{host}/api/v2/credentials/../users/?page=2",
            "https://[::1/?page=2",
            "{url}?page=2&page=3",
            "{url}?page=２",
        ]
    ),
)
LINKS = st.integers(0, 5).flatmap(lambda number: st.sampled_from(GOOD_LINKS) if number else BAD_LINKS)
PAGES = spoiled(count=st.integers(-1, 99), next=LINKS, results=st.lists(RECORDS, max_size=4))
REFUSALS = st.builds(
    lambda status, retry_after: {
        "status": status,
        "headers": {"Retry-After": retry_after, "Location": "https://evil.example.com/"},
    },
    st.sampled_from([201, 301, 302, 400, 401, 403, 404, 429, 500, 503]),
    st.integers().map(str) | st.text(st.characters(codec="ascii", categories=["L", "N", "P"])),
)


@st.composite
def answers(draw):
    """
    Make an answer to a request: mostly a page, else anything.

    Args:
        draw (callable): draws from a strategy.

    Returns:
        dict: arguments for ``RequestsMock.get``.
    """
    kind = draw(st.sampled_from([*["page"] * 12, "refusal", "rubbish", "break"]))
    if kind == "page":
        page = draw(PAGES)
        if isinstance(page, dict) and isinstance(page.get("results"), list) and draw(st.integers(0, 3)):
            # A list of one page, with as many records as it says.
            page |= {"count": len(page["results"]), "next": None}
        return {"body": json.dumps(page)}
    if kind == "refusal":
        return draw(REFUSALS)
    if kind == "rubbish":
        return {"body": draw(st.binary(max_size=20))}
    return {"body": requests.ConnectionError(f"https://credentials/?username={PRIVATE}")}


class Event(NamedTuple):
    """What an event says: when, of which learner's certificate of which program, and its status."""

    time: datetime
    key: tuple[int, str]
    status: str


class RepublishTestCase(CredentialsApiConfigMixin, TestCase):
    """Runs the command, and keeps the events that it sends."""

    @classmethod
    def setUpTestData(cls):
        UserFactory(username=django_settings.CREDENTIALS_SERVICE_USERNAME)
        cls.learners = [
            UserFactory(username=f"{PRIVATE}-{number}", email=f"{PRIVATE}-{number}@example.com", profile__name=PRIVATE)
            for number in (1, 2)
        ]

    def setUp(self):
        super().setUp()
        self.create_credentials_config()
        self.url = f"{get_credentials_api_base_url().rstrip('/')}/credentials/"
        self.host = self.url.split("/")[2]
        clock = mock.patch(f"{READER}.time")
        self.sleep = clock.start().sleep
        self.addCleanup(clock.stop)
        self.events = []
        for signal in (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED):
            signal.connect(self.receive)
            self.addCleanup(signal.disconnect, self.receive)

    def receive(self, signal, program_certificate, metadata, **kwargs):
        """Keep an event, after a trip through the bus's format."""
        data = {"program_certificate": program_certificate}
        assert deserialize_bytes_to_event_data(serialize_event_data_to_bytes(data, signal), signal) == data
        key = (program_certificate.user.id, program_certificate.program.uuid)
        self.events.append(Event(metadata.time, key, program_certificate.status))

    def run_command(self, prepare, *args, **options):
        """
        Run the command.

        Args:
            prepare (callable): prepares the answers, given a ``responses.RequestsMock``.
            args (str): arguments of the command.
            options: options of the command.

        Returns:
            tuple: the error or None, the output, the log, the addresses requested.
        """
        output, log = io.StringIO(), io.StringIO()
        handler = logging.StreamHandler(log)
        logging.getLogger().addHandler(handler)
        self.events.clear()
        self.sleep.reset_mock()
        error = None
        try:
            with responses.RequestsMock(assert_all_requests_are_fired=False) as api:
                prepare(api)
                try:
                    call_command(COMMAND, *args, stdout=output, stderr=output, **options)
                except CommandError as exc:
                    error = exc
                urls = [call.request.url for call in api.calls]
        finally:
            logging.getLogger().removeHandler(handler)
        return error, output.getvalue(), log.getvalue(), urls

    def answer_nothing(self, api):
        """Prepare an empty list."""
        api.get(self.url, json={"count": 0, "next": None, "previous": None, "results": []})


class RepublishProperties(RepublishTestCase):
    """The command between its users and an unreliable Credentials."""

    @SETTINGS
    @given(
        options=st.fixed_dictionaries(
            {},
            optional={
                "program_uuids": st.lists(SCALARS, max_size=3) | st.lists(st.uuids().map(str), max_size=3) | JSON,
                "usernames": st.lists(SCALARS | USERNAMES, max_size=3) | JSON,
                "start_date": st.datetimes().map(str) | AGES | JSON,
                "recently_modified": st.booleans(),
                "margin": AGES | JSON,
                "end_date": st.dates().map(str) | JSON,
                "delay": st.floats() | st.integers(0, 10) | JSON,
                "all": st.booleans(),
                "dry_run": st.booleans(),
            },
        )
    )
    @example({"all": True, "delay": 10**400})
    @example({"all": True, "delay": "1e308"})
    @example({"start_date": "0001-01-01T00:00+14:00"})
    @example({"start_date": "9999-12-31T23:59-14:00"})
    @example({"usernames": ["\ud800"]})
    @example({"start_date": "0001-01-01", "recently_modified": True})
    @example({"start_date": "9999d", "recently_modified": True, "margin": "9999d"})
    def test_options_are_refused_before_the_first_request_or_usable(self, options):
        error, output, _log, urls = self.run_command(self.answer_nothing, **options)

        refused = error is not None and error.returncode == 2
        event("refused" if refused else "accepted")
        if refused:
            assert not urls and not output
        else:
            # Nobody's course certificate has changed.
            assert bool(urls) != bool(options.get("recently_modified"))
            assert SUMMARY.match(output)
        assert {url.split("?")[0] for url in urls} <= {self.url}

    @SETTINGS
    @given(
        option=st.sampled_from(["program-uuids", "usernames", "start-date", "end-date", "delay", "margin"]),
        # Of "--", argparse leaves nothing.
        value=st.one_of(
            st.text().filter(lambda text: text != "--"),
            st.text(min_size=1).map(lambda text: text + PRIVATE),
            USERNAMES,
            st.from_regex(r"\A[0-9eE+.:TZ-]+\Z"),
            AGES,
        ),
    )
    def test_arguments_are_refused_before_the_first_request_or_usable(self, option, value):
        arguments = {"delay": ["--all"], "margin": ["--recently-modified", "--start-date=2h"]}.get(option, [])

        error, output, _log, urls = self.run_command(self.answer_nothing, *arguments, f"--{option}={value}")

        refused = error is not None and error.returncode == 2
        event(f"{option} {'refused' if refused else 'accepted'}")
        assert refused == (not urls) or option == "margin"
        if refused:
            assert str(error).startswith(f"--{option}: ") and not output
        assert PRIVATE not in f"{error}{output}"

    @SETTINGS
    @given(prepared=st.lists(answers(), min_size=1, max_size=4), dry_run=st.booleans(), start=st.none() | st.dates())
    @example([{"body": "[" * 100_000}], False, None)
    @example([{"body": "9" * 5000}], False, None)
    @example([{"body": '{"results": [], "next": null, "count": ' + "9" * 4300 + "}"}], False, None)
    @example([{"status": 429, "headers": {"Retry-After": "9" * 5000}}], False, None)
    def test_whatever_credentials_answers(self, prepared, dry_run, start):
        def prepare(api):
            for number, answer in enumerate(prepared, start=2):
                if isinstance(answer.get("body"), str):
                    body = answer["body"].replace("{url}", self.url).replace("{host}", self.host)
                    answer = {**answer, "body": body.replace("{number}", str(number))}
                api.get(self.url, **answer)
            # Repeats, as the last one does.
            self.answer_nothing(api)

        options = {"start_date": str(start)} if start else {"all": True}
        error, output, log, urls = self.run_command(prepare, dry_run=dry_run, **options)

        read, outside, awarded, revoked, skipped, younger, failed = map(int, SUMMARY.match(output).groups())
        for word in ("Stopped", "Not complete", "moved"):
            if word in str(error):
                event(word)
        event(f"certificates failed: {'some' if failed else 'none'}")
        event(f"certificates published: {'some' if awarded + revoked else 'none'}")
        assert read == outside + awarded + revoked + skipped + younger + failed
        assert len(self.events) == (0 if dry_run else awarded + revoked)
        assert error or not failed
        assert error is None or error.returncode == 1
        assert {url.split("?")[0] for url in urls} == {self.url}
        assert PRIVATE not in f"{error}{output}{log}"
        assert all(0 < call.args[0] <= 600 for call in self.sleep.call_args_list)

    def test_memory_does_not_grow_with_pages(self):
        pages, alive = 100, []

        class Records(list):
            """A list that can be referred to weakly."""

        def get(number, query):
            alive.append(sum(reference() is not None for reference in references))
            records = Records([{"username": PRIVATE}] * 20)
            references.append(weakref.ref(records))
            return now(), pages * 20, records, f"?page={number + 1}" if number < pages else None

        references = []
        with mock.patch(f"{READER}.CertificateReader._get", side_effect=get):
            _error, output, _log, _urls = self.run_command(lambda api: None, all=True)

        assert SUMMARY.match(output).group(1) == str(pages * 20)
        assert len(alive) == pages
        assert max(alive) <= 2  # the page that was just read, and the one before
