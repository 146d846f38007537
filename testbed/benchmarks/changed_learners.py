"""
Measures how long an LMS with many course certificates takes to say whose changed lately, and in how much memory.

``python -m testbed.benchmarks.changed_learners [--rows N] [--changed N] [--mariadb]``

The column that says so, ``modified_date``, has no index. Compared are what the platform's
``get_recently_modified_certificates`` asks (in union with the date overrides, ordered), one query for the learners
alone, and pages of them by the id of the learner or of the certificate.
"""

import argparse
import os
import resource
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from testbed import mysql

COURSES = 5  # certificates a learner
# A row of the platform is wider than one of the slice.
PADDING = "x" * 200


def main():
    """Fill a database, ask it, print."""
    parser = argparse.ArgumentParser(description="Measure how long a large LMS takes to say who changed.")
    parser.add_argument("--rows", type=int, default=5_000_000, help="course certificates, 5,000,000 by default")
    parser.add_argument("--changed", type=int, default=1000, help="how many of them changed lately, 1,000 by default")
    parser.add_argument("--mariadb", action="store_true", help="on MariaDB, or MYSQL_URL's server; else on SQLite")
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = (
            start_mariadb(stack, directory)
            if options.mariadb
            else {"ENGINE": "django.db.backends.sqlite3", "NAME": str(directory / "lms.sqlite3")}
        )
        os.environ.update(mysql.environment(database))
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        fill(options.rows, options.changed)
        for name, find in finders():
            measure(name, find)


def start_mariadb(stack, directory):
    """Return a database on a MariaDB with its own default cache of 128 MB, or on the server that MYSQL_URL names."""
    from testbed.processes import Processes

    if problem := mysql.find_problem():
        raise SystemExit(f"error: {problem}")
    url = os.environ.get("MYSQL_URL")
    if not url:
        processes = stack.enter_context(Processes(directory))
        server = mysql.MariaDB(processes, "mariadb", directory / "mariadb")
        url = server.url
        mysql.query(url, "SET GLOBAL innodb_buffer_pool_size = 134217728")
    return stack.enter_context(mysql.database(url))


def fill(rows, changed):
    """Make the certificates; neighbours belong to different learners, as they come in over the years."""
    from django.db import connection
    from django.utils.timezone import now

    learners = rows // COURSES
    step = next(step for step in range(7919, 8000) if learners % step)  # coprime enough to visit everyone
    numbers = (
        f"SELECT seq AS n FROM seq_0_to_{rows - 1}"
        if connection.vendor == "mysql"
        else f"WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {rows - 1}) SELECT n FROM s"
    )
    course, username = (
        ("CONCAT('course-v1:Org+Course', n DIV %d, '+2026')", "CONCAT('learner', n + 1)")
        if connection.vendor == "mysql"
        else ("'course-v1:Org+Course' || (n / %d) || '+2026'", "'learner' || (n + 1)")
    )
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(
            "SET foreign_key_checks=0, unique_checks=0" if connection.vendor == "mysql" else "PRAGMA foreign_keys=0"
        )
        cursor.execute("ALTER TABLE certificates_generatedcertificate ADD COLUMN padding varchar(255)")
        cursor.execute(
            "INSERT INTO auth_user (id, username, password, first_name, last_name, email, is_staff, is_superuser, "
            f"is_active, date_joined) SELECT n + 1, {username}, '', '', '', '', 0, 0, 1, %s "
            f"FROM ({numbers}) numbers WHERE n < {learners}",
            [now()],
        )
        cursor.execute(
            "INSERT INTO certificates_generatedcertificate (user_id, course_id, status, mode, modified_date, padding) "
            f"SELECT (n * {step}) %% {learners} + 1, {course % learners}, 'downloadable', 'verified', "
            f"CASE WHEN n %% {rows // changed} = 0 THEN %s ELSE %s END, %s FROM ({numbers}) numbers",
            [now() - timedelta(minutes=30), now() - timedelta(days=400), PADDING],
        )
    print(
        f"{connection.vendor}: {rows:,} certificates of {learners:,} learners, {changed:,} changed; "
        f"filled in {time.monotonic() - began:.0f} s",
        flush=True,
    )


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
