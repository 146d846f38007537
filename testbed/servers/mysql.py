"""
A MySQL-protocol server for the tests: the one that ``MYSQL_URL`` names, or a MariaDB of the run's own.

``python -m testbed.servers.mysql`` tells whether there is one. As a Django application, the module brings the driver.
"""

import contextlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql

from testbed.servers.processes import Processes, Server

# Django asks for mysqlclient, of which there are no wheels for Linux.
pymysql.install_as_MySQLdb()

NO_SERVER = (
    "there is no MySQL-protocol server: install MariaDB's (Debian: apt-get install mariadb-server-core), or set "
    "MYSQL_URL=mysql://user:password@host:port/"
)

# What Tutor, and so most sites, gives its server. Like MySQL's own default, it ignores case, accents and more.
COLLATION = "utf8mb4_unicode_ci"


class MariaDB(Server):
    """A MariaDB server with its data in a directory of its own. It has no system tables, and lets everybody in."""

    not_yet = pymysql.Error

    def __init__(self, processes: Processes, name: str, directory: Path) -> None:
        self.data = directory / "data"
        self.data.mkdir(parents=True)
        super().__init__(processes, name)

    def command(self, port: int) -> list[str]:
        return [
            find_binary() or "",
            "--no-defaults",  # has to be the first
            *(["--user=root"] if os.geteuid() == 0 else []),
            *(f"--datadir={self.data}", f"--secure-file-priv={self.data}", "--skip-grant-tables"),
            *("--skip-networking=0", "--bind-address=127.0.0.1", f"--port={port}", "--skip-name-resolve"),
            "--socket=mariadb.sock",  # in the data directory, whose path may be too long for a socket's
            # Small, and quick to start; nobody needs the data after a crash.
            *("--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0"),
        ]

    def answers(self) -> object:
        return query(self.url, "SELECT 1")

    @property
    def url(self) -> str:
        return f"mysql://testbed@127.0.0.1:{self.port}/"


def find_binary() -> str | None:
    return shutil.which("mariadbd", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


def find_problem() -> str:
    """Return why there is no server, and none can be started, in one line; "" if there is one."""
    url = os.environ.get("MYSQL_URL")
    if not url:
        return "" if find_binary() else NO_SERVER
    try:
        connect(url).close()
    except ValueError:
        # The error's own text may quote the password.
        return "MYSQL_URL: it has to be mysql://user:password@host:port/, percent-encoded"
    except pymysql.Error as exc:
        return f"MYSQL_URL: {exc}"
    return ""


def parse(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme != "mysql" or not parts.hostname:
        raise ValueError("not a URL of a MySQL-protocol server")
    return {
        "host": parts.hostname,
        "port": parts.port or 3306,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
    }


def connect(url: str) -> pymysql.Connection:
    """Return a connection, and a context that closes it; raise a ``ValueError`` if the URL is not a server's."""
    return pymysql.connect(**parse(url), connect_timeout=5, read_timeout=60, autocommit=True)


def query(url: str, sql: str) -> tuple[tuple[Any, ...], ...]:
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


@contextlib.contextmanager
def database(url: str) -> Iterator[dict[str, Any]]:
    """Have a database with a random name, as Django's ``DATABASES`` has it. Tests run by Django use the same one."""
    name = f"testbed_{secrets.token_hex(8)}"
    query(url, f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE {COLLATION}")
    server = {key.upper(): value for key, value in parse(url).items()}
    try:
        yield {"ENGINE": "django.db.backends.mysql", "NAME": name, **server, "TEST": {"NAME": name}}
    finally:
        query(url, f"DROP DATABASE {name}")


def environment(database: dict[str, Any]) -> dict[str, str]:
    """Return the environment variables with which the settings of the LMS's tests use a database."""
    return {"DJANGO_SETTINGS_MODULE": "testbed.servers.mysql_settings", "TESTBED_DATABASE": json.dumps(database)}


if __name__ == "__main__":
    if problem := find_problem():
        sys.exit(f"error: {problem}")
