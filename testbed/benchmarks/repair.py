"""
Measures what a repair costs, on sites of several sizes: of an hour, by ``--recently-modified``, and of everything.

``python -m testbed.benchmarks.repair [--sizes N ...] [--changed N]`` prints a table.

Credentials is the stand-in, over HTTP, and the bus is a Redis-protocol server, both on this machine: requests, CPU and
memory of the command are as on a real site; seconds are not, as there Credentials has a machine of its own.
"""

import argparse
import os
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pymysql

from testbed.inputs import read_programs
from testbed.processes import Processes
from testbed.run import DATA
from testbed.site import Site, connect

COMMAND = "republish_program_certificate_events"
HOUR = ("--recently-modified", "--start-date", "1h")
# The service users of the LMS come before.
FIRST_ID = 1000
COURSES = [f"course-v1:OpenX+SCALE{number}+2026" for number in range(2)]


class RepairSite(Site):
    """
    A site with many certificates, of which some learners' changed half an hour ago.

    Each learner has a program certificate and two course certificates. Of those who changed, every tenth has a second
    program certificate, which is old, every other one changed in both courses, and every third lost the certificate.

    Args:
        processes (Processes): starts and ends the processes.
        directory (Path): where configuration, databases and logs go.
        size (int): program certificates in Credentials.
        changed (int): learners who changed.
        database (dict): the LMS's database, as ``testbed.mysql`` gives it, in place of a SQLite file.
    """

    def __init__(self, processes, directory, size, changed, database=None):
        super().__init__(processes, directory)
        programs = read_programs(DATA / "programs.json")
        self.program_uuid, self.other_uuid = programs[0]["uuid"], programs[1]["uuid"]
        self.size, self.changed, self.database = size, changed, database
        self.second = len(range(0, changed, 10))
        self.learners = size - self.second
        step = self.learners // changed
        # Of the certificates that changed: username -> status.
        self.expected = {f"learner{place * step}": "awarded" if place % 3 else "revoked" for place in range(changed)}
        self.runs = 0
        self.start_for_commands(programs, database)
        self._fill()

    def _fill(self):
        """Fill both databases, past the applications: thousands of certificates in a second."""
        now = datetime.now(UTC).replace(tzinfo=None)
        lately, long_ago = (str(now - age) for age in (timedelta(minutes=30), timedelta(days=400)))
        places = {username: place for place, username in enumerate(self.expected)}

        def learners():
            return ((FIRST_ID + number, f"learner{number}") for number in range(self.learners))

        def credentials():
            for _id, name in learners():
                status, modified = self.expected.get(name, "awarded"), lately if name in places else long_ago
                yield uuid4().hex, name, "program", self.program_uuid, "", status, long_ago, modified, "[]"
                if places.get(name, 1) % 10 == 0:
                    yield uuid4().hex, name, "program", self.other_uuid, "", "awarded", long_ago, long_ago, "[]"

        def certificates():
            # The courses one after the other: a learner's certificates are far apart.
            for number, course in enumerate(COURSES):
                for id_, name in learners():
                    is_new = name in places and (number == 0 or places[name] % 2)
                    yield id_, course, "downloadable", "verified", lately if is_new else long_ago

        with closing(sqlite3.connect(self.directory / "credentials.sqlite3")) as database:
            columns = "uuid username type key mode status created modified history"
            insert(database, "credentials_credential", columns, credentials())
            # Without them, SQLite takes a tenth of a second to find a late page, or a learner's list.
            database.executescript("CREATE INDEX of_type ON credentials_credential (type, uuid); ANALYZE")
        with closing(self._connect()) as database:
            columns = "id username password first_name last_name email is_superuser is_staff is_active date_joined"
            users = ((id_, name, "", "", "", f"{name}@example.com", 0, 0, 1, long_ago) for id_, name in learners())
            insert(database, "auth_user", columns, users)
            insert(database, "auth_userprofile", "user_id name", learners())
            columns = "user_id course_id status mode modified_date"
            insert(database, "certificates_generatedcertificate", columns, certificates())

    def _connect(self):
        if not self.database:
            return sqlite3.connect(self.directory / "lms.sqlite3")
        names = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password", "NAME": "database"}
        return pymysql.connect(**{name: self.database[key] for key, name in names.items()})

    def start_command(self, *argv):
        """Start the command; what it logs is in the process's log, what it prints can be read."""
        self.runs += 1
        return self.processes.python(
            f"run{self.runs}", "manage.py", "lms", COMMAND, *argv, env=self.env(), stdout=subprocess.PIPE, text=True
        )

    def count_lists(self):
        """Count the requests for a page of certificates so far."""
        return sum(
            (request["method"], request["path"], request["type"]) == ("GET", "credentials/", "program")
            for request in self.credentials.requests()
        )

    def count_added(self):
        """Count the events that were sent; ``count_published`` would miss all that a full stream has dropped."""
        with connect(self.bus_url) as client:
            return client.xinfo_stream(self.stream_key)["entries-added"] if client.exists(self.stream_key) else 0


def insert(database, table, columns, rows):
    """Insert rows into a table of an open database, SQLite's or MySQL's, at once."""
    columns = columns.split()
    place = "?" if isinstance(database, sqlite3.Connection) else "%s"
    cursor = database.cursor()
    cursor.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join([place] * len(columns))})", rows)
    database.commit()


def measure(site, *argv):
    """
    Run the command; return requests, seconds, CPU seconds, peak memory in MiB, and events.

    A process's peak begins with its parent's, so this process stays small: it counts events, and reads none.
    """
    lists, published, began = site.count_lists(), site.count_added(), time.monotonic()
    run = site.start_command(*argv)
    _, status, usage = os.wait4(run.pid, 0)
    seconds = time.monotonic() - began
    run.popen.returncode = os.waitstatus_to_exitcode(status)
    site.processes.forget(run)
    if run.popen.returncode:
        raise SystemExit(
            f"error: the command ended with exit code {run.popen.returncode}: {run.log.read_text()[-2000:]}"
        )
    return (
        site.count_lists() - lists,
        seconds,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1024,
        site.count_added() - published,
    )


def main():
    """Measure and print, size by size."""
    parser = argparse.ArgumentParser(description="Measure what a repair costs.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000], help="program certificates")
    parser.add_argument("--changed", type=int, default=500, help="learners who changed, 500 by default")
    options = parser.parse_args()
    print("| program certificates | run | requests | seconds | CPU seconds | peak memory (MiB) | events |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as directory, Processes(directory) as processes:
            site = RepairSite(processes, directory, size, options.changed)
            for argv in (HOUR, ("--all",)):
                requests, seconds, cpu, memory, events = measure(site, *argv)
                print(
                    f"| {size:,} | `{' '.join(argv)}` | {requests:,} | {seconds:.1f} | {cpu:.1f} | {memory:.0f} "
                    f"| {events:,} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
