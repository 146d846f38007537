"""
Tests of the management command ``republish_program_certificate_events``.
"""

import io
import logging
import os
import signal
import threading
import warnings
from datetime import UTC, datetime, timedelta
from unittest import mock
from uuid import UUID

import ddt
import pytest
import requests
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from django.test import override_settings
from openedx_events.event_bus import EventBusProducer
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

from common.djangoapps.student.tests.factories import UserFactory
from openedx.core.djangoapps.programs.events import emit_program_certificate_awarded, emit_program_certificate_revoked
from openedx.core.djangoapps.programs.management.commands import republish_program_certificate_events
from openedx.core.djangoapps.programs.tests.test_credentials_reader import (
    CREDENTIAL,
    OTHER_CREDENTIAL,
    OTHER_PROGRAM,
    PROGRAM,
    READER,
    ReaderTestCase,
    credential,
)
from openedx.core.djangoapps.programs.tests.test_events import broken_event
from openedx.core.djangolib.testing.utils import skip_unless_lms

COMMAND = "republish_program_certificate_events"
# Imported before anything is patched: it would keep what is patched where it imports from.
MODULE = republish_program_certificate_events.__name__
TOPIC = "learning-program-certificate-lifecycle"
PUBLISHED = "published"
LMS_ONLY = "sent_in_lms_only"


def summary(
    read=0,
    outside=0,
    awarded=0,
    revoked=0,
    skipped=0,
    younger=0,
    failed=0,
    published=LMS_ONLY,
    published_revoked=None,
    asked=None,
):
    """
    Make the line that ends the command's output. Without configuration, no event leaves the LMS.
    """
    return (
        f"Program certificates: {f'learners_asked={asked} ' if asked is not None else ''}read={read} "
        f"not_selected={outside} {published}_awarded={awarded} {published_revoked or published}_revoked={revoked} "
        f"skipped_unknown_learner={skipped} skipped_younger_account={younger} failed={failed}\n"
    )


def producer_config(awarded, revoked):
    """
    Make a producer configuration with both events enabled or not.
    """
    return {
        event.event_type: {TOPIC: {"event_key_field": "program_certificate.program.uuid", "enabled": enabled}}
        for event, enabled in ((PROGRAM_CERTIFICATE_AWARDED, awarded), (PROGRAM_CERTIFICATE_REVOKED, revoked))
    }


class Producer(EventBusProducer):
    """A producer that can be built."""

    def send(self, **kwargs):
        """Send nothing."""


class RepublishTestCase(ReaderTestCase):
    """Keeps what the command logs and sends, and what a consumer makes of it."""

    def setUp(self):
        super().setUp()
        self.events = []
        self.latest = {}
        self.stdout = io.StringIO()
        for event in (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED):
            event.enable()  # a test that isolates itself from events may have left it disabled
            event.connect(self.receive)
            self.addCleanup(event.disconnect, self.receive)

    def receive(self, signal, program_certificate, metadata, **kwargs):  # pylint: disable=redefined-outer-name
        """Keep an event, and for each learner and program the one with the latest time."""
        self.events.append((signal.event_type.split(".")[-2], program_certificate, metadata.time))
        key = (program_certificate.user.id, program_certificate.program.uuid)
        if key not in self.latest or self.latest[key][0] <= metadata.time:
            self.latest[key] = (metadata.time, program_certificate.status)

    @property
    def known(self):
        """list[str]: the statuses that a consumer has that keeps the latest event."""
        return [status for _time, status in self.latest.values()]

    def run_command(self, *args, stdout=None, **options):
        """Run the command, and return its output."""
        self.stdout = stdout or io.StringIO()
        with self.assertLogs("openedx.core.djangoapps.programs", logging.DEBUG) as logs:
            # assertLogs() fails if nothing is logged.
            logging.getLogger(MODULE).info("Starting")
            self.logs = logs.output
            call_command(COMMAND, *args, stdout=self.stdout, **options)
        return self.stdout.getvalue()

    def run_failing(self, *args, code=1, **options):
        """Run the command, which is to fail, and return the error's message."""
        with pytest.raises(CommandError) as error:
            self.run_command(*args, **options)
        assert error.value.returncode == code
        return str(error.value)

    def logged(self, level, module=MODULE):
        """Return the messages of a level, other than that nothing leaves the LMS in these tests."""
        return [line for line in super().logged(level, module) if "EVENT_BUS_PRODUCER_CONFIG" not in line]


