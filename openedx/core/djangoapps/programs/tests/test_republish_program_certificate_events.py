"""Tests of the management command ``republish_program_certificate_events``."""

import contextlib
import io
import logging
import os
import signal
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import ddt
import pytest
from celery.exceptions import OperationalError
from django.contrib.auth.models import User  # pylint: disable=imported-auth-user
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from opaque_keys.edx.keys import CourseKey
from openedx_events.event_bus import EventBusProducer
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED
from openedx_events.tooling import OpenEdxPublicSignal

from common.djangoapps.student.tests.factories import UserFactory
from lms.djangoapps.certificates.models import GeneratedCertificate
from openedx.core.djangoapps.programs.management.commands import republish_program_certificate_events as command
from openedx.core.djangoapps.programs.tests.test_events import PROGRAM_UUID
from openedx.core.djangoapps.programs.tests.test_republish import RepublishTestCase, page, record
from openedx.core.djangolib.testing.utils import skip_unless_lms

MODULE = command.__name__
COMMAND = MODULE.rpartition(".")[2]
RUN, OTHER_RUN, OUTSIDE = (f"course-v1:edX+DemoX+{run}" for run in ("2025", "2026", "outside"))
PROGRAMS = {PROGRAM_UUID: {"uuid": PROGRAM_UUID, "courses": [{"course_runs": [{"key": RUN}, {"key": OTHER_RUN}]}]}}
BOTH = (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED)
BACK_END, SITE = "edx_event_bus_example.producer", "site_example.event_bus"


def configure(*enabled: OpenEdxPublicSignal) -> dict[str, dict]:
    """Return the configuration of the producer, with some of the two events enabled."""
    key = {"event_key_field": "program_certificate.program.uuid"}
    return {event.event_type: {"topic": key | {"enabled": event in enabled}} for event in BOTH}


class Producer(EventBusProducer):
    """The producer of a back end, which fails to send a revocation and logs that."""

    __module__ = BACK_END

    def send(self, *, signal: Any, **kwargs: Any) -> None:  # pylint: disable=redefined-outer-name
        """Send."""
        if signal is PROGRAM_CERTIFICATE_REVOKED:
            logging.getLogger(BACK_END).error("The event bus is unreachable")


class Subclass(Producer):
    """The same, as a site has changed it."""

    __module__ = SITE


class Wrapper(EventBusProducer):
    """The producer of a site, which uses that of the back end."""

    __module__ = SITE
    send = Producer().send


