"""
Large sites, for tests and benchmarks of the repair: what fills their databases past the applications, thousands of rows
in a second.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from testbed.servers.processes import Processes
from testbed.site.programs import make_program
from testbed.site.site import Site

# The service users of the LMS come before.
FIRST_ID = 1000
COURSES = [f"course-v1:OpenX+SCALE{number}+2026" for number in range(2)]
PROGRAM = make_program(1, *([key] for key in COURSES))


class RepairSite(Site):
    """
    A site with many certificates, of which some learners' changed half an hour ago.

    Each learner has a program certificate and two course certificates. Of those who changed, every other one changed
    in both courses, and every third lost the program certificate.

    Args, beside those of ``Site``:
        size: learners.
        changed: learners who changed.
    """

    def __init__(self, processes: Processes, directory: str | Path, size: int, changed: int) -> None:
        super().__init__(processes, directory)
        step = size // changed
        # Of the certificates that changed: username -> status.
        self.expected = {f"learner{place * step}": "awarded" if place % 3 else "revoked" for place in range(changed)}
        self.start_for_commands([PROGRAM])
        self._fill(size)

    def _fill(self, size: int) -> None:
        now = datetime.now(UTC).replace(tzinfo=None)
        lately, long_ago = (str(now - age) for age in (timedelta(minutes=30), timedelta(days=400)))
        places = {username: place for place, username in enumerate(self.expected)}
        learners = [(FIRST_ID + number, f"learner{number}") for number in range(size)]

        def credentials() -> Iterator[tuple]:
            for _id, name in learners:
                status = self.expected.get(name, "awarded")
                yield uuid4().hex, name, "program", PROGRAM["uuid"], "", status, long_ago, long_ago, "[]"

        def certificates() -> Iterator[tuple]:
            # The courses one after the other: a learner's certificates are far apart.
            for number, course in enumerate(COURSES):
                for id_, name in learners:
                    is_new = name in places and (number == 0 or places[name] % 2)
                    yield id_, course, "downloadable", "verified", lately if is_new else long_ago

        with closing(sqlite3.connect(self.directory / "credentials.sqlite3")) as database:
            columns = "uuid username type key mode status created modified history"
            insert(database, "credentials_credential", columns, credentials())
            database.execute("ANALYZE")  # or SQLite may take a tenth of a second for a learner's list
        with closing(sqlite3.connect(self.directory / "lms.sqlite3")) as database:
            columns = "id username password first_name last_name email is_superuser is_staff is_active date_joined"
            users = ((id_, name, "", "", "", f"{name}@example.com", 0, 0, 1, long_ago) for id_, name in learners)
            insert(database, "auth_user", columns, users)
            insert(database, "auth_userprofile", "user_id name", learners)
            columns = "user_id course_id status mode modified_date"
            insert(database, "certificates_generatedcertificate", columns, certificates())

    def count_lists(self) -> int:
        """Count the requests for a page of certificates so far."""
        requests = self.credentials.requests()
        return sum((one["method"], one["path"], one["type"]) == ("GET", "credentials/", "program") for one in requests)


def insert(database: sqlite3.Connection, table: str, columns: str, rows: Iterable[tuple]) -> None:
    """Insert rows into a table of an open SQLite database at once."""
    names = columns.split()
    database.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", rows)
    database.commit()


def fill_lms(rows: int, changed: int, courses: int) -> None:
    """
    Fill the LMS's database that Django is set up for, on a MariaDB.

    Args:
        rows: course certificates. Neighbours belong to different learners, as they come in over the years.
        changed: how many of them changed half an hour ago.
        courses: certificates of each learner.
    """
    from django.db import connection
    from django.utils.timezone import now

    learners = rows // courses
    step = next(step for step in range(7919, 8000) if learners % step)  # coprime enough to visit everyone
    with connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks=0, unique_checks=0")
        cursor.execute(
            "INSERT INTO auth_user (id, username, password, first_name, last_name, email, is_staff, is_superuser, "
            "is_active, date_joined) SELECT seq, CONCAT('learner', seq), '', '', '', '', 0, 0, 1, %s "
            f"FROM seq_1_to_{learners}",
            [now()],
        )
        cursor.execute(
            "INSERT INTO certificates_generatedcertificate (user_id, course_id, status, mode, modified_date) "
            f"SELECT (seq * {step}) %% {learners} + 1, CONCAT('course-v1:Org+Course', seq DIV {learners}, '+2026'), "
            f"'downloadable', 'verified', CASE WHEN seq %% {rows // changed} = 0 THEN %s ELSE %s END "
            f"FROM seq_0_to_{rows - 1}",
            [now() - timedelta(minutes=30), now() - timedelta(days=400)],
        )
