# The slice: written for this repository, in place of the platform's file of this path.
"""Management command ``notify_credentials``."""

from datetime import UTC, datetime

from django.core.management.base import BaseCommand, CommandError

from openedx.core.djangoapps.credentials.tasks.v1.tasks import handle_notify_credentials


def parse_time(text):
    """Read a time."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


class Command(BaseCommand):
    """Starts one task, which sends course certificates to Credentials again, and with them what they lead to."""

    help = "Send the course certificates that changed since a time to Credentials again."

    def add_arguments(self, parser):
        """Declare the options."""
        parser.add_argument("--start-date", type=parse_time, help="Certificates that were modified at or after it.")
        parser.add_argument("--notify_programs", action="store_true", help="Also award program certificates.")
        parser.add_argument(
            "--revoke_program_certs", action="store_true", help="With --notify_programs, also revoke them."
        )

    def handle(self, *args, **options):
        """Start the task."""
        if not options["start_date"]:
            raise CommandError("A filter is needed: --start-date.")
        names = ("start_date", "notify_programs", "revoke_program_certs")
        handle_notify_credentials.delay({name: options[name] for name in names}, [])
