"""Management command ``republish_program_certificate_events``: sends events again that were lost."""

import logging
import signal
import time
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User  # pylint: disable=imported-auth-user
from django.contrib.sites.models import Site
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import close_old_connections, models
from django.utils.timezone import now
from openedx_events.event_bus import NoEventBusProducer, get_producer

from lms.djangoapps.certificates.models import GeneratedCertificate
from openedx.core.djangoapps.catalog.utils import get_programs
from openedx.core.djangoapps.credentials.api import is_credentials_enabled
from openedx.core.djangoapps.programs.checks import EVENTS, get_enabled_topics
from openedx.core.djangoapps.programs.republish import COUNTS, wait_for_producer
from openedx.core.djangoapps.programs.tasks import republish_program_certificates

LOGGER = logging.getLogger(__name__)


def time_or_age(text: str) -> datetime:
    """Parse ISO 8601, in UTC by default, or an age such as 30m, 4h or 2d."""
    unit = {"m": "minutes", "h": "hours", "d": "days"}.get(text[-1:])
    try:
        start = now() - timedelta(**{unit: int(text[:-1])}) if unit else datetime.fromisoformat(text)
        start = start.replace(tzinfo=start.tzinfo or UTC).astimezone(UTC)
    except OverflowError as exc:
        raise ArgumentTypeError("this time is out of range") from exc
    if start > now():
        raise ArgumentTypeError("this time is in the future")
    return start


class Command(BaseCommand):  # pylint: disable=missing-class-docstring
    help = "Read program certificates from Credentials and publish their events again. It is safe to repeat a run."

    def add_arguments(self, parser: CommandParser) -> None:
        select = parser.add_mutually_exclusive_group(required=True)
        select.add_argument("--start-date", type=time_or_age, help="learners whose certificates changed since then")
        select.add_argument("--program-uuids", type=UUID, nargs="+", help="learners with a certificate of their runs")
        select.add_argument("--usernames", nargs="+", help="these learners, also if younger than a certificate")
        select.add_argument("--all", action="store_true", help="all learners with a course certificate")
        parser.add_argument("--enqueue", action="store_true", help="let Celery workers run the tasks")
        parser.add_argument("--queue", default=settings.PROGRAM_CERTIFICATES_ROUTING_KEY, help="with --enqueue")
        parser.add_argument("--delay", type=float, default=1, help="with --enqueue: seconds after each 100 learners")
        parser.add_argument("--dry-run", action="store_true", help="count the learners")

    def handle(self, *args: object, **options: object) -> None:
        disabled = [event_type for event_type in EVENTS if not get_enabled_topics(event_type)]
        if not is_credentials_enabled():
            raise CommandError("CredentialsApiConfig does not enable Credentials", returncode=2)
        if not User.objects.filter(username=settings.CREDENTIALS_SERVICE_USERNAME).exists():
            raise CommandError("CREDENTIALS_SERVICE_USERNAME does not name a user", returncode=2)
        if len(disabled) == len(EVENTS):
            raise CommandError("EVENT_BUS_PRODUCER_CONFIG enables neither event", returncode=2)
        if isinstance(get_producer(), NoEventBusProducer):
            raise CommandError("EVENT_BUS_PRODUCER does not create a producer", returncode=2)
        if disabled:
            LOGGER.warning(f"EVENT_BUS_PRODUCER_CONFIG does not enable {disabled[0]}, so it is not published")
        learners = self.find_learners(options)
        if options["dry_run"]:
            return self.stdout.write(f"learners={sum(1 for _ in learners)}")
        counts = Counter(dict.fromkeys(["enqueued"] if options["enqueue"] else ["learners", *COUNTS, "bus_errors"], 0))
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # what Ctrl-C does
        bus_names = ("edx_event_bus_", type(get_producer()).__module__.partition(".")[0])
        handler = logging.Handler(logging.ERROR)
        handler.addFilter(lambda record: record.name.startswith(bus_names))
        handler.emit = lambda record: counts.update(bus_errors=1)  # type: ignore[method-assign]
        logging.getLogger().addHandler(handler)
        try:
            self.run(learners, options, counts)
            problem = None if wait_for_producer() else "the event bus has not confirmed all events"
        except (Exception, KeyboardInterrupt) as exc:  # pylint: disable=broad-except
            problem = type(exc).__name__
            wait_for_producer(5)
        logging.getLogger().removeHandler(handler)
        self.stdout.write(" ".join(f"{name}={count}" for name, count in counts.items()))
        if problem or counts["failed"] or counts["bus_errors"]:
            raise CommandError(f"Not complete: {problem or 'see the log'}. Fix the cause, and run the command again.")
        if not options["start_date"] and not any(counts[name] for name in counts if name != "learners"):
            raise CommandError("No program certificate was found.")

    def find_learners(self, options: dict) -> Iterable[int]:
        """Return the user ids of the learners that the options select, each once."""
        if names := options["usernames"]:
            found = [User.objects.filter(username=name).values_list("id", flat=True).first() for name in names]
            if None in found:
                raise CommandError(f"--usernames: number {found.index(None) + 1} is unknown", returncode=2)
            return dict.fromkeys(filter(None, found))
        certificates = GeneratedCertificate.objects.all()
        if options["all"]:
            return self.each_learner(certificates)
        if options["start_date"]:
            self.stdout.write(f"start={options['start_date']:%Y-%m-%dT%H:%M:%SZ}")
            certificates = certificates.filter(modified_date__gte=options["start_date"])
            programs = [program for site in Site.objects.all() for program in get_programs(site)]
        else:
            programs = [get_programs(uuid=str(uuid)) for uuid in options["program_uuids"]]
        if not programs or None in programs:
            raise CommandError("Not in the catalog cache: run cache_programs, or use --usernames", returncode=2)
        runs = {run["key"] for program in programs for course in program["courses"] for run in course["course_runs"]}
        return self.each_learner(certificates.filter(course_id__in=runs))

    def each_learner(self, certificates: models.QuerySet) -> Iterator[int]:
        """Yield each learner's id once. The pages follow the primary key, because modified_date has no index."""
        later = certificates.filter(user=models.OuterRef("user"), id__gt=models.OuterRef("id"))
        rows, last = certificates.filter(~models.Exists(later)).order_by("id").values_list("id", "user_id"), 0
        while page := list(rows.filter(id__gt=last)[:1000]):
            yield from (user_id for _, user_id in page)
            last = page[-1][0]

    def run(self, learners: Iterable[int], options: dict, counts: Counter) -> None:
        """Run the task for each learner, one after the other, or hand the tasks to Celery."""
        named, last_success = bool(options["usernames"]), 0
        for number, user_id in enumerate(learners, 1):
            if options["enqueue"]:
                republish_program_certificates.apply_async((user_id, named), queue=options["queue"])
                counts["enqueued"] = number
                if number % 100 == 0:
                    time.sleep(max(options["delay"], 0))
                continue
            counts["learners"] = number
            try:
                counts.update(republish_program_certificates(user_id, named))
                last_success = number
            except Exception as exc:  # pylint: disable=broad-except
                LOGGER.error(f"Failed to republish certificates of user {user_id}: {type(exc).__name__}")
                counts["failed"] += 1
                if number - last_success == 5:
                    raise
            close_old_connections()  # before the next page of learners, too
