"""
Management command ``republish_program_certificate_events``.

An event that never reached the event bus is gone: the bus's producers log their failures and go on. Credentials,
though, keeps every program certificate with its status. The command reads them there, with ``CertificateReader``, and
announces each as it stands, through ``programs.events``.

The ``time`` of such an event is the moment, by the LMS's clock, at which Credentials was asked. A consumer that keeps,
for each learner and program, the event with the latest ``time`` therefore ends up with what Credentials has, whatever
it had heard before. What that guarantees, and what not, is in
docs/decisions/0003-recovery-of-program-certificate-events.rst.
"""

import logging
import signal
import threading
from collections import Counter, defaultdict
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError
from openedx_events.event_bus import NoEventBusProducer, get_producer
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

from openedx.core.djangoapps.credentials.api import is_credentials_enabled
from openedx.core.djangoapps.programs.credentials_reader import (
    CertificateReader,
    CredentialsError,
    ListError,
    Page,
    parse_certificate,
)
from openedx.core.djangoapps.programs.events import emit_program_certificate_awarded, emit_program_certificate_revoked
from openedx.core.djangoapps.programs.republish_selection import (
    MAX_DELAY,
    Selection,
    find_learners,
    parse_options,
    unusable,
)

LOGGER = logging.getLogger(__name__)
User = get_user_model()

# How much later than the certificate an account may have been made that holds it: the clocks are two.
MAX_AGE_GAP = timedelta(days=1)
# Of one list for each learner, how many go by between two lines of the log.
LISTS_A_LINE = 1000

EVENTS = {
    "awarded": (PROGRAM_CERTIFICATE_AWARDED, emit_program_certificate_awarded),
    "revoked": (PROGRAM_CERTIFICATE_REVOKED, emit_program_certificate_revoked),
}

# What an event that leaves the LMS is called in the summary.
PUBLISHED = "published"
# What becomes of a certificate that is announced for nobody, as the summary says it.
NOT_SELECTED = "not_selected"
UNKNOWN = "skipped_unknown_learner"
YOUNGER = "skipped_younger_account"
FAILED = "failed"

NOTHING_FOUND = (
    "Credentials has no such program certificate at all. Is it the right Credentials, and do the programs belong to "
    "the Site that CREDENTIALS_INTERNAL_SERVICE_URL leads to? Or has nobody one yet?"
)
NOBODY_KNOWN = "No certificate was announced, as the LMS knows none of their holders. Is it the right Credentials?"
HOW_TO_GO_ON = (
    "Run the same command again{with_start} once the cause is gone: repeats are harmless to consumers that keep, for "
    "each learner and program, the event with the latest time."
)


