"""
Measures whether reading all program certificates side by side is faster than page after page.

``python -m benchmarks.parallel_reading [--rows N] [--latency SECONDS ...]``

Threads read every n-th page of the whole list, or processes read the lists of four programs. A stand-in of Credentials
is one Python process; so there are several, on one database. All of them run on this machine, whose cores bound what a
real site, with its Credentials elsewhere, may gain. ``--latency`` adds a wait to each request, which costs no core.
"""

import argparse
import signal
import sqlite3
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from uuid import uuid4

import jwt
import requests

from testbed.credentials.client import CredentialsControl
from testbed.inputs import read_programs
from testbed.large import insert
from testbed.processes import Processes
from testbed.run import DATA
from testbed.site import Site

# Readers and stand-ins; the first of each is how one run of the command reads.
THREADS = [(1, 1), (2, 1), (4, 1), (2, 2), (4, 2), (4, 4)]
PROCESSES = [(1, 1), (2, 2), (4, 2), (4, 4)]


def read(url, token, first=1, step=1, **query):
    """Read every step-th page of a list, and return how many certificates they have."""
    found = 0
    with requests.Session() as session:
        session.headers["Authorization"] = f"JWT {token}"
        for number in count(first, step):
            answer = session.get(f"{url}/api/v2/credentials/", params={"type": "program", "page": number, **query})
            if answer.status_code == 404:  # behind the last
                return found
            answer.raise_for_status()
            found += len(answer.json()["results"])


def measure(pool_class, readers, urls, token, parts):
    """Have some readers read all parts, and return how many certificates they found in how many seconds."""
    began = time.monotonic()
    with pool_class(readers) as pool:
        reading = [pool.submit(read, urls[n % len(urls)], token, **part) for n, part in enumerate(parts)]
        return sum(future.result() for future in reading), time.monotonic() - began


def start(processes, directory, rows):
    """Start four stand-ins that have the same certificates; return the site, their programs and their addresses."""
    site, urls = Site(processes, directory), []
    [program, *_] = read_programs(DATA / "programs.json")
    programs = [{**program, "uuid": str(uuid4())} for _ in range(4)]
    for _ in range(4):
        site.start_credentials(programs)
        urls.append(site.credentials_url)
    now = str(datetime.now(UTC).replace(tzinfo=None))
    with closing(sqlite3.connect(directory / "credentials.sqlite3")) as database:
        insert(
            database,
            "credentials_credential",
            "uuid username type key mode status created modified history",
            (
                (uuid4().hex, f"learner{n}", "program", programs[n % 4]["uuid"], "", "awarded", now, now, "[]")
                for n in range(rows)
            ),
        )
        # Without them, SQLite takes a tenth of a second to skip to a late page.
        database.execute("CREATE INDEX of_type ON credentials_credential (type, uuid)")
        database.execute("CREATE INDEX of_program ON credentials_credential (type, key, uuid)")
    return site, programs, urls


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what reading side by side gains.")
    parser.add_argument("--rows", type=int, default=120_000, help="program certificates, 120,000 by default")
    parser.add_argument("--latency", type=float, nargs="+", default=[0, 0.013], help="seconds a request, 0 and 0.013")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was made is removed
    with tempfile.TemporaryDirectory() as directory, Processes(directory) as processes:
        site, programs, urls = start(processes, Path(directory), options.rows)
        claims = {"preferred_username": "credentials_service_user", "administrator": True, "is_restricted": False}
        claims |= {"iss": site.jwt["JWT_ISSUER"], "aud": site.jwt["JWT_AUDIENCE"], "version": "1.2.0"}
        token = jwt.encode(
            {**claims, "iat": int(time.time()), "exp": int(time.time()) + 86400}, site.jwt["JWT_SECRET_KEY"]
        )
        print("| added latency (ms) | read by | stand-ins | seconds | certificates/s |\n|---:|---|---:|---:|---:|")
        ways = [
            (
                ThreadPoolExecutor,
                "the whole list, threads:",
                n,
                workers,
                [{"first": i + 1, "step": n} for i in range(n)],
            )
            for n, workers in THREADS
        ] + [
            (ProcessPoolExecutor, "four lists, processes:", n, workers, [{"program_uuid": p["uuid"]} for p in programs])
            for n, workers in PROCESSES
        ]
        for latency in options.latency:
            for url in urls if latency else []:
                CredentialsControl(url).fault("delay", seconds=latency, method="GET")
            for pool_class, name, readers, workers, parts in ways:
                found, seconds = measure(pool_class, readers, urls[:workers], token, parts)
                assert found == options.rows, f"{found} certificates were read"
                speed = f"{seconds:.1f} | {found / seconds:,.0f}"
                print(f"| {latency * 1000:.0f} | {name} {readers} | {workers} | {speed} |", flush=True)
            for url in urls:
                CredentialsControl(url).clear()


if __name__ == "__main__":
    main()
