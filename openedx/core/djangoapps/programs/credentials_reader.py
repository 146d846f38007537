"""
Reads the program certificates that Credentials has, for the command that announces them again.

The API lists them in pages of 20, in no guaranteed order and without a snapshot. ``CertificateReader`` therefore
retries what may pass, notices when a list has moved under it, and notes for each page the moment at which it was asked
for: what the page says was so then, or later.

No message and no log line here holds personal data: errors of ``requests`` are named by type, as their texts quote the
URL, which has usernames in it.
"""

import itertools
import logging
import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from urllib.parse import urljoin, urlsplit
from uuid import UUID

import requests
from django.contrib.auth import get_user_model
from django.db import connections
from django.utils.http import parse_http_date_safe
from django.utils.timezone import now

from openedx.core.djangoapps.credentials.utils import get_credentials_api_base_url, get_credentials_api_client

LOGGER = logging.getLogger(__name__)
User = get_user_model()

# Seconds to wait for a connection, and for an answer on it.
REQUEST_TIMEOUT = (10, 60)
# Requests for one page. The pauses between them double from one second: half a minute in all, enough for a restart.
MAX_TRIES = 6
# Seconds to wait on a 429 without a usable Retry-After, and at most.
DEFAULT_RETRY_AFTER = 60
MAX_RETRY_AFTER = 600
# How often a list is read that moves while it is read.
MAX_READINGS = 3

# What ``requests`` raises for a URL that it cannot use.
NO_ADDRESS = (requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL)
# What reading a field of the wrong type or form can raise.
UNUSABLE = (KeyError, TypeError, ValueError, OverflowError)


class CredentialsError(Exception):
    """Credentials cannot be read any further."""


class ListError(CredentialsError):
    """This list cannot be read to its end. Others may be."""


@dataclass(frozen=True)
class Page:
    """
    A page of a list.

    Attributes:
        number: Its number.
        asked: When the request that was answered was sent, by the LMS's clock, in UTC.
        count: How many records the list has, as this page says.
        read: How many were read so far, this page included.
        records: The page's records, as they came.
    """

    number: int
    asked: datetime
    count: int
    read: int
    records: list


@dataclass(frozen=True)
class Certificate:
    """A program certificate, as Credentials has it. ``name`` identifies it in messages."""

    name: str
    username: str
    program_uuid: UUID
    status: str
    created: datetime
    modified: datetime


class CertificateReader:
    """Reads lists of program certificates as ``user``, the service user, with ``delay`` seconds between pages."""

    def __init__(self, user: User, delay: float = 0):
        self.user = user
        self.delay = delay
        self.pause = 0
        self.url = urljoin(f"{get_credentials_api_base_url()}/", "credentials/")
        self.client = get_credentials_api_client(user)

    def read(self, query: dict) -> Iterator[Page]:
        """
        Read a list, page by page; again from its start if it moved, so a record may come more than once.

        Args:
            query: Values for the API's filters.

        Yields:
            Its pages.

        Raises:
            ListError: It cannot be read, or moved at each reading.
            CredentialsError: Nothing can be read.
        """
        for reading in range(1, MAX_READINGS + 1):
            moved = yield from self._read_once({"type": "program", **query})
            if not moved:
                return
            LOGGER.warning(f"The list moved while it was read ({moved}), at reading {reading} of {MAX_READINGS}")
        raise ListError(f"it moved while it was read, {MAX_READINGS} times: {moved}")

    def _read_once(self, query: dict) -> Generator[Page, None, str]:
        """
        Yield the pages, and return what shows that records may have been passed over: "" for nothing.

        A record that is deleted moves those behind it up, onto pages that were read already. Whoever inserts one at the
        same time hides that, and so does a database that moves a record when it changes (PostgreSQL; not InnoDB).
        """
        moved, read, previous, limit = "", 0, 0, None
        for number in itertools.count(1):
            wait(self.pause)
            self.pause = self.delay
            answer = self._get(number, query)
            if answer is None:
                return f"page {number} has gone"
            asked, count, records, link = answer
            read += len(records)
            if count < previous:
                moved = f"it had {previous} records, then {count}"
            previous = count
            yield Page(number, asked, count, read, records)
            # The link says whether there is another page. Where it leads is not followed: it may be another host.
            if link is None:
                break
            # A list may grow while it is read, but no service may keep this loop for ever.
            limit = limit or 2 * count + 1000
            if not (records and read < count <= limit):
                raise ListError(f"page {number}: {read} of {count} records read, and there is no end to the pages")
        return moved or (f"it has {count} records, {read} were read" if read != count else "")

    def _get(self, number: int, query: dict) -> tuple[datetime, int, list, object] | None:
        """
        Request a page, and retry where that may help: asking again does no harm.

        Returns:
            When it was asked for, ``count``, ``results`` and ``next``; None if the list has become too short for it.

        Raises:
            CredentialsError: Retrying did not help, or would not.
        """
        for attempt in range(MAX_TRIES):
            pause = 2**attempt
            try:
                asked, response = self._request({**query, "page": number})
                if response.status_code == 200:
                    return asked, *_parse_page(response.json())
                if response.status_code == 404 and number > 1:
                    return None
                problem = f"Credentials answered {response.status_code}"
                if response.status_code == 429:
                    pause = max(pause, _get_retry_after(response))
                elif response.status_code < 500:
                    raise self._get_refusal(number, problem, response)
            except NO_ADDRESS as exc:
                raise CredentialsError(
                    f"CREDENTIALS_INTERNAL_SERVICE_URL is no address ({type(exc).__name__})"
                ) from None
            except requests.RequestException as exc:
                problem = f"no usable answer ({type(exc).__name__})"
            except (*UNUSABLE, RecursionError):
                problem = "the answer is not a page of results"
            if attempt < MAX_TRIES - 1:
                LOGGER.warning(f"Failed to read page {number}: {problem}; trying again in {pause} s")
                wait(pause)
        raise CredentialsError(f"page {number}: {problem}, {MAX_TRIES} times")

    def _request(self, params: dict) -> tuple[datetime, requests.Response]:
        """Send one request, and return when, and the answer. Errors of ``requests`` pass."""
        for _ in range(2):
            asked = now()
            # Redirects could lead to another host.
            response = self.client.get(self.url, params=params, timeout=REQUEST_TIMEOUT, allow_redirects=False)
            _close_dead_connections()
            if response.status_code != 401:
                break
            # A token is valid for an hour; a run may take longer.
            self.client = get_credentials_api_client(self.user)
        return asked, response

    def _get_refusal(self, number: int, problem: str, response: requests.Response) -> CredentialsError:
        """Return the error for an answer that another try would not change."""
        if response.status_code == 401:
            why = "it does not accept the LMS's token: compare JWT_AUTH, and the clocks"
        elif response.status_code == 403:
            why = "there, the user CREDENTIALS_SERVICE_USERNAME has to be a superuser"
        elif 300 <= response.status_code < 400:
            there = _strip_address(response.headers.get("Location", "nowhere"))
            why = f"CREDENTIALS_INTERNAL_SERVICE_URL leads to {_strip_address(self.url)}, which redirects to {there}"
        elif response.status_code < 300 or response.status_code == 404:
            why = "CREDENTIALS_INTERNAL_SERVICE_URL leads to something else"
        else:
            return ListError(f"page {number}: {problem}")
        return CredentialsError(f"page {number}: {problem}; {why}")


