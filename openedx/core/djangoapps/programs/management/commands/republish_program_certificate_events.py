"""
Management command ``republish_program_certificate_events``.

An event that never reached the event bus is gone: the bus's producers log their failures and go on. Credentials,
though, keeps every program certificate with its status. The command reads them there and announces each as it stands
now, with its last change (``modified``) as the event's ``time``.

Repeats, and a run beside live traffic, are harmless to consumers that keep, for each learner and program, the event
with the latest ``time``. docs/how_tos/publish-program-certificate-events.rst has this rule, and its limit.

Credentials guarantees no order, so a certificate can slip onto a page that was read already. The next run finds it.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial
from itertools import product
from urllib.parse import parse_qs, urljoin, urlsplit
from uuid import UUID

import requests
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.utils.http import parse_http_date_safe
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

from openedx.core.djangoapps.credentials.api import is_credentials_enabled
from openedx.core.djangoapps.credentials.utils import get_credentials_api_base_url, get_credentials_api_client
from openedx.core.djangoapps.programs.events import emit_program_certificate_awarded, emit_program_certificate_revoked

LOGGER = logging.getLogger(__name__)
User = get_user_model()

# Seconds to wait for a connection, and for an answer on it.
REQUEST_TIMEOUT = (10, 60)
# Requests for one page. The pauses between them double from one second: half a minute in all, enough for a restart.
MAX_TRIES = 6
# Seconds to wait on a 429 without a usable Retry-After, and at most.
DEFAULT_RETRY_AFTER = 60
MAX_RETRY_AFTER = 600
# Seconds between pages that --delay may ask for.
MAX_DELAY = 3600

BAR_WIDTH = 30

# What reading a field of the wrong type or form can raise.
UNUSABLE = (KeyError, TypeError, ValueError, OverflowError)

HOW_TO_GO_ON = (
    "Run the same command again once the cause is gone: repeats are harmless to consumers that keep, for each learner "
    "and program, the event with the latest time."
)


@dataclass(frozen=True)
class Certificate:
    """A program certificate as Credentials has it now. ``name`` identifies it in messages."""

    name: str
    username: str
    program_uuid: UUID
    status: str
    modified: datetime


class CredentialsError(Exception):
    """Credentials cannot be read any further. The message holds no personal data."""


class Command(BaseCommand):
    """Announces the program certificates that Credentials has, again."""

    help = (
        "Send PROGRAM_CERTIFICATE_AWARDED or PROGRAM_CERTIFICATE_REVOKED for each program certificate in Credentials, "
        "according to its status, with the time of its last change. 'Published' means handed to the receivers in the "
        "LMS and to the event bus's producer, which keeps its failures to its own log. Repeats are harmless to "
        "consumers that keep, for each learner and program, the event with the latest time."
    )

    def add_arguments(self, parser):
        """Declare the options. ``handle`` checks the values, because ``call_command`` can bypass the parser."""
        parser.add_argument("--program-uuids", nargs="+", metavar="UUID", help="Only certificates of these programs.")
        parser.add_argument("--usernames", nargs="+", metavar="NAME", help="Only certificates of these learners.")
        parser.add_argument(
            "--start-date", metavar="TIME", help="Only certificates changed then or later: ISO 8601, UTC by default."
        )
        parser.add_argument(
            "--end-date", metavar="TIME", help="Only certificates changed before then: ISO 8601, UTC by default."
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
            CommandError: Options or configuration are unusable (nothing has been requested then), Credentials could not
                be read to the end, or some events could not be sent.
        """
        self._check(options)
        reader = CertificateReader(_get_service_user(), self.delay)
        if not self.dry_run:
            _warn_of_disabled_events()

        self.counts = Counter()
        problems = []
        try:
            for number, query in enumerate(self.queries, start=1):
                self.listing = f"list {number} of {len(self.queries)}"
                read_before = self.counts["read"]
                for page, answer in reader.read(query):
                    self._republish(page, answer["results"])
                    self._show_progress(page, self.counts["read"] - read_before, answer.get("count"))
        except CredentialsError as exc:
            problems.append(f"Stopped in {self.listing}, {exc}. All before that is done.")
        finally:
            # On Ctrl-C, too.
            self._write_summary()
        if self.counts["failed"]:
            problems.append(f"Program certificates that failed: {self.counts['failed']}; the log names them.")
        if problems:
            raise CommandError(" ".join([*problems, HOW_TO_GO_ON]))

    def _check(self, options: dict) -> None:
        """
        Check and keep the options.

        Raises:
            CommandError: One is unusable, or they contradict each other.
        """
        program_uuids = _parse_option(options, "program_uuids", partial(_parse_each, _parse_uuid), "not uuids")
        usernames = _parse_option(options, "usernames", partial(_parse_each, _parse_username), "not usernames")
        self.start = _parse_option(options, "start_date", partial(_parse_time, default=UTC), "not an ISO 8601 time")
        self.end = _parse_option(options, "end_date", partial(_parse_time, default=UTC), "not an ISO 8601 time")
        self.delay = _parse_option(options, "delay", _parse_delay, f"not a number from 0 to {MAX_DELAY}")
        self.dry_run = options["dry_run"]
        if options["all"] and (program_uuids or usernames):
            raise CommandError("--all contradicts --program-uuids and --usernames.")
        if not (options["all"] or program_uuids or usernames or self.start or self.end):
            raise CommandError("Give --program-uuids, --usernames, --start-date, --end-date, or --all for everything.")
        if self.start and self.end and self.start >= self.end:
            raise CommandError("--start-date has to be before --end-date.")
        # The API takes one value of each filter, hence one list for each combination. None does not filter.
        self.queries = [
            {"type": "program", "program_uuid": program_uuid, "username": username}
            for program_uuid, username in product(program_uuids or [None], usernames or [None])
        ]

    def _republish(self, page: int, records: list) -> None:
        """Send the events of one page's records. Each record ends up in exactly one count besides "read"."""
        certificates = []
        for position, record in enumerate(records, start=1):
            self.counts["read"] += 1
            try:
                certificate = _parse_record(record, default_name=f"{position} on page {page} of {self.listing}")
            except ValueError as exc:
                self.counts["failed"] += 1
                LOGGER.error(str(exc))
                continue
            if (self.start and certificate.modified < self.start) or (self.end and certificate.modified >= self.end):
                self.counts["outside"] += 1
            else:
                certificates.append(certificate)

        found = User.objects.filter(username__in={certificate.username for certificate in certificates})
        # Compared again here: a database that ignores case may have found somebody else.
        users = {user.username: user for user in found.select_related("profile")}
        for certificate in certificates:
            user = users.get(certificate.username)
            if user is None:
                self.counts["skipped"] += 1
            elif self.dry_run or _emit(user, certificate):
                self.counts[certificate.status] += 1
            else:
                self.counts["failed"] += 1
                LOGGER.error(f"Program certificate {certificate.name}: its event could not be sent")

    def _show_progress(self, page: int, read: int, total: object) -> None:
        """Redraw the bar on a terminal, log a line elsewhere. ``total`` is what Credentials says, hence not trusted."""
        total = max(total if isinstance(total, int) else 0, read, 1)
        if self.stdout.isatty():
            bar = "#" * (BAR_WIDTH * read // total)
            # The escape sequence clears what is left of a longer line.
            self.stdout.write(f"\r[{bar:.<{BAR_WIDTH}}] {read} of {total}, {self.listing}\033[K", ending="")
            self.stdout.flush()
        else:
            LOGGER.info(f"Program certificates: {read} of {total} read, up to page {page} of {self.listing}")

    def _write_summary(self) -> None:
        published = "would publish" if self.dry_run else "published"
        self.stdout.write(
            ("\n" if self.stdout.isatty() else "")
            + f"Program certificates read: {self.counts['read']}, outside the window: {self.counts['outside']}, "
            f"{published} awarded: {self.counts['awarded']}, {published} revoked: {self.counts['revoked']}, "
            f"skipped (learner unknown to the LMS): {self.counts['skipped']}, failed: {self.counts['failed']}"
        )


class CertificateReader:
    """
    Reads lists of program certificates from Credentials. Asking twice is safe, so failures that may pass are retried.

    Errors of ``requests`` are reported by type only: their messages contain usernames, in the URL.
    """

    def __init__(self, user: User, delay: float):
        """Prepare to ask as ``user`` (the service user) and to pause for ``delay`` seconds between pages."""
        self.user = user
        self.delay = delay
        self.pause = 0
        self.url = urljoin(f"{get_credentials_api_base_url()}/", "credentials/")
        self.client = get_credentials_api_client(user)

    def read(self, query: dict) -> Iterator[tuple[int, dict]]:
        """
        Read a list, one page at a time.

        Args:
            query: Values for the API's filters.

        Yields:
            A page's number, and its content; ``results`` in it is a list.

        Raises:
            CredentialsError: A page cannot be read, or is not a page of results.
        """
        page = 1
        while page:
            _sleep(self.pause)
            self.pause = self.delay
            answer = self._get(page, query)
            if not isinstance(answer, dict) or not isinstance(answer.get("results"), list) or "next" not in answer:
                raise CredentialsError(f"page {page}: the answer is not a page of results")
            yield page, answer
            page = self._next_page(page, answer["next"])

    @staticmethod
    def _next_page(page: int, link: object) -> int | None:
        """
        Find the number of the page that a page's ``next`` leads to.

        Nothing else is taken from the link: no request leaves the configured host, and a host or path that a proxy has
        rewritten does no harm. Numbers have to grow, so that pages cannot go round in circles.

        Raises:
            CredentialsError: The link leads to no later page.
        """
        if link is None:
            return None
        try:
            [following] = map(int, parse_qs(urlsplit(str(link)).query)["page"])
            if following > page:
                return following
        except UNUSABLE:
            pass
        raise CredentialsError(f"page {page}: its link does not lead to a later page")

    def _get(self, page: int, query: dict) -> object:
        """
        Request a page, and retry where that may help.

        Returns:
            The decoded JSON.

        Raises:
            CredentialsError: Retrying did not help, or would not.
        """
        token_renewed = False
        for attempt in range(1, MAX_TRIES + 1):
            pause = 2 ** (attempt - 1)
            try:
                # Redirects could lead to another host.
                response = self.client.get(
                    self.url, params={**query, "page": page}, timeout=REQUEST_TIMEOUT, allow_redirects=False
                )
                status = response.status_code
                if status == 200:
                    return response.json()
                problem = f"Credentials answered {status}"
            except (requests.RequestException, ValueError, RecursionError) as exc:
                status = None
                problem = f"no usable answer ({type(exc).__name__})"
            if status == 401 and not token_renewed:
                # A token is valid for an hour; a run may take longer.
                self.client = get_credentials_api_client(self.user)
                token_renewed = True
                continue
            if status == 403:
                problem += "; there, the user CREDENTIALS_SERVICE_USERNAME has to be a superuser"
            if status == 429:
                pause = _get_retry_after(response)
            elif status is not None and status < 500:
                raise CredentialsError(f"page {page}: {problem}")
            if attempt < MAX_TRIES:
                LOGGER.warning(f"Failed to read page {page}: {problem}; trying again in {pause} s")
                _sleep(pause)
        raise CredentialsError(f"page {page}: {problem}, {MAX_TRIES} times")


def _get_retry_after(response: requests.Response) -> int:
    """Return the seconds that a response asks to wait, be it by a number or by a date, within bounds."""
    value = response.headers.get("Retry-After", "")
    try:
        seconds = int(value)
    except ValueError:
        date = parse_http_date_safe(value)
        seconds = DEFAULT_RETRY_AFTER if date is None else math.ceil(date - time.time())
    return min(max(seconds, 0), MAX_RETRY_AFTER)


def _sleep(seconds: float) -> None:
    if seconds:
        time.sleep(seconds)


def _get_service_user() -> User:
    """
    Find whom to ask Credentials as.

    Raises:
        CommandError: The user is missing, or Credentials is not in use.
    """
    if not is_credentials_enabled():
        raise CommandError("The use of Credentials is disabled in CredentialsApiConfig.")
    user = User.objects.filter(username=settings.CREDENTIALS_SERVICE_USERNAME).first()
    if user is None:
        raise CommandError("The setting CREDENTIALS_SERVICE_USERNAME names a user who does not exist.")
    return user


def _warn_of_disabled_events() -> None:
    """Log a warning for each event that the bus does not take. It may still be meant for receivers in the LMS."""
    for signal in (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED):
        topics = getattr(settings, "EVENT_BUS_PRODUCER_CONFIG", {}).get(signal.event_type, {})
        if not any(topic["enabled"] for topic in topics.values()):
            LOGGER.warning(f"EVENT_BUS_PRODUCER_CONFIG does not enable {signal.event_type}: it will not leave the LMS")


def _emit(user: User, certificate: Certificate) -> bool:
    emit = emit_program_certificate_awarded if certificate.status == "awarded" else emit_program_certificate_revoked
    return emit(user, certificate.program_uuid, time=certificate.modified)


def _parse_record(record: object, default_name: str) -> Certificate:
    """
    Read an item of the API's answer; ``default_name`` is for one whose own uuid is no uuid.

    Raises:
        ValueError: A field that the event needs is missing or malformed. The message names the record, but no value.
    """
    try:
        name = str(_parse_uuid(record["uuid"]))
    except UNUSABLE:
        name = default_name
    try:
        status = record["status"]
        if status not in ("awarded", "revoked"):
            raise ValueError
        username = _parse_username(record["username"])
        program_uuid = _parse_uuid(record["credential"]["program_uuid"])
        return Certificate(name, username, program_uuid, status, modified=_parse_time(record["modified"]))
    except UNUSABLE:
        fields = "username, status, modified or program_uuid"
        raise ValueError(f"Program certificate {name}: {fields} is missing or malformed") from None


def _parse_option(options: dict, name: str, parse: Callable, problem: str) -> object:
    """
    Parse an option; None stays None.

    Raises:
        CommandError: It is unusable. The message does not quote it, since it may be a username.
    """
    try:
        return None if options[name] is None else parse(options[name])
    except UNUSABLE:
        raise CommandError(f"--{name.replace('_', '-')}: {problem}.") from None


def _parse_each(parse: Callable, values: Iterable) -> list:
    """Parse all values, and drop repetitions. There has to be one: no value at all would not narrow anything."""
    parsed = list(dict.fromkeys(map(parse, values)))
    if not parsed:
        raise ValueError
    return parsed


# The functions below raise one of UNUSABLE for a value that they cannot use.


def _parse_uuid(value: object) -> UUID:
    """Parse a uuid, with or without dashes."""
    uuid = UUID(value) if isinstance(value, str) else None
    # UUID() takes what int() takes, such as underscores.
    if uuid is None or uuid.hex != value.replace("-", "").lower():
        raise ValueError
    return uuid


def _parse_username(value: object) -> str:
    """Check a username. A NUL or a lone surrogate would break the query for its whole page."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError
    value.encode()  # UnicodeEncodeError is a ValueError
    return value


def _parse_time(value: object, default: tzinfo | None = None) -> datetime:
    """Parse an ISO 8601 date or time, and convert it to UTC. Without a time zone it is in ``default``, or unusable."""
    moment = datetime.fromisoformat(value)
    moment = moment.replace(tzinfo=moment.tzinfo or default)
    if moment.tzinfo is None:
        raise ValueError
    return moment.astimezone(UTC)


def _parse_delay(value: object) -> float:
    """Parse a number of seconds."""
    seconds = float(value)
    if not 0 <= seconds <= MAX_DELAY:
        raise ValueError
    return seconds
