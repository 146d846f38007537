"""
Tests of what ``republish_program_certificate_events`` has read, and of its options.
"""

from datetime import UTC, datetime, timedelta
from unittest import mock

import ddt
import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import TestCase
from opaque_keys.edx.locator import CourseLocator

from common.djangoapps.student.tests.factories import UserFactory
from lms.djangoapps.certificates.models import GeneratedCertificate
from openedx.core.djangoapps.programs.republish_selection import find_learners
from openedx.core.djangoapps.programs.tests.test_credentials_reader import OTHER_PROGRAM, PROGRAM, credential
from openedx.core.djangoapps.programs.tests.test_republish_program_certificate_events import (
    COMMAND,
    MODULE,
    RepublishTestCase,
    summary,
)
from openedx.core.djangolib.testing.utils import skip_unless_lms

SELECTION = "openedx.core.djangoapps.programs.republish_selection"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
User = get_user_model()


@skip_unless_lms
@ddt.ddt
class RecentlyModifiedTests(RepublishTestCase):
    """Only learners whose course certificates were modified lately are asked about."""

    def setUp(self):
        super().setUp()
        self.ids = []
        self.patch(f"{SELECTION}.now", return_value=NOW)

    def create_learners(self, *hours, courses=1):
        """Create learners, whose ids are in ``ids``, and whose course certificates were modified so many hours ago."""
        self.ids = []
        for number, ago in enumerate(hours):
            user = UserFactory(username=f"learner{number}")
            self.ids.append(user.id)
            # Without signals: no task is to run.
            certificates = GeneratedCertificate.objects.bulk_create(
                GeneratedCertificate(user=user, course_id=CourseLocator("edX", "DemoX", str(course)))
                for course in range(courses)
            )
            self.modify(certificates, ago)

    def modify(self, certificates, hours):
        """Have certificates been modified so many hours ago."""
        pks = [certificate.pk for certificate in certificates]
        GeneratedCertificate.objects.filter(pk__in=pks).update(modified_date=NOW - timedelta(hours=hours))

    def asked(self):
        """Return about whom Credentials was asked, in order."""
        return [query["username"] for query in self.api.queries]

    @ddt.data(
        (["2h"], [0, 1]),
        (["120m"], [0, 1]),
        (["1d"], [0, 1, 2, 3]),
        (["2026-11-23T10:00:00Z"], [0, 1]),
        (["2h", "--margin", "0m"], [0]),
        (["2h", "--margin", "3h"], [0, 1, 2]),
    )
    @ddt.unpack
    def test_asks_about_learners_since_the_start_and_its_margin(self, options, expected):
        self.create_learners(1, 4, 4.5, 25)
        self.serve([])

        assert self.run_command("--recently-modified", "--start-date", *options) == summary(asked=len(expected))

        assert sorted(self.asked()) == [f"learner{number}" for number in expected]

    def test_certificates_are_announced_since_the_start_and_its_margin(self):
        self.create_learners(1)
        self.serve(
            [
                credential("learner0", modified="2026-11-23T08:00:00Z"),
                credential("learner0", OTHER_PROGRAM, modified="2026-11-23T07:59:59Z"),
                credential("learner1"),
            ]
        )

        output = self.run_command("--recently-modified", "--start-date", "2h")

        assert output == summary(asked=1, read=2, outside=1, awarded=1)
        assert [event[1].program.uuid for event in self.events] == [PROGRAM]

    def test_only_certificates_of_the_programs_in_question(self):
        self.create_learners(1)
        modified = NOW.isoformat()
        self.serve([credential("learner0", program, modified=modified) for program in (PROGRAM, OTHER_PROGRAM)])

        output = self.run_command("--recently-modified", "--start-date", "2h", "--program-uuids", OTHER_PROGRAM)

        assert output == summary(asked=1, read=2, outside=1, awarded=1)
        assert [event[1].program.uuid for event in self.events] == [OTHER_PROGRAM]

    def test_a_course_certificate_that_was_modified_again_after_the_end(self):
        # modified_date has only the last of both.
        self.create_learners(1)
        self.serve([credential("learner0", modified="2026-11-22T12:00:00Z")])

        output = self.run_command("--recently-modified", "--start-date", "1d", "--end-date", "20h")

        assert output == summary(asked=1, read=1, awarded=1)

    @ddt.data(1, 2, 3, 1000)
    def test_each_learner_once_in_any_number_of_queries(self, page_size):
        self.create_learners(1, 2, 3, 25, courses=3)
        first = GeneratedCertificate.objects.order_by("id").first()
        self.modify([first], 25)
        self.serve([])
        self.patch(f"{SELECTION}.PAGE_SIZE", new=page_size)
        self.open_clients_without_queries()
        self.patch(f"{MODULE}._get_service_user")

        with self.assertNumQueries(3 // page_size + 1) as queries:
            output = self.run_command("--recently-modified", "--start-date", "2h")

        assert output == summary(asked=3)
        assert self.asked() == ["learner0", "learner1", "learner2"]
        # Not every database gives this order unasked.
        assert all("ORDER BY" in query["sql"] for query in queries.captured_queries)

    def test_a_learner_whose_certificate_is_modified_meanwhile_comes_later(self):
        self.create_learners(1, 1, 25)
        self.patch(f"{SELECTION}.PAGE_SIZE", new=1)

        def answer(params):
            self.modify(GeneratedCertificate.objects.filter(user__username="learner2"), 0)
            return {"body": b'{"count": 0, "next": null, "results": []}'}

        self.api.answers.append(answer)

        assert self.run_command("--recently-modified", "--start-date", "2h") == summary(asked=3)

    def test_a_program_without_news_is_no_failure(self):
        self.create_learners(1)
        self.serve([])

        output = self.run_command("--recently-modified", "--start-date", "2h", "--program-uuids", PROGRAM)

        assert output == summary(asked=1)

    @ddt.data("2h", "2026-11-23T10:00:00Z")
    def test_what_to_repeat_does_not_move_with_the_clock(self, start):
        # Run again an hour later, "2h" would begin an hour later.
        self.create_learners(1)
        self.answer(status=403)

        message = self.run_failing("--recently-modified", "--start-date", start, "--margin", "1h")

        again = ", with --start-date 2026-11-23T10:00:00Z," if start == "2h" else ""
        assert f"Run the same command again{again} once the cause is gone" in message

    def test_nothing_new_is_told_in_one_line(self):
        self.create_learners(1, 2)
        self.serve([credential("learner1", modified="2026-11-01T00:00:00Z")])

        assert self.run_command("--recently-modified", "--start-date", "2h") == summary(asked=2, read=1, outside=1)

        assert self.logs == [f"INFO:{MODULE}:Starting"] + self.disabled()

    def test_nobody_is_told_in_one_line(self):
        assert self.run_command("--recently-modified", "--start-date", "2h") == summary(asked=0)

        assert self.logs == [f"INFO:{MODULE}:Starting"] + self.disabled()
        assert not self.api.queries

    def disabled(self):
        """Return the lines that say that nothing leaves the LMS in these tests."""
        return [line for line in self.logs if "EVENT_BUS_PRODUCER_CONFIG" in line]

    def test_progress_is_logged_now_and_then(self):
        self.create_learners(*[1] * 7)
        self.serve([])
        self.patch(f"{MODULE}.LISTS_A_LINE", new=3)

        self.run_command("--recently-modified", "--start-date", "2h", "--delay", "2")

        assert self.logged("INFO")[1:] == ["Learners asked about: 3", "Learners asked about: 6"]
        assert self.pauses == [2] * 6

    def test_lists_that_are_refused_are_counted(self):
        self.create_learners(1, 1, 1)
        self.answer(status=400)
        self.answer(status=400)
        self.answer()

        message = self.run_failing("--recently-modified", "--start-date", "2h")

        assert message.startswith(
            f"Not complete: list 1 (user {self.ids[0]}), page 1: Credentials answered 400. Lists that are not "
            "complete: 2; the log names them. Run the same command again, with --start-date 2026-11-23T10:00:00Z, once"
        )
        assert self.stdout.getvalue() == summary(asked=3)
        assert self.logged("ERROR") == [
            f"Not complete: list {number} (user {self.ids[number - 1]}), page 1: Credentials answered 400"
            for number in (1, 2)
        ]

    def test_a_name_that_was_taken_over_is_not_vouched_for(self):
        self.create_learners(1)
        self.serve([credential("learner0", created="2001-01-01T00:00:00Z", modified=NOW.isoformat())])

        assert self.run_command("--recently-modified", "--start-date", "2h") == summary(asked=1, read=1, younger=1)

    def test_interrupted(self):
        self.create_learners(1, 1)
        self.serve([credential("learner0", modified=NOW.isoformat())])
        self.sleep.side_effect = KeyboardInterrupt

        message = self.run_failing("--recently-modified", "--start-date", "2h", "--delay", "1")

        assert message.startswith(f"Interrupted in list 2 (user {self.ids[1]}). All before that is done.")
        assert self.stdout.getvalue() == summary(asked=1, read=1, awarded=1)


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
        (["--start-date", "private"], "--start-date: neither an ISO 8601 time nor an age such as 2h."),
        (["--start-date", "2026-02-30"], "--start-date: neither an ISO 8601 time nor an age such as 2h."),
        (["--end-date", ""], "--end-date: neither an ISO 8601 time nor an age such as 2h."),
        (["--end-date", "0001-01-01T00:00:00+14:00"], "--end-date: neither an ISO 8601 time nor an age such as 2h."),
        (["--start-date", "2026-11-24", "--end-date", "2026-11-24"], "--start-date has to be before --end-date."),
        (["--start-date", "1h", "--end-date", "2h"], "--start-date has to be before --end-date."),
        (
            ["--start-date", "1h", "--end-date", "2h", "--recently-modified", "--margin", "1d"],
            "--start-date has to be before --end-date.",
        ),
        (["--start-date", "2"], "--start-date: neither"),
        (["--start-date", "2w"], "--start-date: neither"),
        (["--start-date=-2h"], "--start-date: neither"),
        (["--start-date", "\u0662h"], "--start-date: neither"),
        (["--start-date", "99999d"], "--start-date: neither"),
        (["--start-date", "0001-01-01", "--recently-modified"], "--start-date: neither"),
        (["--recently-modified"], "--recently-modified needs --start-date."),
        (["--recently-modified", "--end-date", "1h"], "--recently-modified needs --start-date."),
        (
            ["--recently-modified", "--start-date", "2h", "--all"],
            "--recently-modified contradicts --all and --usernames.",
        ),
        (
            ["--recently-modified", "--start-date", "2h", "--usernames", "learner"],
            "--recently-modified contradicts --all and --usernames.",
        ),
        (["--start-date", "2h", "--margin", "0m"], "--margin needs --recently-modified."),
        (["--start-date", "2h", "--margin", "private", "--recently-modified"], "--margin: not a duration such as 2h."),
        (["--all", "--delay", "private"], "--delay: not a number from 0 to 3600."),
        (["--all", "--delay", "-1"], "--delay: not a number from 0 to 3600."),
        (["--all", "--delay", "nan"], "--delay: not a number from 0 to 3600."),
        (["--all", "--delay", "inf"], "--delay: not a number from 0 to 3600."),
        (["--all", "--delay", "1e6"], "--delay: not a number from 0 to 3600."),
        (
            ["--usernames", "learner", "learner", "private1", "learner", "private2"],
            "--usernames: the LMS does not know number 3, 5 of them.",
        ),
    )
    @ddt.unpack
    def test_unusable_options(self, options, message):
        UserFactory(username="learner")

        error = self.run_failing(*options, code=2)

        assert error.startswith(message)
        assert "private" not in error
        assert self.stdout.getvalue() == ""
        self.open_client.assert_not_called()

    def test_values_that_do_not_come_from_the_parser_are_checked_too(self):
        UserFactory(username="b")
        for option in (
            {"program_uuids": 1},
            {"program_uuids": PROGRAM},
            {"program_uuids": [], "start_date": "2026-11-23"},
            {"usernames": [1]},
            {"usernames": "b"},
            {"usernames": [], "all": True},
            {"start_date": 1},
            {"delay": 10**400, "all": True},
        ):
            with pytest.raises(CommandError, match=f"^--{next(iter(option)).replace('_', '-')}: ") as error:
                call_command(COMMAND, **option)
            assert error.value.returncode == 2

    def test_two_names_of_one_learner(self):
        # A database that ignores case, played by other usernames: Credentials may have a certificate under each.
        learner = UserFactory(username="ada.k")
        self.patch(f"{SELECTION}.find_learners", side_effect=lambda names: dict.fromkeys(names, learner))

        error = self.run_failing("--usernames", "Ada.K", "ada.k", code=2)

        assert error == "--usernames: two of them are the same learner to the LMS."

    def test_many_usernames(self):
        usernames = [f"learner{number}" for number in range(250)]
        for username in usernames:
            UserFactory(username=username)
        self.serve([credential(username) for username in usernames])

        assert self.run_command("--usernames", *usernames) == summary(read=250, awarded=250)

        assert [query["username"] for query in self.api.queries] == usernames