@skip_unless_lms
@ddt.ddt
class RepublishTests(RepublishTestCase):
    """What is read, counted and sent."""

    def test_sends_the_event_of_the_current_status(self):
        learner = UserFactory(username="learner", first_name="Ada", last_name="Lovelace")
        self.answer(credential("learner"), credential("learner", OTHER_PROGRAM, status="revoked"))
        asked = datetime(2026, 11, 25, 12, 30, 15, 250, tzinfo=UTC)
        self.patch(f"{READER}.now", return_value=asked)

        assert self.run_command("--all") == summary(read=2, awarded=1, revoked=1)

        assert len(self.events) == 2
        awarded, revoked = self.events[0], self.events[1]
        assert awarded[0] == awarded[1].status == "awarded"
        assert awarded[1].program.uuid == PROGRAM
        assert awarded[1].user.id == learner.id
        assert awarded[1].user.pii.name == "Ada Lovelace"
        assert revoked[0] == revoked[1].status == "revoked"
        assert revoked[1].program.uuid == OTHER_PROGRAM
        assert awarded[2] == revoked[2] == asked

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

    def test_one_list_a_program(self):
        UserFactory(username="learner")
        self.serve([credential("learner", program) for program in (PROGRAM, OTHER_PROGRAM)])

        output = self.run_command("--program-uuids", UUID(PROGRAM).hex, OTHER_PROGRAM, PROGRAM.upper())

        assert output == summary(read=2, awarded=2)
        assert [query["program_uuid"] for query in self.api.queries] == [PROGRAM, OTHER_PROGRAM]
        assert self.pauses == []

    def test_one_list_a_learner_however_many_programs(self):
        usernames = ["learner1", "learner2", "learner3"]
        for username in usernames:
            UserFactory(username=username)
        self.serve([credential(username, program) for username in usernames for program in (PROGRAM, OTHER_PROGRAM)])

        output = self.run_command("--usernames", "learner1", "learner3", "learner1", "--program-uuids", PROGRAM)

        assert output == summary(read=4, awarded=2, outside=2)
        assert [query["username"] for query in self.api.queries] == ["learner1", "learner3"]
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
            read=4, awarded=1, revoked=1, skipped=1, failed=1, published="would_send_in_lms_only"
        )
        assert not self.events
        assert len(ReaderTestCase.logged(self, "WARNING", MODULE)) == 2

    def test_a_malformed_record_is_named_and_stops_nothing(self):
        UserFactory(username="learner")
        self.answer(credential("learner") | {"status": "expired"}, credential("learner"), None)

        message = self.run_failing("--all")

        assert message.startswith("Program certificates that failed: 2; the log names them. Run the same command again")
        assert self.stdout.getvalue() == summary(read=3, awarded=1, failed=2)
        problem = "username, status, created, modified or program_uuid is missing or malformed"
        assert self.logged("ERROR") == [
            f"Program certificate {CREDENTIAL}: {problem}",
            f"Program certificate 3 on page 1 of list 1 of 1: {problem}",
        ]

    def test_an_event_that_fails_is_counted_and_stops_nothing(self):
        UserFactory(username="learner")
        self.answer(credential("learner"), credential("learner", OTHER_PROGRAM, status="revoked"))
        with broken_event(PROGRAM_CERTIFICATE_AWARDED, ConnectionError):
            message = self.run_failing("--all")

        assert "Program certificates that failed: 1;" in message
        assert self.stdout.getvalue() == summary(read=2, revoked=1, failed=1)
        assert self.logged("ERROR") == [f"Program certificate {CREDENTIAL}: its event could not be sent"]

    def test_a_consumer_learns_what_moved_no_date(self):
        # revoke_certificates of Credentials updates the status alone.
        learner = UserFactory(username="learner")
        emit_program_certificate_awarded(learner, PROGRAM)
        self.answer(credential("learner", status="revoked"))

        assert self.run_command("--all") == summary(read=1, revoked=1)

        assert self.known == ["revoked"]

    @ddt.data(-60, 60)
    def test_a_consumer_is_not_misled_by_the_clock_of_credentials(self, minutes):
        learner = UserFactory(username="learner")
        emit_program_certificate_awarded(learner, PROGRAM)
        modified = (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()
        self.answer(credential("learner", status="revoked", modified=modified))

        self.run_command("--all")
        assert self.known == ["revoked"]

        emit_program_certificate_awarded(learner, PROGRAM)
        assert self.known == ["awarded"]

    def test_a_live_change_between_reading_and_sending_wins(self):
        learner = UserFactory(username="learner")

        def answer(params):
            emit_program_certificate_revoked(learner, PROGRAM)
            return page(params)

        self.serve([credential("learner")])
        page = self.api.answers.pop()
        self.api.answers.append(answer)

        assert self.run_command("--all") == summary(read=1, awarded=1)

        assert [event[0] for event in self.events] == ["revoked", "awarded"]
        assert self.known == ["revoked"]


@skip_unless_lms
@ddt.ddt
class LearnerTests(RepublishTestCase):
    """Whom a certificate is announced for."""

    def test_skips_learners_that_the_lms_does_not_know(self):
        UserFactory(username="learner")
        self.answer(credential("nobody"), credential("learner"))

        assert self.run_command("--all") == summary(read=2, skipped=1, awarded=1)

    @ddt.data(1, 20)
    def test_looks_learners_up_in_one_query_a_page(self, learners):
        for number in range(learners):
            user = UserFactory(username=f"learner{number}")
            if number % 2:
                user.profile.delete()
        self.answer(*[credential(f"learner{number}") for number in range(learners)])
        self.open_clients_without_queries()
        self.patch(f"{MODULE}._get_service_user", return_value=self.service_user)

        with self.assertNumQueries(1):
            self.run_command("--all")

        assert len(self.events) == learners

    def test_looks_nobody_up_for_a_page_outside_the_window(self):
        UserFactory(username="learner")
        self.answer(credential("learner"))
        self.open_clients_without_queries()
        self.patch(f"{MODULE}._get_service_user", return_value=self.service_user)

        with self.assertNumQueries(0):
            self.run_command("--start-date", "2026-11-24")

    def test_who_the_database_finds_is_the_learner(self):
        # A database that ignores case, played by other usernames.
        learner = UserFactory(username="ada.k")
        self.patch(f"{MODULE}.find_learners", side_effect=lambda names: {n: learner for n in names if n == "Ada.K"})
        self.answer(credential("Ada.K"))

        assert self.run_command("--all") == summary(read=1, awarded=1)

        assert self.events[0][1].user.pii.username == "ada.k"

    def test_two_certificates_of_one_learner_and_program_are_not_announced(self):
        learner = UserFactory(username="ada.k")
        self.patch(f"{MODULE}.find_learners", side_effect=lambda names: dict.fromkeys(names, learner))
        self.answer(
            credential("Ada.K"),
            credential("ada.k", uuid=OTHER_CREDENTIAL, status="revoked"),
            credential("ada.k", OTHER_PROGRAM),
        )

        assert "Program certificates that failed: 2;" in self.run_failing("--all")

        assert self.stdout.getvalue() == summary(read=3, awarded=1, failed=2)
        assert [event[1].program.uuid for event in self.events] == [OTHER_PROGRAM]
        assert self.logged("ERROR") == [
            f"Program certificate {uuid}: user {learner.id} has another one of this program"
            for uuid in (CREDENTIAL, OTHER_CREDENTIAL)
        ]

    def test_the_other_certificate_may_be_outside_the_window(self):
        learner = UserFactory(username="ada.k")
        self.patch(f"{MODULE}.find_learners", side_effect=lambda names: dict.fromkeys(names, learner))
        self.answer(credential("Ada.K", modified="2020-01-01T00:00:00Z"), credential("ada.k", uuid=OTHER_CREDENTIAL))

        self.run_failing("--start-date", "2026-11-01")

        assert self.stdout.getvalue() == summary(read=2, outside=1, failed=1)

    def test_who_took_a_username_over_is_not_announced(self):
        earner = UserFactory(username="sam", email="samira@example.com", date_joined=datetime(2025, 1, 1, tzinfo=UTC))
        earner.username = "samira.k"
        earner.save()
        newcomer = UserFactory(username="sam", date_joined=datetime(2026, 11, 24, tzinfo=UTC))
        self.answer(credential("sam", created="2026-05-01T00:00:00Z"))

        # Nothing was announced at all, which is no success.
        assert self.run_failing("--all").startswith(
            "No certificate was announced, as the LMS knows none of their holders."
        )

        assert self.stdout.getvalue() == summary(read=1, younger=1)
        assert not self.events
        assert self.logged("WARNING") == [
            f"Program certificate {CREDENTIAL} is older than the account of user {newcomer.id}, who may have taken its "
            "holder's username over; if not, name them in --usernames"
        ]

    def test_learners_of_another_credentials(self):
        UserFactory(username="learner")
        self.answer(credential("nobody"), credential("somebody"))

        assert self.run_failing("--all").startswith(
            "No certificate was announced, as the LMS knows none of their holders."
        )
        assert self.stdout.getvalue() == summary(read=2, skipped=2)

        # In a window there may be nothing but a learner who was deleted.
        assert self.run_command("--start-date", "2026-11-01") == summary(read=2, skipped=2)

    def test_a_time_at_the_end_of_all_times(self):
        UserFactory(username="learner")
        self.answer(credential("learner", created="9999-12-31T23:59:59Z"))

        assert self.run_command("--all") == summary(read=1, awarded=1)

    def test_an_inactive_learner(self):
        UserFactory(username="learner", is_active=False)
        self.answer(credential("learner"))

        assert self.run_command("--all") == summary(read=1, awarded=1)

        assert self.events[0][1].user.is_active is False

    def test_a_younger_account_is_announced_if_it_is_named(self):
        UserFactory(username="sam", date_joined=datetime(2026, 11, 24, tzinfo=UTC))
        self.answer(credential("sam", created="2026-05-01T00:00:00Z"))

        assert self.run_command("--usernames", "sam") == summary(read=1, awarded=1)

    def test_an_account_may_be_as_much_younger_as_clocks_differ(self):
        joined = datetime(2026, 11, 24, tzinfo=UTC)
        UserFactory(username="learner", date_joined=joined)
        self.answer(
            credential("learner", created=(joined - timedelta(days=1)).isoformat()),
            credential("learner", OTHER_PROGRAM, created=(joined - timedelta(days=1, seconds=1)).isoformat()),
        )

        assert self.run_command("--all") == summary(read=2, awarded=1, younger=1)

        assert self.events[0][1].program.uuid == PROGRAM


@skip_unless_lms
@ddt.ddt
class NothingFoundTests(RepublishTestCase):
    """A list that is empty, and one that cannot be read."""

    NOTHING = "Credentials has no such program certificate at all. Is it the right Credentials, "

    @ddt.data(["--all"], ["--all", "--start-date", "2026-11-23"])
    def test_everything_is_nothing(self, options):
        self.answer()

        assert self.run_failing(*options).startswith(self.NOTHING)

        assert self.stdout.getvalue() == summary()
        assert self.logged("INFO")[1:] == ["Program certificates: 0 of 0 read, up to page 1 of list 1 of 1"]

    def test_a_window_without_certificates_is_a_success(self):
        self.answer()

        assert self.run_command("--start-date", "2026-11-23") == summary()

        assert not self.logged("WARNING")

    def test_a_program_without_certificates(self):
        self.answer()

        assert self.run_failing("--program-uuids", PROGRAM).startswith(self.NOTHING)

        assert self.logged("WARNING") == [f"Credentials has no program certificate of program {PROGRAM} (list 1 of 1)"]

    def test_a_learner_without_certificates(self):
        UserFactory(username="private")
        self.answer()

        assert self.run_failing("--usernames", "private").startswith(self.NOTHING)

    def test_a_learner_without_certificates_of_the_programs(self):
        learner = UserFactory(username="private")
        self.answer(credential("private", OTHER_PROGRAM))

        assert self.run_failing("--usernames", "private", "--program-uuids", PROGRAM).startswith(self.NOTHING)

        assert self.stdout.getvalue() == summary(read=1, outside=1)
        assert self.logged("WARNING") == [f"Credentials has no program certificate of user {learner.id} (list 1 of 1)"]
        assert "private" not in "".join(self.logs)

    def test_one_of_several_lists_is_empty(self):
        UserFactory(username="learner")
        self.serve([credential("learner")])

        assert self.run_command("--program-uuids", OTHER_PROGRAM, PROGRAM) == summary(read=1, awarded=1)

        assert self.logged("WARNING") == [
            f"Credentials has no program certificate of program {OTHER_PROGRAM} (list 1 of 2)"
        ]

    def test_all_outside_the_window_is_not_nothing(self):
        UserFactory(username="learner")
        self.answer(credential("learner"))

        output = self.run_command("--program-uuids", PROGRAM, "--start-date", "2026-11-24")

        assert output == summary(read=1, outside=1)
        assert not self.logged("WARNING")

    def test_a_list_that_is_refused_is_not_called_empty_or_unknown(self):
        self.answer(status=400)

        message = self.run_failing("--program-uuids", PROGRAM)

        assert message.startswith("Not complete: list 1 of 1, page 1: Credentials answered 400. Run the same command")
        assert self.stdout.getvalue() == summary()
        assert not self.logged("WARNING")

    def test_a_list_that_is_refused_does_not_stop_the_next(self):
        UserFactory(username="learner")
        self.answer(status=400)
        self.answer(credential("learner"))

        message = self.run_failing("--program-uuids", OTHER_PROGRAM, PROGRAM)

        assert message.startswith("Not complete: list 1 of 2, page 1: Credentials answered 400. Run the same command")
        assert self.stdout.getvalue() == summary(read=1, awarded=1)
        assert not self.logged("WARNING")

    @ddt.data({"status": 403}, {"status": 302}, {"status": 503}, {"body": requests.ConnectionError()})
    def test_a_service_that_is_away_or_refuses_the_service_user_ends_the_run(self, failure):
        UserFactory(username="learner")
        self.answer(credential("learner"))
        self.answer(**failure)

        message = self.run_failing("--program-uuids", PROGRAM, OTHER_PROGRAM, CREDENTIAL)

        assert message.startswith("Stopped in list 2 of 3, page 1: ")
        assert "All before that is done. Run the same command again" in message
        assert self.stdout.getvalue() == summary(read=1, awarded=1)
        assert {query["program_uuid"] for query in self.api.queries} == {PROGRAM, OTHER_PROGRAM}

    def test_a_list_that_never_stands_still(self):
        UserFactory(username="learner")
        self.answer(credential("learner"), count=2)

        message = self.run_failing("--all")

        assert message.startswith("Not complete: list 1 of 1, it moved while it was read, 3 times: it has 2 records")
        # Repeats are counted, as they are sent.
        assert self.stdout.getvalue() == summary(read=3, awarded=3)


@skip_unless_lms
@ddt.ddt
class EndingTests(RepublishTestCase):
    """How a run ends before its end."""

    def setUp(self):
        super().setUp()
        UserFactory(username="learner")
        self.serve([credential("learner", str(UUID(int=number))) for number in range(3)], page_size=2)

    def assert_ends_in_order(self):
        """Run until the first pause, which is to end it."""

        def handler(*args):
            """Do nothing."""

        self.addCleanup(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, handler))

        message = self.run_failing("--all", "--delay", "1")

        assert message.startswith("Interrupted in list 1 of 1. All before that is done. Run the same command again")
        assert self.stdout.getvalue() == summary(read=2, awarded=2)
        assert signal.getsignal(signal.SIGTERM) is handler

    def test_interrupted(self):
        self.sleep.side_effect = KeyboardInterrupt
        self.assert_ends_in_order()

    def test_terminated(self):
        self.sleep.side_effect = lambda seconds: os.kill(os.getpid(), signal.SIGTERM)
        self.assert_ends_in_order()

    def test_an_interrupt_in_the_middle_of_a_page(self):
        def stop(program_certificate, **kwargs):
            if program_certificate.program.uuid == str(UUID(int=1)):
                raise KeyboardInterrupt

        PROGRAM_CERTIFICATE_AWARDED.connect(stop)
        self.addCleanup(PROGRAM_CERTIFICATE_AWARDED.disconnect, stop)

        assert self.run_failing("--all").startswith("Interrupted in list 1 of 1. ")

        # What was being sent is neither read nor sent: the numbers add up.
        assert self.stdout.getvalue() == summary(read=1, awarded=1)

    def test_another_thread_leaves_the_handler_alone(self):
        before, seen, ended = signal.getsignal(signal.SIGTERM), [], []
        self.sleep.side_effect = lambda seconds: seen.append(signal.getsignal(signal.SIGTERM))
        # The test's transaction belongs to its thread.
        self.patch(f"{MODULE}._get_service_user", return_value=self.service_user)
        self.patch(f"{MODULE}.find_learners", return_value={})
        self.open_clients_without_queries()
        self.patch(f"{READER}.get_credentials_api_base_url", return_value=self.url.removesuffix("/credentials/"))

        def run():
            ended.append(self.run_command("--start-date", "2026-11-01", "--delay", "1"))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

        assert ended == [summary(read=3, skipped=3)]
        assert seen == [before]

    def test_a_database_that_fails(self):
        self.patch(f"{MODULE}.find_learners", side_effect=OperationalError("private"))

        message = self.run_failing("--all")

        assert message.startswith("Stopped in list 1 of 1, the LMS's database failed (OperationalError). Run the same")
        assert self.stdout.getvalue() == summary()


