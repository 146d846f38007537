"""
What the tests of the change share: a site that is looked at again and again, a MySQL-protocol server, and how many
examples the properties take.
"""

import os
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import settings

from testbed.servers import mysql
from testbed.servers.processes import PATIENCE, Processes
from testbed.site.site import Site

# `make test` takes a few examples, and `make test-change` the full number.
settings.register_profile("change", max_examples=int(os.environ.get("EXAMPLES", 30)), deadline=None, print_blob=True)
settings.load_profile("change")


class WatchedSite(Site):
    """A site whose tests run one after the other; each looks at the events that came since the last look."""

    seen = 0

    def new_events(self) -> list[dict]:
        """Return the new events, once all that were sent have arrived."""
        self.wait_for_events(self.count_published())
        new = self.events()[self.seen :]
        self.seen += len(new)
        return new

    def clean(self) -> None:
        """Remove what a test has left."""
        self.processes.kill("command", "worker")
        self.credentials.clear()
        self.new_events()


@pytest.fixture
def site(shared_site: WatchedSite) -> Iterator[WatchedSite]:
    """The site that the tests of a file share, one after the other. The file says which, with ``shared_site``."""
    yield shared_site
    shared_site.clean()


def summary(awarded: int, revoked: int = 0, failed: int = 0) -> str:
    """Return the last line of a run for learners with a certificate each."""
    counts = f"awarded={awarded} revoked={revoked} skipped=0 failed={failed} bus_errors=0"
    return f"learners={awarded + revoked + failed} {counts}"


@pytest.fixture(scope="module")
def own_server(shared_processes: Processes) -> mysql.MariaDB | None:
    """A server of the tests' own, None if they have been given one."""
    if os.environ.get("MYSQL_URL"):
        return None
    if problem := mysql.find_problem():
        pytest.skip(problem)
    return mysql.MariaDB(shared_processes, "mariadb", shared_processes.directory / "mariadb")


@pytest.fixture(scope="module")
def url(own_server: mysql.MariaDB | None) -> str:
    """Where the server is."""
    return own_server.url if own_server else os.environ["MYSQL_URL"]


def run_python(processes: Processes, database: dict, *argv: str) -> str:
    """Run Python with a database on the server to its end, and return what it printed."""
    env = mysql.environment(database)
    process = processes.python("script", *argv, env=env, stdout=subprocess.PIPE, text=True)
    code, output = process.finish(10 * PATIENCE)
    assert code == 0, f"{output}, see {process.log}"
    return output