@skip_unless_lms
class FindLearnersTests(TestCase):
    """Learners are looked up by username, as the database understands it."""

    def setUp(self):
        super().setUp()
        for number in range(3):
            UserFactory(username=f"learner{number}", profile__name=f"Name {number}")

    def find(self, *names, queries):
        """Find learners, in so many queries; return usernames asked for, and username and name of each."""
        with self.assertNumQueries(queries):
            return [(name, user.username, user.profile.name) for name, user in find_learners(names).items()]

    def test_in_the_order_of_the_names(self):
        assert self.find("learner2", "learner0", "learner2", queries=1) == [
            ("learner2", "learner2", "Name 2"),
            ("learner0", "learner0", "Name 0"),
        ]

    def test_the_database_says_who_has_a_name_that_nobody_has_to_the_letter(self):
        # One that ignores case, played by users who come out of it with other usernames.
        from_db = User.from_db

        def from_another_db(*args):
            user = from_db(*args)
            user.username = user.username.replace("learner1", "Learner1").replace("learner2", "Learner2")
            return user

        with mock.patch.object(User, "from_db", from_another_db):
            assert self.find("learner2", "learner1", "nobody", "learner0", queries=2) == [
                ("learner2", "Learner2", "Name 2"),
                ("learner1", "Learner1", "Name 1"),
                ("learner0", "learner0", "Name 0"),
            ]

    def test_nobody_else_is_read(self):
        # A site may have millions.
        with mock.patch.object(User, "from_db", side_effect=User.from_db) as from_db:
            self.find("learner1", "nobody", queries=2)
        assert from_db.call_count == 1

    def test_many(self):
        UserFactory(username="learner200")
        found = self.find(*[f"learner{number}" for number in range(250)], queries=6)
        assert [name for name, *_ in found] == ["learner0", "learner1", "learner2", "learner200"]
