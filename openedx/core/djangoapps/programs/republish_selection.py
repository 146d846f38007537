"""
What ``republish_program_certificate_events`` announces: its options, and what they have it read from Credentials.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.db.models import Exists, OuterRef, Value
from django.utils.timezone import now

from lms.djangoapps.certificates.models import GeneratedCertificate
from openedx.core.djangoapps.programs.credentials_reader import (
    UNUSABLE,
    Certificate,
    parse_time,
    parse_username,
    parse_uuid,
)

User = get_user_model()

# Seconds between pages that --delay may ask for.
MAX_DELAY = 3600
# How long before its event a course certificate may have changed. A task's retries take up to 66 minutes.
DEFAULT_MARGIN = timedelta(hours=2)
DURATION = re.compile(r"(\d{1,4})([mhd])", re.ASCII)
UNITS = {"m": "minutes", "h": "hours", "d": "days"}
# Learners looked up in one query. A page of Credentials has 20.
LOOKUPS = 100
# Learners read in one query.
PAGE_SIZE = 1000


@dataclass(frozen=True)
class Selection:
    """
    What to announce, and how to read it.

    Attributes:
        program_uuids: Only these programs, if any.
        learners: Only these, by the names that the operator gave, if any.
        start: Only certificates that were modified then or later, if any. A margin is in it already.
        repeat_from: The start without the margin, if it was given as an age: said again, it would be another time.
        end: Only certificates that were modified before then, if any.
        everything: Whether the operator asked for everything.
        recently_modified: Whether to ask only about learners whose course certificates were modified since ``start``.
        delay: Seconds between pages.
    """

    program_uuids: list[UUID] | None
    learners: dict[str, User]
    start: datetime | None
    repeat_from: datetime | None
    end: datetime | None
    everything: bool
    recently_modified: bool
    delay: float

    @property
    def has_to_exist(self) -> bool:
        """Whether the operator knows of certificates, so that finding none is an error."""
        return not self.recently_modified and bool(self.everything or self.program_uuids or self.learners)

    def get_lists(self) -> Iterable[tuple[dict, str]]:
        """
        Find out which lists to read. The API takes one value of each filter, and none for the time.

        Returns:
            For each, a query of the API, and whom or what it asks for. All at once, if that is few.
        """
        if self.recently_modified:
            return (({"username": name}, f"user {user_id}") for user_id, name in _find_modified(self.start))
        # A learner has few certificates: their programs are chosen here.
        if self.learners:
            return [({"username": name}, f"user {user.id}") for name, user in self.learners.items()]
        if self.program_uuids:
            return [({"program_uuid": str(uuid)}, f"program {uuid}") for uuid in dict.fromkeys(self.program_uuids)]
        return [({}, "")]

    def has_program_of(self, certificate: Certificate) -> bool:
        """Tell whether a certificate is of the programs in question."""
        return not self.program_uuids or certificate.program_uuid in self.program_uuids

    def has_time_of(self, certificate: Certificate) -> bool:
        """Tell whether a certificate was modified within the window."""
        return (not self.start or certificate.modified >= self.start) and (
            not self.end or certificate.modified < self.end
        )


def _find_modified(since: datetime) -> Iterator[tuple[int, str]]:
    """
    Find the learners whose course certificates were modified then or later.

    The column has no index, so each query goes on through the table where the one before ended. There is no end to the
    window: it would miss whose certificate was modified in it, and again after it. MySQL's driver would hold all rows.

    Yields:
        Id and username of each, once.
    """
    modified = GeneratedCertificate.objects.filter(modified_date__gte=since)
    later = modified.filter(user=OuterRef("user"), id__gt=OuterRef("id"))
    rows = modified.filter(~Exists(later)).order_by("id").values_list("id", "user_id", "user__username")
    last = 0
    while True:
        page = list(rows.filter(id__gt=last)[:PAGE_SIZE])
        yield from ((user_id, username) for _, user_id, username in page)
        if len(page) < PAGE_SIZE:
            return
        last = page[-1][0]


def find_learners(usernames: Iterable[str]) -> dict[str, User]:
    """
    Find whom the database knows under each of some usernames.

    MySQL ignores case, and more. Whose a name is that nobody has to the letter, only it can say: hence one look-up for
    each of those, as anywhere in the platform, but all of them in one query.
    """
    names = list(dict.fromkeys(usernames))
    found = {}
    for start in range(0, len(names), LOOKUPS):
        end = start + LOOKUPS
        batch = names[start:end]
        users = User.objects.select_related("profile")
        found |= {user.username: user for user in users.filter(username__in=batch) if user.username in batch}
        lookups = [
            users.filter(username=name).annotate(place=Value(place))
            for place, name in enumerate(batch)
            if name not in found
        ]
        if lookups:
            found |= {batch[user.place]: user for user in lookups[0].union(*lookups[1:], all=True)}
    return {name: found[name] for name in names if name in found}


def unusable(message: str) -> CommandError:
    """Make the error for options or settings that cannot be used."""
    return CommandError(message, returncode=2)


def parse_options(options: dict) -> Selection:
    """
    Check the command's options. ``call_command`` can bypass its parser.

    Raises:
        CommandError: One is unusable, or they contradict each other. The return code is 2.
    """
    program_uuids = _parse_option(options, "program_uuids", partial(_parse_each, parse_uuid), "not uuids")
    usernames = _parse_option(options, "usernames", partial(_parse_each, parse_username), "not usernames") or []
    margin = _parse_option(options, "margin", _parse_duration, "not a duration such as 2h")
    everything, recently_modified = options["all"], options["recently_modified"]
    if margin is None:
        margin = DEFAULT_MARGIN if recently_modified else timedelta()
    elif not recently_modified:
        raise unusable("--margin needs --recently-modified.")
    no_time = "neither an ISO 8601 time nor an age such as 2h"
    start = _parse_option(options, "start_date", lambda value: _parse_time_or_age(value) - margin, no_time)
    end = _parse_option(options, "end_date", _parse_time_or_age, no_time)
    delay = _parse_option(options, "delay", _parse_delay, f"not a number from 0 to {MAX_DELAY}")
    if everything and (program_uuids or usernames):
        raise unusable("--all contradicts --program-uuids and --usernames.")
    if recently_modified and (everything or usernames):
        raise unusable("--recently-modified contradicts --all and --usernames.")
    if recently_modified and not start:
        raise unusable("--recently-modified needs --start-date.")
    if not (everything or program_uuids or usernames or start or end):
        raise unusable("Give --program-uuids, --usernames, --start-date, --end-date, or --all for everything.")
    if start and end and start + margin >= end:
        raise unusable("--start-date has to be before --end-date.")

    learners = find_learners(usernames)
    unknown = [str(place) for place, name in enumerate(usernames, start=1) if name not in learners]
    if unknown:
        raise unusable(f"--usernames: the LMS does not know number {', '.join(unknown)} of them.")
    if len({user.id for user in learners.values()}) < len(learners):
        raise unusable("--usernames: two of them are the same learner to the LMS.")
    repeat_from = start + margin if start and DURATION.fullmatch(options["start_date"]) else None
    return Selection(program_uuids, learners, start, repeat_from, end, everything, recently_modified, delay)


def _parse_option(options: dict, name: str, parse: Callable, problem: str) -> object:
    """
    Parse an option; None stays None.

    Raises:
        CommandError: It is unusable. The message does not quote it, since it may be a username.
    """
    try:
        return None if options[name] is None else parse(options[name])
    except UNUSABLE:
        raise unusable(f"--{name.replace('_', '-')}: {problem}.") from None


# The functions below raise one of UNUSABLE for a value that they cannot use.


def _parse_each(parse: Callable, values: Iterable) -> list:
    """Parse all values. There has to be one: no value at all would not narrow anything."""
    if isinstance(values, str):
        raise TypeError
    parsed = [parse(value) for value in values]
    if not parsed:
        raise ValueError
    return parsed


def _parse_duration(value: object) -> timedelta:
    """Parse a number of minutes, hours or days."""
    match = DURATION.fullmatch(value)
    if not match:
        raise ValueError
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def _parse_time_or_age(value: object) -> datetime:
    """Parse a time, in UTC by default, or how long ago it was."""
    return now() - _parse_duration(value) if DURATION.fullmatch(value) else parse_time(value, default=UTC)


def _parse_delay(value: object) -> float:
    """Parse a number of seconds."""
    seconds = float(value)
    if not 0 <= seconds <= MAX_DELAY:
        raise ValueError
    return seconds