def wait(seconds: float) -> None:
    """
    Pause. All waiting is done here; a signal handler that raises ends it.
    """
    if seconds:
        time.sleep(seconds)


def _close_dead_connections() -> None:
    """
    Close connections that the database has given up while Credentials was slow or this waited (MySQL's wait_timeout).

    Django opens them again. Its ``close_old_connections()`` would miss those that it keeps for ever.
    """
    for connection in connections.all(initialized_only=True):
        if connection.connection and not connection.in_atomic_block and not connection.is_usable():
            connection.close()


def _parse_page(answer: object) -> tuple[int, list, object]:
    """
    Return ``count``, ``results`` and ``next`` of the API's answer. Raises one of ``UNUSABLE``.
    """
    count, records, link = answer["count"], answer["results"], answer["next"]
    if not isinstance(count, int) or count < 0 or not isinstance(records, list):
        raise ValueError
    return count, records, link


def _get_retry_after(response: requests.Response) -> int:
    """Return the seconds that a response asks to wait, be it by a number or by a date, within bounds."""
    value = response.headers.get("Retry-After", "")
    try:
        seconds = int(value)
    except ValueError:
        date = parse_http_date_safe(value)
        seconds = DEFAULT_RETRY_AFTER if date is None else math.ceil(date - time.time())
    return min(max(seconds, 0), MAX_RETRY_AFTER)


def _strip_address(url: str) -> str:
    """Return scheme, host, port and path of an address: the rest may hold a password or a username."""
    try:
        parts = urlsplit(url)
        host = f"{parts.scheme}://{parts.hostname}:{parts.port}" if parts.port else f"{parts.scheme}://{parts.hostname}"
        return f"{host if parts.hostname else ''}{parts.path}"
    except ValueError:
        return "an unusable address"


def parse_certificate(record: object, default_name: str) -> Certificate:
    """
    Read a record of a page.

    Args:
        record: An item of the API's ``results``.
        default_name: What to call it if its own uuid is no uuid.

    Raises:
        ValueError: A field that is needed is missing or malformed. The message names the record, but no value.
    """
    try:
        name = str(parse_uuid(record["uuid"]))
    except UNUSABLE:
        name = default_name
    try:
        status = record["status"]
        if status not in ("awarded", "revoked"):
            raise ValueError
        return Certificate(
            name,
            parse_username(record["username"]),
            parse_uuid(record["credential"]["program_uuid"]),
            status,
            created=parse_time(record["created"]),
            modified=parse_time(record["modified"]),
        )
    except UNUSABLE:
        fields = "username, status, created, modified or program_uuid"
        raise ValueError(f"Program certificate {name}: {fields} is missing or malformed") from None


# The functions below raise one of UNUSABLE for a value that they cannot use.


def parse_uuid(value: object) -> UUID:
    """Parse a uuid, with or without dashes."""
    uuid = UUID(value) if isinstance(value, str) else None
    # UUID() takes what int() takes, such as underscores.
    if uuid is None or uuid.hex != value.replace("-", "").lower():
        raise ValueError
    return uuid


def parse_username(value: object) -> str:
    """Check a username. A NUL or a lone surrogate would break the query for its whole page."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError
    value.encode()  # UnicodeEncodeError is a ValueError
    return value


def parse_time(value: object, default: tzinfo | None = None) -> datetime:
    """Parse an ISO 8601 date or time, and convert it to UTC. Without a time zone it is in ``default``, or unusable."""
    moment = datetime.fromisoformat(value)
    moment = moment.replace(tzinfo=moment.tzinfo or default)
    if moment.tzinfo is None:
        raise ValueError
    return moment.astimezone(UTC)
