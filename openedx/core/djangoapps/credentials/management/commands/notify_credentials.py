# The slice: written for this repository, in place of the platform's file of this path.
"""Management command ``notify_credentials``."""

from datetime import datetime

from django.core.management.base import BaseCommand

from openedx.core.djangoapps.credentials.tasks.v1.tasks import handle_notify_credentials


class Command(BaseCommand):
    """Starts one task, which sends course certificates to Credentials again, and with them what they lead to."""

    help = "Send the course certificates that changed since a time to Credentials again."

    def add_arguments(self, parser):
        """Declare the options; the platform has other filters, too."""
        parser.add_argument(
            "--start-date", type=datetime.fromisoformat, required=True, help="Modified at or after this time."
        )
        parser.add_argument("--notify_programs", action="store_true", help="Also award program certificates.")
        parser.add_argument(
            "--revoke_program_certs", action="store_true", help="With --notify_programs, also revoke them."
        )

    def handle(self, *args, **options):
        """Start the task."""
        names = ("start_date", "notify_programs", "revoke_program_certs")
        handle_notify_credentials.delay({name: options[name] for name in names}, [])
