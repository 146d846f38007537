"""
Tests of ``./manage.py lms republish_program_certificate_events --recently-modified`` on large sites: it asks only about
those who changed, and needs no more memory for many of them.
"""

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml

from testbed import mysql
from testbed.inputs import AWARDED, REVOKED
from testbed.large import RepairSite
from testbed.processes import PATIENCE, ProcessError, Processes, wait_for
from testbed.tests.conftest import ROOT, leftovers

pytestmark = [pytest.mark.e2e, pytest.mark.scale]

REPAIR = ("--recently-modified", "--start-date", "2h")
STATUS = {AWARDED: "awarded", REVOKED: "revoked"}

# A million learners with two course certificates each; of every hundredth learner, they changed in the last hour.
FILL = """
import django
django.setup()
from django.core.management import call_command
from testbed.large import fill_lms
call_command("migrate", verbosity=0)
fill_lms(2_000_000, 20_000, courses=2, padding="")
"""
# Takes the hours of the window; counts how often each learner comes. Not ``ru_maxrss``: a process begins with its
# parent's, and so would hide what it needs itself.
FIND = """
import re, sys
from datetime import timedelta
from pathlib import Path
import django
django.setup()
from django.utils.timezone import now
from openedx.core.djangoapps.programs.republish_selection import _find_modified
times = bytearray(1_000_001)
for user_id, username in _find_modified(now() - timedelta(hours=int(sys.argv[1]))):
    assert username == f"learner{user_id}"
    times[user_id] += 1
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(times.count(0), times.count(1), int(peak) / 1024)
"""


class ScaleSite(RepairSite):
    """A large site, and what a consumer of its events has learnt."""

    shell_module = "benchmarks.lms"
    patience = 20 * PATIENCE

    def start_repair(self, *options):
        """Start the command for those who changed lately."""
        return self.start_command(*REPAIR, *options)

    def end(self, run):
        """Wait for the end of the command; return its exit code, what it printed, and its log."""
        output, _ = run.popen.communicate(timeout=PATIENCE)
        self.processes.forget(run)
        return run.popen.returncode, output, run.log.read_text(encoding="utf-8")

    def known(self, events):
        """Return what a consumer knows that keeps the event with the latest time: username -> status."""
        known = {}
        for event in sorted(events, key=lambda event: datetime.fromisoformat(event["time"])):
            certificate = event["data"]["program_certificate"]
            assert certificate["program"]["uuid"] == self.program_uuid
            known[certificate["user"]["pii"]["username"]] = STATUS[event["type"]]
        return known

    def assert_complete(self, run):
        """Check that a run announced exactly what changed, and had nothing to complain of."""
        code, output, log = self.end(run)
        lost = sum(status == "revoked" for status in self.expected.values())
        assert code == 0, log
        assert output == (
            f"Program certificates: learners_asked={self.changed} read={self.changed + self.second} "
            f"not_selected={self.second} published_awarded={self.changed - lost} published_revoked={lost} "
            "skipped_unknown_learner=0 skipped_younger_account=0 failed=0\n"
        )
        assert not any(text in log for text in ("Traceback", " ERROR ", " WARNING ")), log


@contextmanager
def running(directory, *args, **kwargs):
    """Have a site; neither its processes nor its databases stay."""
    with Processes(directory) as processes:
        yield ScaleSite(processes, directory, *args, **kwargs)
    assert not leftovers(directory)
    for path in directory.glob("*.sqlite3*"):
        path.unlink()


@pytest.fixture(
    scope="module",
    params=[pytest.param((2000, 50), marks=pytest.mark.representative), (100_000, 500)],
    ids=lambda param: f"{param[0]} certificates",
)
def site(request, tmp_path_factory):
    """A site with so many program certificates, and so many learners who changed."""
    with running(tmp_path_factory.mktemp("scale"), *request.param) as site:
        site.start_consumer()
        yield site


@pytest.fixture(params=["sqlite", "mariadb"])
def database(request):
    """An empty database, as Django's ``DATABASES`` has it, of which nothing stays."""
    if request.param == "mariadb" and "MYSQL_URL" in os.environ:
        [(version,)] = mysql.query(os.environ["MYSQL_URL"], "SELECT VERSION()")
        if "MariaDB" not in version:
            pytest.skip("MYSQL_URL: it is no MariaDB, whose tables of numbers fill the database")
    with _mariadb() if request.param == "mariadb" else _sqlite() as database:
        yield database


@contextmanager
def _sqlite():
    with TemporaryDirectory() as directory:
        yield {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{directory}/lms.sqlite3"}


@contextmanager
def _mariadb():
    if problem := mysql.find_problem():
        pytest.skip(problem)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        yield mysql.start(stack, directory)


def test_as_many_requests_as_learners_who_changed(site):
    lists, seen = site.count_lists(), len(site.events())
    site.assert_complete(site.start_repair())

    assert site.count_lists() - lists == site.changed
    site.wait_for_events(seen + site.changed)
    assert len(site.events()) == site.count_published() == seen + site.changed
    assert site.known(site.events()[seen:]) == site.expected


def test_two_runs_at_once(site):
    seen = len(site.events())
    site.credentials.fault("hold_before", times=2, method="GET")
    runs = [site.start_repair() for _ in range(2)]
    wait_for(lambda: site.credentials.held() == 2, "both to ask", alive=runs)
    site.credentials.clear()
    for run in runs:
        site.assert_complete(run)

    site.wait_for_events(seen + 2 * site.changed)
    assert len(site.events()) == site.count_published() == seen + 2 * site.changed
    assert site.known(site.events()[seen:]) == site.expected


def test_connection_that_is_read_only(tmp_path):
    with _mariadb() as database, running(tmp_path, 200, 20, database=database) as site:
        site.start_consumer()
        # The service user's anonymous id, which is in its token, is stored once. Where tasks ran, it has been.
        code, _output, log = site.end(site.start_repair("--dry-run"))
        assert code == 0, log
        config = yaml.safe_load(site.config_file.read_text(encoding="utf-8"))
        config["DATABASES"]["default"]["OPTIONS"] = {"init_command": "SET SESSION TRANSACTION READ ONLY"}
        site.config_file.write_text(yaml.safe_dump(config), encoding="utf-8")
        site.start_shell()
        with pytest.raises(ProcessError, match="READ ONLY"):
            site.do("create_learner", username="other", email="other@example.com", name="Other")

        site.assert_complete(site.start_repair())

        site.wait_for_events(site.changed)
        assert len(site.events()) == site.count_published() == site.changed
        assert site.known(site.events()) == site.expected


def test_announcing_everything_needs_no_more_memory(tmp_path):
    with running(tmp_path, 100_000, 500) as site:
        little = site.do("republish", options={"usernames": ["learner1"]})
        lists, sent = site.count_lists(), site.count_added()
        much = site.do("republish", options={"all": True})

        assert site.count_added() - sent == 100_000
        assert site.count_lists() - lists == 100_000 / 20
        assert much["peak"] - little["peak"] < 20, (little, much)


def test_a_million_learners_need_no_more_memory(database):
    _run_on(database, FILL)
    *few, few_peak = _run_on(database, FIND, "1").split()
    *many, many_peak = _run_on(database, FIND, "100000").split()

    # Place 0 of a million and one is nobody's.
    assert few == ["990001", "10000"]
    assert many == ["1", "1000000"]
    assert float(many_peak) - float(few_peak) < 20, (few_peak, many_peak)


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