@skip_unless_lms
@ddt.ddt
class EventBusTests(RepublishTestCase):
    """What the summary says of events that the bus does not take."""

    def setUp(self):
        super().setUp()
        UserFactory(username="learner")
        self.answer(credential("learner"), credential("learner", OTHER_PROGRAM, status="revoked"))

    @ddt.data(
        (True, True, PUBLISHED, PUBLISHED),
        (True, False, PUBLISHED, LMS_ONLY),
        (False, True, LMS_ONLY, PUBLISHED),
        (False, False, LMS_ONLY, LMS_ONLY),
    )
    @ddt.unpack
    def test_says_published_only_of_what_the_bus_takes(self, awarded, revoked, published, published_revoked):
        with override_settings(
            EVENT_BUS_PRODUCER_CONFIG=producer_config(awarded, revoked), EVENT_BUS_PRODUCER=f"{__name__}.Producer"
        ):
            output = self.run_command("--all")

        assert output == summary(read=2, awarded=1, revoked=1, published=published, published_revoked=published_revoked)
        assert len(self.events) == 2
        disabled = [PROGRAM_CERTIFICATE_AWARDED] * (not awarded) + [PROGRAM_CERTIFICATE_REVOKED] * (not revoked)
        assert ReaderTestCase.logged(self, "WARNING", MODULE) == [
            f"EVENT_BUS_PRODUCER_CONFIG does not enable {event.event_type}: it will not leave the LMS"
            for event in disabled
        ]

    @ddt.data(None, "no_such_module.create_producer", "builtins.dict", "openedx_events.event_bus.NoEventBusProducer")
    def test_refuses_without_a_producer(self, producer):
        with (
            override_settings(EVENT_BUS_PRODUCER_CONFIG=producer_config(True, False), EVENT_BUS_PRODUCER=producer),
            warnings.catch_warnings(action="ignore"),
        ):
            message = self.run_failing("--all", code=2)

            assert message == "EVENT_BUS_PRODUCER: no producer can be built, so every event would be dropped."
            assert not self.api.queries
            # Nothing is sent then, so none is needed.
            assert self.run_command("--all", "--dry-run") == summary(
                read=2,
                awarded=1,
                revoked=1,
                published="would_publish",
                published_revoked="would_send_in_lms_only",
            )

    @ddt.data(
        (None, None),
        (KeyboardInterrupt, "Interrupted while waiting for the event bus: what was under way to it may be lost. Run"),
        (ValueError, "Waiting for the event bus failed (ValueError): what was under way to it may be lost. Run"),
        (
            lambda: os.kill(os.getpid(), signal.SIGTERM),
            "Interrupted while waiting for the event bus: what was under way to it may be lost. Run",
        ),
    )
    @ddt.unpack
    def test_waits_for_a_producer_that_sends_in_the_background(self, flush, message):
        # edx-event-bus-kafka's has a method for that.
        ended = []
        done = summary(read=2, awarded=1, revoked=1, published=PUBLISHED)

        def prepare_for_shutdown(producer):
            assert self.stdout.getvalue() == f"{done}Waiting for the event bus to take what is under way to it.\n"
            ended.append(producer)
            if flush:
                raise flush if isinstance(flush, type) else flush()

        with (
            override_settings(
                EVENT_BUS_PRODUCER_CONFIG=producer_config(True, True), EVENT_BUS_PRODUCER=f"{__name__}.Producer"
            ),
            mock.patch.object(Producer, "prepare_for_shutdown", prepare_for_shutdown, create=True),
        ):
            if message:
                assert self.run_failing("--all").startswith(message)
            else:
                self.run_command("--all")

        assert len(ended) == 1

    def test_waits_for_nothing_if_nothing_was_sent(self):
        with (
            override_settings(
                EVENT_BUS_PRODUCER_CONFIG=producer_config(True, True), EVENT_BUS_PRODUCER=f"{__name__}.Producer"
            ),
            mock.patch.object(Producer, "prepare_for_shutdown", create=True) as flush,
        ):
            self.run_command("--all", "--dry-run")
            self.run_command("--start-date", "2026-11-24")

        flush.assert_not_called()

    def test_needs_no_producer_for_receivers_in_the_lms(self):
        with override_settings(EVENT_BUS_PRODUCER_CONFIG=producer_config(False, False), EVENT_BUS_PRODUCER=None):
            assert self.run_command("--all") == summary(read=2, awarded=1, revoked=1)


@skip_unless_lms
class SettingsTests(RepublishTestCase):
    """What is refused before the first request, besides options."""

    def test_credentials_disabled(self):
        self.create_credentials_config(enabled=False)

        error = self.run_failing("--all", code=2)

        assert error == "The use of Credentials is disabled in CredentialsApiConfig."

    @override_settings(CREDENTIALS_SERVICE_USERNAME="nobody")
    def test_no_service_user(self):
        error = self.run_failing("--all", code=2)

        assert error == "The setting CREDENTIALS_SERVICE_USERNAME names a user who does not exist."