@skip_unless_lms
@ddt.ddt
@override_settings(EVENT_BUS_PRODUCER_CONFIG=configure(*BOTH), EVENT_BUS_PRODUCER=f"{__name__}.Producer")
class CommandTests(RepublishTestCase):
    """Runs the command for learners who have a course certificate."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        # A job in the background ignores this one.
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        self.get_programs = self.patch(f"{MODULE}.get_programs")
        self.get_programs.side_effect = lambda site=None, uuid=None: PROGRAMS.values() if site else PROGRAMS.get(uuid)
        self.wait = self.patch(f"{MODULE}.wait_for_producer", return_value=True)
        self.close = self.patch(f"{MODULE}.close_old_connections")  # on MySQL, it would end the test's transaction
        self.certify(self.user)
        self.others = [UserFactory.create(username=f"learner{number}") for number in range(5)]
        # Each learner who is asked about has one certificate.
        self.api.answers = [lambda query: page(record(username=query["username"]))]

    def certify(self, *users: User, run: str = RUN, **fields: object) -> None:
        """Give learners a course certificate, without the signals that tell of it."""
        course_id = CourseKey.from_string(run)
        GeneratedCertificate.objects.bulk_create(GeneratedCertificate(user=user, course_id=course_id) for user in users)
        GeneratedCertificate.objects.filter(user__in=users, course_id=course_id).update(**fields)

    def run_command(self, *options: str, problem: str | None = None, code: int = 1) -> str:
        """Run the command, and return its output. If there is a problem, the error names it."""
        output, handlers = io.StringIO(), list(logging.getLogger().handlers)
        expected: Any = pytest.raises(CommandError, match=problem) if problem else contextlib.nullcontext()
        with expected as error:
            call_command(COMMAND, *options, stdout=output)
        if problem:
            assert (error.value.returncode, "learner" in str(error.value)) == (code, False)
        assert logging.getLogger().handlers == handlers
        return output.getvalue().strip()

    @property
    def asked(self) -> list[str]:
        """The usernames that Credentials was asked about."""
        return [query["username"] for query in self.api.queries]

    @ddt.data(
        [],
        ["--all", "--usernames", "learner"],
        ["--start-date", "2999-01-01"],
        ["--start-date=-4h"],
        ["--start-date", ""],
        ["--program-uuids", "no-uuid"],
    )
    def test_unusable(self, options: list[str]) -> None:
        with pytest.raises(SystemExit) as error:
            command.Command().run_from_argv(["manage.py", COMMAND, *options])
        assert (error.value.code, self.asked) == (2, [])

    @ddt.data(
        ("2026-11-23T12:30:15+05:00", "2026-11-23T07:30:15Z"),
        ("2026-11-23T12:30:15", "2026-11-23T12:30:15Z"),
        ("2026-11-23", "2026-11-23T00:00:00Z"),
        ("30m", "2026-11-25T11:30:00Z"),
        ("4h", "2026-11-25T08:00:00Z"),
        ("2d", "2026-11-23T12:00:00Z"),
    )
    @ddt.unpack
    def test_start(self, text: str, start: str) -> None:
        self.patch(f"{MODULE}.now", return_value=datetime(2026, 11, 25, 12, tzinfo=UTC))
        assert self.run_command("--start-date", text, "--dry-run").startswith(f"start={start}\nlearners=")

    @ddt.data(
        ("CredentialsApiConfig", {}, {"enable_learner_issuance": False}),
        ("CREDENTIALS_SERVICE_USERNAME", {"CREDENTIALS_SERVICE_USERNAME": "nobody"}, {}),
        ("enables neither event", {"EVENT_BUS_PRODUCER_CONFIG": configure()}, {}),
        ("enables neither event", {"EVENT_BUS_PRODUCER_CONFIG": {}}, {}),
        ("EVENT_BUS_PRODUCER ", {"EVENT_BUS_PRODUCER": "openedx_events.event_bus.NoEventBusProducer"}, {}),
    )
    @ddt.unpack
    def test_settings(self, problem: str, changed: dict[str, object], config: dict[str, object]) -> None:
        self.create_credentials_config(**config)
        with override_settings(**changed):
            self.run_command("--all", problem=problem, code=2)
        assert not self.asked

    @override_settings(EVENT_BUS_PRODUCER_CONFIG=configure(PROGRAM_CERTIFICATE_REVOKED))
    def test_one_event_is_not_enabled(self) -> None:
        with self.assertLogs(MODULE, "WARNING") as logs:
            self.run_command("--all")
        assert f"does not enable {PROGRAM_CERTIFICATE_AWARDED.event_type}" in logs.output[0]

    def test_each_learner_once(self) -> None:
        self.certify(self.user, self.others[0], run=OUTSIDE, status="notpassing")
        self.certify(self.user, run=OTHER_RUN)
        self.run_command("--all")
        assert self.asked == ["learner0", "learner"]

    def test_pages(self) -> None:
        users = [UserFactory.build(id=number) for number in range(100_001, 101_002)]
        self.certify(*User.objects.bulk_create(users))
        self.certify(*users[:5], run=OTHER_RUN)
        with CaptureQueriesContext(connection) as queries:
            assert self.run_command("--all", "--dry-run") == "learners=1002"
        assert len([query for query in queries.captured_queries if "generatedcertificate" in query["sql"]]) == 3
        assert not self.asked

    def test_start_date(self) -> None:
        start = datetime(2026, 11, 23, 12, tzinfo=UTC)
        self.certify(self.others[0], modified_date=start - timedelta(seconds=1))
        self.certify(self.others[1], modified_date=start)
        self.certify(self.others[2], run=OTHER_RUN, modified_date=start + timedelta(days=100_000), status="notpassing")
        self.certify(self.others[3], run=OUTSIDE)
        output = self.run_command("--start-date", "2026-11-23T12:00:00Z")
        assert self.asked == ["learner", "learner1", "learner2"]
        assert output == "start=2026-11-23T12:00:00Z\nlearners=3 awarded=3 revoked=0 skipped=0 failed=0 bus_errors=0"

    def test_program_uuids(self) -> None:
        self.certify(self.others[0], run=OTHER_RUN, status="audit_notpassing", mode="audit")
        self.certify(self.others[1], run=OUTSIDE)
        self.run_command("--program-uuids", PROGRAM_UUID.replace("-", ""), PROGRAM_UUID)
        assert self.asked == ["learner", "learner0"]

    def test_what_is_unknown(self) -> None:
        self.run_command("--usernames", "learner", "learner9", problem="number 2 is unknown", code=2)
        other_uuid = PROGRAM_UUID.replace("1b", "2b")
        self.run_command("--program-uuids", PROGRAM_UUID, other_uuid, problem="run cache_programs", code=2)
        self.get_programs.side_effect = lambda site: []
        self.run_command("--start-date", "4h", problem="run cache_programs", code=2)
        assert not self.asked

    def test_usernames(self) -> None:
        self.api.answers = [lambda query: page(record(username=query["username"], created="2010-01-01T00:00:00Z"))]
        output = self.run_command("--usernames", "learner1", "learner", "learner1")
        assert self.asked == ["learner1", "learner"]
        # Certificates that are older than the account are included, and are skipped otherwise.
        assert output == "learners=2 awarded=2 revoked=0 skipped=0 failed=0 bus_errors=0"
        assert self.run_command("--all") == "learners=1 awarded=0 revoked=0 skipped=1 failed=0 bus_errors=0"

    @ddt.data(
        (["learner", "learner0", "learner1", "learner2", "learner4"], "see the log. Fix the cause, and run", 6, 1),
        # Five in a row end the run.
        (["learner", "learner0", "learner1", "learner2", "learner3"], "HTTPError", 5, 0),
    )
    @ddt.unpack
    def test_learners_whose_request_fails(
        self, usernames: list[str], problem: str, learners: int, awarded: int
    ) -> None:
        self.certify(*self.others)
        [success] = self.api.answers
        failure = {"status": 500, "body": b""}
        self.api.answers = [lambda query: failure if query["username"] in usernames else success(query)]
        with self.assertLogs(MODULE) as logs:
            output = self.run_command("--all", problem=f"Not complete: {problem}")
        assert output == f"learners={learners} awarded={awarded} revoked=0 skipped=0 failed=5 bus_errors=0"
        assert f"Failed to republish certificates of user {self.user.id}: HTTPError" in logs.output[0]
        assert self.close.call_count == learners - (not awarded)
        self.wait.assert_called_once_with(*([] if awarded else [5]))

    @ddt.data(signal.SIGTERM, signal.SIGINT)
    def test_an_interrupt(self, number: int) -> None:
        self.certify(*self.others)
        self.api.answers.append(lambda query: os.kill(os.getpid(), number))
        output = self.run_command("--all", problem="Not complete: KeyboardInterrupt")
        assert output == "learners=2 awarded=1 revoked=0 skipped=0 failed=0 bus_errors=0"
        self.wait.assert_called_once_with(5)

    @ddt.data(([KeyboardInterrupt, True], "KeyboardInterrupt"), ([False], "the event bus"))
    @ddt.unpack
    def test_a_wait_that_is_interrupted_or_fails(self, results: list[object], problem: str) -> None:
        self.wait.side_effect = results
        output = self.run_command("--all", problem=f"Not complete: {problem}")
        assert output == "learners=1 awarded=1 revoked=0 skipped=0 failed=0 bus_errors=0"

    @ddt.data("Producer", "Subclass", "Wrapper")
    def test_errors_of_the_event_bus(self, producer: str) -> None:
        self.api.answers = [page(record(status="revoked"))]
        with override_settings(EVENT_BUS_PRODUCER=f"{__name__}.{producer}"):
            output = self.run_command("--all", problem="Not complete: see the log")
        assert output == "learners=1 awarded=0 revoked=1 skipped=0 failed=0 bus_errors=1"

    @ddt.data(
        (BACK_END, logging.ERROR, 1),
        ("site_example.connection", logging.ERROR, 1),
        ("other", logging.ERROR, 0),
        (BACK_END, logging.WARNING, 0),
    )
    @ddt.unpack
    @override_settings(EVENT_BUS_PRODUCER=f"{__name__}.Wrapper")
    def test_errors_during_the_wait(self, name: str, level: int, bus_errors: int) -> None:
        log: Any = logging.getLogger(name).log
        self.wait.side_effect = lambda: log(level, "The event bus is unreachable") is None
        output = self.run_command("--all", problem="see the log" if bus_errors else None)
        assert output == f"learners=1 awarded=1 revoked=0 skipped=0 failed=0 bus_errors={bus_errors}"

    def test_no_certificate(self) -> None:
        self.api.answers = [page()]
        for options in (["--all"], ["--program-uuids", PROGRAM_UUID], ["--usernames", "learner"]):
            output = self.run_command(*options, problem="^No program certificate was found.$")
            assert output == "learners=1 awarded=0 revoked=0 skipped=0 failed=0 bus_errors=0"
        # Nothing may have changed since then.
        self.run_command("--start-date", "4h")

    @override_settings(PROGRAM_CERTIFICATES_ROUTING_KEY="programs")
    def test_queue(self) -> None:
        apply_async = self.patch(f"{MODULE}.republish_program_certificates").apply_async
        assert self.run_command("--all", "--enqueue") == "enqueued=1"
        self.run_command("--usernames", "learner", "--enqueue", "--queue", "repairs")
        assert apply_async.call_args_list == [
            mock.call((self.user.id, False), queue="programs"),
            mock.call((self.user.id, True), queue="repairs"),
        ]

    def test_delay(self) -> None:
        self.patch(f"{MODULE}.republish_program_certificates")
        sleep = self.patch(f"{MODULE}.time").sleep
        self.patch(f"{MODULE}.Command.find_learners", return_value=range(250))
        self.run_command("--all", "--enqueue")
        assert self.run_command("--all", "--enqueue", "--delay", "0.5") == "enqueued=250"
        assert sleep.call_args_list == [mock.call(1), mock.call(1), mock.call(0.5), mock.call(0.5)]

    def test_celery_takes_the_tasks(self) -> None:
        assert self.run_command("--all", "--enqueue") == "enqueued=1"
        assert self.sent == [(PROGRAM_CERTIFICATE_AWARDED, PROGRAM_UUID)]
        GeneratedCertificate.objects.all().delete()
        assert self.run_command("--start-date", "4h", "--enqueue").endswith("enqueued=0")
        self.run_command("--all", "--enqueue", problem="No program certificate was found")

    def test_broker_that_is_unreachable(self) -> None:
        task = self.patch(f"{MODULE}.republish_program_certificates")
        task.apply_async.side_effect = [None, OperationalError]
        options = ["--usernames", "learner", "learner0", "--enqueue"]
        assert self.run_command(*options, problem="OperationalError") == "enqueued=1"
