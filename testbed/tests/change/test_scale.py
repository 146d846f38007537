"""
Tests of ``./manage.py lms republish_program_certificate_events`` on large sites: it asks once about each learner who
changed, and needs no more memory for many of them.
"""

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from testbed import ROOT
from testbed.run.inputs import AWARDED, REVOKED
from testbed.servers import mysql
from testbed.servers.processes import PATIENCE, Processes
from testbed.servers.valkey import connect
from testbed.site.large import RepairSite
from testbed.site.site import QUEUE
from testbed.tests.conftest import leftovers

pytestmark = [pytest.mark.e2e, pytest.mark.scale]

STATUS = {AWARDED: "awarded", REVOKED: "revoked"}

# A million learners with two course certificates each; of every hundredth learner, they changed in the last hour.
FILL = """
import django
django.setup()
from django.core.management import call_command
from testbed.site.large import fill_lms
call_command("migrate", verbosity=0)
fill_lms(2_000_000, 20_000, courses=2)
"""
# Takes the hours of the window; counts how often each learner comes. Not ``ru_maxrss``: a process begins with its
# parent's, and so would hide what it needs itself.
FIND = """
import re, sys
from datetime import timedelta
from pathlib import Path
import django
django.setup()
from django.db import connection
from django.utils.timezone import now
from lms.djangoapps.certificates.models import GeneratedCertificate
from openedx.core.djangoapps.programs.management.commands.republish_program_certificate_events import Command
runs = [f"course-v1:Org+Course{number}+2026" for number in range(500)]
changed = GeneratedCertificate.objects.filter(modified_date__gte=now() - timedelta(hours=int(sys.argv[1])))
times = bytearray(1_000_001)
# SQLite, which no site has, would read the index of the course runs from its beginning for each page.
if connection.vendor == "mysql":
    changed = changed.filter(course_id__in=runs)
for user_id in Command().each_learner(changed):
    times[user_id] += 1
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(times.count(0), times.count(1), int(peak) / 1024)
"""


class ScaleSite(RepairSite):
    """A large site, and what a consumer of its events has learnt."""

    shell_module = "benchmarks.lms"
    patience = 20 * PATIENCE

    def known(self, events):
        """Return what a consumer knows that keeps the event with the latest time: username -> status."""
        return {
            event["data"]["program_certificate"]["user"]["pii"]["username"]: STATUS[event["type"]]
            for event in sorted(events, key=lambda event: datetime.fromisoformat(event["time"]))
        }


@contextmanager
def running(directory, *args):
    """Have a site; neither its processes nor its databases stay."""
    with Processes(directory) as processes:
        yield ScaleSite(processes, directory, *args)
    assert not leftovers(directory)
    for path in directory.glob("*.sqlite3*"):
        path.unlink()


@pytest.mark.parametrize(
    ("size", "changed"),
    [pytest.param(2000, 50, marks=pytest.mark.representative), (100_000, 500)],
)
def test_as_many_requests_as_learners_who_changed(tmp_path, size, changed):
    with running(tmp_path, size, changed) as site:
        site.start_consumer()
        run = site.start_command("--start-date", "2h")
        output, _ = run.popen.communicate(timeout=3 * PATIENCE)
        log = run.log.read_text(encoding="utf-8")

        lost = sum(status == "revoked" for status in site.expected.values())
        assert run.popen.returncode == 0, log
        assert output.splitlines()[-1] == (
            f"learners={changed} awarded={changed - lost} revoked={lost} skipped=0 failed=0 bus_errors=0"
        )
        assert not any(text in log for text in ("Traceback", " ERROR ", " WARNING ")), log
        assert site.count_lists() == changed
        site.wait_for_events(changed)
        assert len(site.events()) == site.count_published() == changed
        assert site.known(site.events()) == site.expected


def test_more_tasks_need_no_more_memory(tmp_path):
    with running(tmp_path, 100_000, 10_000) as site:
        few = site.do("republish", argv=["--start-date", "2h", "--enqueue", "--delay", "0"])
        many = site.do("republish", argv=["--all", "--enqueue", "--delay", "0"])

        with connect(site.redis_url) as client:
            assert client.llen(f"{site.run_id}-{QUEUE}") == 110_000
        assert many["peak"] - few["peak"] <= 10, (few, many)


@pytest.mark.parametrize("server", ["sqlite", "mariadb"])
def test_a_million_learners_come_once_each_and_need_no_more_memory(server):
    with _mariadb() if server == "mariadb" else _sqlite() as database:
        _run_on(database, FILL)
        *few, few_peak = _run_on(database, FIND, "1").split()
        *many, many_peak = _run_on(database, FIND, "100000").split()

    # Place 0 of a million and one is nobody's.
    assert few == ["990001", "10000"]
    assert many == ["1", "1000000"]
    assert float(many_peak) - float(few_peak) < 20, (few_peak, many_peak)


@contextmanager
def _sqlite():
    with TemporaryDirectory() as directory:
        yield {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{directory}/lms.sqlite3"}


@contextmanager
def _mariadb():
    if problem := mysql.find_problem():
        pytest.skip(problem)
    if url := os.environ.get("MYSQL_URL"):
        [(version,)] = mysql.query(url, "SELECT VERSION()")
        if "MariaDB" not in version:
            pytest.skip("MYSQL_URL: it is not a MariaDB, whose tables of numbers fill the database")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        yield mysql.start(stack, directory)


def _run_on(database, script, *arguments):
    """Run a Python script with a database; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env={**os.environ, **mysql.environment(database)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
