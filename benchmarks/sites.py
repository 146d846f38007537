"""
LMSes for the measurements: they share a database, a Credentials service, programs and a broker, and differ in what they
do with the events.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from testbed.servers.processes import ProcessError, Processes, wait_for
from testbed.site.kafka import KafkaSite
from testbed.site.large import insert
from testbed.site.programs import make_program
from testbed.site.site import Site

# What an LMS does with the events.
OFF = "without the change"
IN_PROCESS = "in-process only"
REDIS = "Redis"
KAFKA = "Kafka"
MODES = (OFF, IN_PROCESS, REDIS, KAFKA)

# How many programs a course run completes.
SIZES = (1, 10, 100)
# Seconds that a request of Credentials takes. The stand-in is quicker, and made to wait for the rest.
LATENCY = 0.013

Sites = dict[str, Any]  # of each of MODES, a site; it has the mode's short name as its ``name``


def course_run(size: int) -> str:
    """Return the course run whose certificate completes so many programs."""
    return f"course-v1:OpenX+OF{size}+2026"


def start(processes: Processes, directory: Path) -> Sites:
    """Start all; the first site has the seconds that a request of Credentials takes as its ``latency``."""
    made: Sites = {
        OFF: Site(processes, directory, enabled=False),
        IN_PROCESS: Site(processes, directory, enabled=False),
        REDIS: Site(processes, directory),
        KAFKA: KafkaSite(processes, directory),
    }
    sizes = [size for size in SIZES for _ in range(size)]
    programs = [make_program(number, [course_run(size)]) for number, size in enumerate(sizes)]
    first = made[OFF]
    first.apps += ("benchmarks.apps.WithoutEmitterConfig",)
    first.start_redis()
    first.start_credentials(programs)
    first.start_discovery(programs)
    for mode, site in made.items():
        for name in ("run_id", "jwt", "redis_url", "bus_url", "credentials", "credentials_url", "discovery_url"):
            setattr(site, name, getattr(first, name))
        site.name = mode.split()[0].lower()
        site.shell_module, site.config_file = "benchmarks.lms", directory / f"{site.name}.yml"
        site.tasks_file = directory / f"{site.name}.tasks.jsonl"
        for _what, begin in site.bus_steps():
            begin()
        site.configure()
        if site is first:
            site.start_lms()
        else:
            site.start_shell()
    made[KAFKA].create_topic()
    first.do("create_courses", keys=[course_run(size) for size in SIZES])
    first.latency = _slow_down(first, programs[0]["uuid"])
    return made


def _slow_down(site: Any, program_uuid: str) -> float:
    """Have each request of Credentials take ``LATENCY``; return the seconds that one takes, the median."""
    ask = {"prefix": "slow", "program_uuid": program_uuid, "count": len(fill(site, "slow", 40))}
    delay = 0.0
    for _ in range(10):  # what disturbs one look is put right by the next
        site.credentials.clear()
        site.credentials.fault("delay", seconds=delay)
        latency = site.do("time_requests", **ask)
        if abs(latency - LATENCY) < 0.05 * LATENCY:
            return latency
        delay = max(delay + LATENCY - latency, 0)
    raise ProcessError(f"a request of Credentials takes {latency} s, and not {LATENCY}")


def fill(site: Site, prefix: str, count: int, size: int = 1) -> list[str]:
    """
    Create learners whose certificate completes so many programs; return their usernames.

    It writes to both databases: no signal starts a task, and Credentials knows the learners at once.
    """
    usernames, joined = [f"{prefix}{number}" for number in range(count)], "2026-01-01 00:00:00"
    columns = "username password first_name last_name email is_superuser is_staff is_active date_joined"
    users = [(name, "", "", "", f"{name}@example.com", 0, 0, 1, joined) for name in usernames]
    with closing(sqlite3.connect(site.directory / "credentials.sqlite3")) as database:
        insert(database, "credentials_user", f"lms_user_id {columns}", ((0, *user) for user in users))
    with closing(sqlite3.connect(site.directory / "lms.sqlite3")) as database:
        insert(database, "auth_user", columns, users)
        ids = database.execute("SELECT id, username FROM auth_user ORDER BY id DESC LIMIT ?", [count]).fetchall()
        insert(database, "auth_userprofile", "user_id name", ids)
        certificates = ((id_, course_run(size), "downloadable", "verified", joined) for id_, _ in ids)
        columns = "user_id course_id status mode modified_date"
        insert(database, "certificates_generatedcertificate", columns, certificates)
    return usernames


def check_awarded(site: Any, prefix: str, expected: int) -> None:
    """Make sure that Credentials has so many certificates of some learners."""
    found = sum(credential["username"].startswith(prefix) for credential in site.credentials.credentials())
    if found != expected:
        raise ProcessError(f"Credentials has {found} certificates of {expected}")


def work_off(site: Site, count: int, enqueue: Callable[[], object]) -> float:
    """Have a worker do so many tasks, enqueued now; return the seconds from the first one's start to the last's end."""
    site.tasks_file.unlink(missing_ok=True)
    enqueue()
    wait_for(
        lambda: site.tasks_file.read_text(encoding="utf-8").count('"state": "succeeded"') == count,
        f"{count} tasks",
        alive=site.processes.running,
    )
    times = [task["at"] for task in site.tasks() if task["state"] in ("started", "succeeded")]
    return max(times) - min(times)
