"""
A MySQL-protocol server, as every real site has one: the one that ``MYSQL_URL`` names, or a MariaDB of the run's own.

``python -m testbed.servers.mysql`` tells whether there is one. As a Django application, the module brings the driver.
"""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pymysql

from testbed.servers.processes import ProcessError, Processes

# Django asks for mysqlclient, of which there are no wheels for Linux.
pymysql.install_as_MySQLdb()

NO_SERVER = (
    "there is no MySQL-protocol server: install MariaDB's (Debian: apt-get install mariadb-server-core), or set "
    "MYSQL_URL=mysql://user:password@host:port/"
)

# What Tutor, and so most sites, gives its server. Like MySQL's own default, it ignores case, accents and more.
COLLATION = "utf8mb4_unicode_ci"


class MariaDB:
    """
    A MariaDB server with data of its own.

    Args:
        processes (Processes): starts it.
        name (str): what to call it.
        directory (Path): where it keeps its data, which it finds again after a restart.
    """

    USER = "testbed"

    def __init__(self, processes, name, directory):
        self.processes, self.name, self.directory = processes, name, Path(directory)
        self.data = self.directory / "data"
        self.port = None
        self.process = None
        # With characters that an URL has to have encoded.
        self._password = f"{secrets.token_hex(16)}@/%"
        self._create()
        self.start()

    def _create(self):
        """
        Create the data directory, with the system tables and nothing else in it.

        ``mariadb-install-db`` would do it, if Debian had not put a program that it needs into another package.
        """
        self.data.mkdir(parents=True)
        script = b"CREATE DATABASE mysql;\nUSE mysql;\n" + _find_system_tables().read_bytes()
        done = subprocess.run([*self._command(), "--bootstrap"], input=script, capture_output=True)
        if done.returncode:
            raise ProcessError(f"{self.name} could not be set up: {done.stderr.decode(errors='replace')[-1000:]}")
        init = self.directory / "init.sql"
        init.touch(mode=0o600)
        init.write_text(
            f"CREATE USER IF NOT EXISTS {self.USER}@127.0.0.1 IDENTIFIED BY '{self._password}';\n"
            f"GRANT ALL ON *.* TO {self.USER}@127.0.0.1;\n"
        )

    def _command(self):
        return [
            find_binary(),
            "--no-defaults",  # has to be the first
            *(["--user=root"] if os.geteuid() == 0 else []),
            f"--datadir={self.data}",
            f"--secure-file-priv={self.data}",
            # Small, and quick to start; nobody needs the data after a crash.
            "--innodb-buffer-pool-size=16M",
            "--innodb-log-file-size=8M",
            "--innodb-flush-log-at-trx-commit=0",
        ]

    def start(self):
        """Start, on the same port as before if there was one."""
        self.process, self.port = self.processes.listen(
            self.name,
            lambda port: [
                *self._command(),
                "--skip-networking=0",
                "--bind-address=127.0.0.1",
                f"--port={port}",
                "--skip-name-resolve",
                "--socket=mariadb.sock",  # in the data directory, whose path may be too long for a socket's
                f"--init-file={self.directory / 'init.sql'}",
            ],
            self._answers,
            self.port,
        )

    def _answers(self, port):
        with contextlib.suppress(pymysql.Error):
            connect(self._url(port)).close()
            return True

    def stop(self):
        """Stop; the data stay."""
        self.process.stop()
        self.processes.forget(self.process)

    @property
    def url(self):
        """str: where it listens."""
        return self._url(self.port)

    def _url(self, port):
        return f"mysql://{self.USER}:{quote(self._password, safe='')}@127.0.0.1:{port}/"


def find_binary():
    """
    Find a MariaDB server's program.

    Returns:
        str: its path, or None.
    """
    return shutil.which("mariadbd", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


def _find_system_tables():
    share = Path(find_binary()).resolve().parents[1] / "share"
    for folder in (share / "mariadb", share / "mysql", share):
        for path in sorted(folder.glob("m*_system_tables.sql")):
            return path
    raise ProcessError(f"no script that creates MariaDB's system tables was found in {share}")


def find_problem():
    """
    Find out whether there is a server, or one that can be started.

    Returns:
        str: why not, in one line; "" if there is.
    """
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


def _parse(url):
    parts = urlsplit(url)
    if parts.scheme != "mysql" or not parts.hostname:
        raise ValueError("not a URL of a MySQL-protocol server")
    return {
        "host": parts.hostname,
        "port": parts.port or 3306,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
    }


def connect(url):
    """
    Connect to a server, one that is expected to answer soon.

    Args:
        url (str): where it is.

    Returns:
        pymysql.Connection: a connection, and a context that closes it.

    Raises:
        ValueError: the URL is none of a MySQL-protocol server.
    """
    return pymysql.connect(**_parse(url), connect_timeout=5, read_timeout=60, autocommit=True)


def query(url, sql, *arguments):
    """
    Execute one statement.

    Returns:
        tuple[tuple]: the rows.
    """
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(sql, arguments)
        return cursor.fetchall()


@contextlib.contextmanager
def database(url):
    """
    Have a database, with a random name, for as long as the context lasts.

    Args:
        url (str): where the server is.

    Yields:
        dict: it as Django's ``DATABASES`` has it. Tests run by Django use the same one.
    """
    name = f"testbed_{secrets.token_hex(8)}"
    query(url, f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE {COLLATION}")
    try:
        yield {
            "ENGINE": "django.db.backends.mysql",
            "NAME": name,
            **{key.upper(): value for key, value in _parse(url).items()},
            "TEST": {"NAME": name},
        }
    finally:
        query(url, f"DROP DATABASE {name}")


def start(stack, directory):
    """
    Have a database on a MariaDB with its own default cache of 128 MB, or on the server that ``MYSQL_URL`` names.

    Args:
        stack (ExitStack): ends it.
        directory (Path): where its data go.

    Returns:
        dict: it as Django's ``DATABASES`` has it.

    Raises:
        SystemExit: there is none.
    """
    if problem := find_problem():
        raise SystemExit(f"error: {problem}")
    url = os.environ.get("MYSQL_URL")
    if not url:
        server = MariaDB(stack.enter_context(Processes(directory)), "mariadb", directory / "mariadb")
        url = server.url
        query(url, "SET GLOBAL innodb_buffer_pool_size = 134217728")
    return stack.enter_context(database(url))


def environment(database):
    """
    Return what has a process use a database in the settings of the LMS's tests.

    Args:
        database (dict): it as Django's ``DATABASES`` has it.

    Returns:
        dict[str, str]: environment variables.
    """
    return {"DJANGO_SETTINGS_MODULE": "testbed.servers.mysql_settings", "TESTBED_DATABASE": json.dumps(database)}


def main():
    """
    Tell whether there is a server.

    Returns:
        int: 0 if so.
    """
    if problem := find_problem():
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