class Command(BaseCommand):
    """Announces the program certificates that Credentials has, again."""

    help = (
        "Send PROGRAM_CERTIFICATE_AWARDED or PROGRAM_CERTIFICATE_REVOKED for each program certificate in Credentials, "
        "according to its status, with the time at which Credentials was asked. 'Published' means handed to the "
        "receivers in the LMS and to the event bus's producer, which keeps its failures to its own log. Repeats are "
        "harmless to consumers that keep, for each learner and program, the event with the latest time. "
        "Exit codes: 0 complete, 1 not complete, 2 unusable options or settings (nothing was read)."
    )

    selection: Selection
    dry_run: bool
    # How far the run has come.
    listing: str
    learners_asked: int
    outcomes: Counter

    def add_arguments(self, parser):
        """Declare the options. ``handle`` checks the values, because ``call_command`` can bypass the parser."""
        parser.add_argument("--program-uuids", nargs="+", metavar="UUID", help="Only certificates of these programs.")
        parser.add_argument(
            "--usernames",
            nargs="+",
            metavar="NAME",
            help="Only certificates of these learners, also if their accounts are younger than the certificates.",
        )
        parser.add_argument(
            "--start-date",
            metavar="TIME",
            help="Only certificates whose 'modified' in Credentials is then or later: ISO 8601, UTC by default, or how "
            "long ago, such as 30m, 2h or 1d. What Credentials changes in bulk does not move it.",
        )
        parser.add_argument("--end-date", metavar="TIME", help="Only certificates whose 'modified' is before then.")
        parser.add_argument(
            "--recently-modified",
            action="store_true",
            help="Ask only about learners whose course certificates were modified in the LMS since --start-date.",
        )
        parser.add_argument(
            "--margin", metavar="DURATION", help="With it, start so much earlier: a task may be late. 2h by default."
        )
        parser.add_argument(
            "--all", action="store_true", help="All programs and learners. Needed if none of the above is given."
        )
        parser.add_argument("--dry-run", action="store_true", help="Read and count, send nothing.")
        parser.add_argument(
            "--delay", default=0, metavar="SECONDS", help=f"Pause between pages, {MAX_DELAY} at most, 0 by default."
        )

    def handle(self, *args, **options):
        """
        Republish the certificates that the options choose.

        Raises:
            CommandError: With return code 2: options or settings are unusable, and nothing has been requested. With 1:
                the run is not complete, or found nothing where something was expected.
        """
        self.selection = parse_options(options)
        self.dry_run = options["dry_run"]
        reader = CertificateReader(_get_service_user(), self.selection.delay)
        verbs = _check_event_bus(self.dry_run)

        self.outcomes = Counter()
        self.learners_asked = 0
        self.listing = "no list"
        problems = []
        try:
            with _sigterm_interrupts():
                found = self._republish_lists(reader, problems)
            if self.selection.has_to_exist:
                if not found:
                    problems.append(NOTHING_FOUND)
                elif 0 < self.outcomes[UNKNOWN] + self.outcomes[YOUNGER] == sum(self.outcomes.values()):
                    problems.append(NOBODY_KNOWN)
        except CredentialsError as exc:
            problems.append(f"Stopped in {self.listing}, {exc}. All before that is done.")
        except DatabaseError as exc:
            problems.append(f"Stopped in {self.listing}, the LMS's database failed ({type(exc).__name__}).")
        except KeyboardInterrupt:
            problems.append(f"Interrupted in {self.listing}. All before that is done.")
        finally:
            self._write_summary(verbs)
        if PUBLISHED in verbs.values():
            problems += self._wait_for_producer()
        if self.outcomes[FAILED]:
            problems.append(f"Program certificates that failed: {self.outcomes[FAILED]}; the log names them.")
        if problems:
            start = self.selection.repeat_from
            with_start = f", with --start-date {start:%Y-%m-%dT%H:%M:%SZ}," if start else ""
            raise CommandError(" ".join([*problems, HOW_TO_GO_ON.format(with_start=with_start)]))

    def _republish_lists(self, reader: CertificateReader, problems: list[str]) -> bool:
        """
        Republish all lists, and add those that cannot be read to ``problems``.

        Returns:
            Whether there may be any certificate in them.
        """
        lists = self.selection.get_lists()
        # Of many learners, most have no program certificate, and no news.
        many = not isinstance(lists, list)
        found_any, incomplete = False, 0
        for number, (query, name) in enumerate(lists, start=1):
            self.listing = f"list {number} ({name})" if many else f"list {number} of {len(lists)}"
            found = False
            try:
                for page in reader.read(query):
                    found |= self._republish(page)
                    if not many:
                        LOGGER.info(
                            f"Program certificates: {page.read} of {page.count} read, "
                            f"up to page {page.number} of {self.listing}"
                        )
            except ListError as exc:
                LOGGER.error(f"Not complete: {self.listing}, {exc}")
                incomplete += 1
                if incomplete == 1:
                    problems.append(f"Not complete: {self.listing}, {exc}.")
                found = True
            if many:
                self.learners_asked = number
                if number % LISTS_A_LINE == 0:
                    LOGGER.info(f"Learners asked about: {number}")
            elif name and not found:
                LOGGER.warning(f"Credentials has no program certificate of {name} ({self.listing})")
            found_any |= found
        if incomplete > 1:
            problems.append(f"Lists that are not complete: {incomplete}; the log names them.")
        return found_any

    def _republish(self, page: Page) -> bool:
        """
        Send the events of one page.

        Returns:
            Whether it has any certificate of the programs in question, be it within the window or not.
        """
        certificates, selected, found = [], [], False
        for place, record in enumerate(page.records, start=1):
            try:
                certificate = parse_certificate(record, f"{place} on page {page.number} of {self.listing}")
            except ValueError as exc:
                found = True
                self._fail(str(exc))
                continue
            certificates.append(certificate)
            of_program = self.selection.has_program_of(certificate)
            found |= of_program
            if of_program and self.selection.has_time_of(certificate):
                selected.append(certificate)
            else:
                self.outcomes[NOT_SELECTED] += 1
        if not selected:
            return found

        learners = find_learners(certificate.username for certificate in certificates)
        namesakes = defaultdict(set)
        for certificate in certificates:
            if user := learners.get(certificate.username):
                namesakes[user.id, certificate.program_uuid].add(certificate.name)
        for certificate in selected:
            user = learners.get(certificate.username)
            if user is None:
                self.outcomes[UNKNOWN] += 1
            elif len(namesakes[user.id, certificate.program_uuid]) > 1:
                # Credentials tells names apart that the LMS's database does not. Which one counts, nobody can say.
                self._fail(f"Program certificate {certificate.name}: user {user.id} has another one of this program")
            elif user.date_joined - certificate.created > MAX_AGE_GAP and not self.selection.learners:
                self.outcomes[YOUNGER] += 1
                LOGGER.warning(
                    f"Program certificate {certificate.name} is older than the account of user {user.id}, who may have "
                    "taken its holder's username over; if not, name them in --usernames"
                )
            elif self.dry_run or EVENTS[certificate.status][1](user, certificate.program_uuid, time=page.asked):
                self.outcomes[certificate.status] += 1
            else:
                self._fail(f"Program certificate {certificate.name}: its event could not be sent")
        return found

    def _wait_for_producer(self) -> list[str]:
        """
        Let a producer finish that sends in the background, as Kafka's does: what is under way is lost with the process.

        Returns:
            What is not as it should be.
        """
        # Not part of EventBusProducer: only some back ends have it.
        flush = getattr(get_producer(), "prepare_for_shutdown", None)
        if not (flush and any(self.outcomes[status] for status in EVENTS)):
            return []
        self.stdout.write("Waiting for the event bus to take what is under way to it.")
        self.stdout.flush()
        try:
            with _sigterm_interrupts():
                flush()
        except KeyboardInterrupt:
            return ["Interrupted while waiting for the event bus: what was under way to it may be lost."]
        except Exception as exc:  # pylint: disable=broad-except
            return [f"Waiting for the event bus failed ({type(exc).__name__}): what was under way to it may be lost."]
        return []

    def _fail(self, message: str) -> None:
        self.outcomes[FAILED] += 1
        LOGGER.error(message)

    def _write_summary(self, verbs: dict[str, str]) -> None:
        """Write what became of the certificates; each that counts as read has one outcome, also after an interrupt."""
        counts = {
            **({"learners_asked": self.learners_asked} if self.selection.recently_modified else {}),
            "read": sum(self.outcomes.values()),
            NOT_SELECTED: self.outcomes[NOT_SELECTED],
            **{f"{verb}_{status}": self.outcomes[status] for status, verb in verbs.items()},
            **{outcome: self.outcomes[outcome] for outcome in (UNKNOWN, YOUNGER, FAILED)},
        }
        self.stdout.write(f"Program certificates: {' '.join(f'{name}={count}' for name, count in counts.items())}")


