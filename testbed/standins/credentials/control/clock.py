"""The clock of the local stand-in of Credentials, which may be wrong; tokens are checked against the right one."""

from datetime import timedelta

from django.utils import timezone


class Clock:
    """Tells the time that certificates are stamped with."""

    def __init__(self):
        self.offset = timedelta()

    def now(self):
        """Return the time as this clock has it."""
        return timezone.now() + self.offset


CLOCK = Clock()
