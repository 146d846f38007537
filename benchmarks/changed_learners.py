"""
Measures how long an LMS with many course certificates takes to say whose changed lately, and in how much memory.

``python -m benchmarks.changed_learners [--rows N] [--changed N] [--mariadb]``

The column that says so, ``modified_date``, has no index. Compared are what the platform's
``get_recently_modified_certificates`` asks (in union with the date overrides, ordered), one query for the learners
alone, and pages of them by the id of the learner or of the certificate.
"""

import argparse
import os
import resource
import signal
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from testbed import mysql
from testbed.large import fill_lms


def main():
    """Fill a database, ask it, print."""
    parser = argparse.ArgumentParser(description="Measure how long a large LMS takes to say who changed.")
    parser.add_argument("--rows", type=int, default=5_000_000, help="course certificates, 5,000,000 by default")
    parser.add_argument("--changed", type=int, default=1000, help="how many of them changed lately, 1,000 by default")
    parser.add_argument("--mariadb", action="store_true", help="on MariaDB, or MYSQL_URL's server; else on SQLite")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was made is removed
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = (
            mysql.start(stack, directory)
            if options.mariadb
            else {"ENGINE": "django.db.backends.sqlite3", "NAME": str(directory / "lms.sqlite3")}
        )
        os.environ.update(mysql.environment(database))
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        fill_lms(options.rows, options.changed)
        for name, find in finders():
            measure(name, find)


def finders():
    """Yield ways to find who changed: a name, and a function that returns how many learners it found."""
    from django.db.models import Exists, OuterRef
    from django.utils.timezone import now

    from lms.djangoapps.certificates.models import GeneratedCertificate

    start = now() - timedelta(hours=1)
    changed = GeneratedCertificate.objects.filter(modified_date__gte=start)

    def platform():
        overrides = GeneratedCertificate.objects.filter(date_override__modified__gte=start)
        return len({row.user_id for row in changed.union(overrides).order_by("modified_date").iterator()})

    def one_query():
        return len(changed.values_list("user__username", flat=True).distinct())

    def pages(rows, key, size):
        last, count = 0, 0
        while page := list(
            rows.filter(**{f"{key}__gt": last}).order_by(key).values_list(key, "user__username").distinct()[:size]
        ):
            last, count = page[-1][0], count + len(page)
        return count

    later = changed.filter(user=OuterRef("user"), id__gt=OuterRef("id"))
    yield "get_recently_modified_certificates", platform
    yield "pages by the certificate's id", lambda: pages(changed.filter(~Exists(later)), "id", 1000)
    yield "one query for the learners", one_query
    yield "pages by the learner's id", lambda: pages(changed, "user_id", 1000)


def measure(name, find):
    """Print what one way costs, twice if that is quick: what was read before may still be in memory."""
    for run in ("first", "again"):
        began = time.monotonic()
        found = find()
        seconds = time.monotonic() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"  {name}, {run}: {found:,} learners in {seconds:.2f} s, peak {peak:.0f} MiB", flush=True)
        if seconds > 60:
            break


if __name__ == "__main__":
    main()