@contextmanager
def _sigterm_interrupts():
    """Let SIGTERM, with which a deployment ends processes, do what Ctrl-C does. Only the main thread may set that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _get_service_user() -> User:
    """
    Find whom to ask Credentials as.

    Raises:
        CommandError: The user is missing, or Credentials is not in use.
    """
    if not is_credentials_enabled():
        raise unusable("The use of Credentials is disabled in CredentialsApiConfig.")
    user = User.objects.filter(username=settings.CREDENTIALS_SERVICE_USERNAME).first()
    if user is None:
        raise unusable("The setting CREDENTIALS_SERVICE_USERNAME names a user who does not exist.")
    return user


def _check_event_bus(dry_run: bool) -> dict[str, str]:
    """
    Find out what the event bus will do.

    Returns:
        For each status, what sending its event is called. The bus need not take both.

    Raises:
        CommandError: The bus takes events, but openedx-events can build no producer and would drop them in silence.
    """
    verbs = {}
    for status, (event, _emit) in EVENTS.items():
        topics = getattr(settings, "EVENT_BUS_PRODUCER_CONFIG", {}).get(event.event_type, {})
        if any(topic["enabled"] for topic in topics.values()):
            verbs[status] = "would_publish" if dry_run else PUBLISHED
        else:
            verbs[status] = "would_send_in_lms_only" if dry_run else "sent_in_lms_only"
            LOGGER.warning(f"EVENT_BUS_PRODUCER_CONFIG does not enable {event.event_type}: it will not leave the LMS")
    if PUBLISHED in verbs.values() and isinstance(get_producer(), NoEventBusProducer):
        raise unusable("EVENT_BUS_PRODUCER: no producer can be built, so every event would be dropped.")
    return verbs
