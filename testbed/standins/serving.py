"""
What the local stand-ins of Credentials and of Discovery share: their options, their settings and their HTTP server.

A stand-in is started as ``python -m testbed.standins.NAME``. It listens on loopback only, prints one
JSON line ``{"url": ...}`` once it accepts requests, and ends with exit code 0 on SIGTERM or SIGINT.
"""

import argparse
import json
import logging
import os
import secrets
import signal
import socketserver
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.urls import get_resolver

from testbed import ROOT

LOGGER = logging.getLogger(__name__)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "testbed": {"level": "INFO"},
        "django.request": {"level": "ERROR"},  # every answer has its line already; this leaves the tracebacks
        "edx_rest_framework_extensions": {"level": "CRITICAL"},  # it logs usernames and e-mail addresses
    },
}


class OptionParser(argparse.ArgumentParser):
    """
    The options and the environment of a stand-in; whatever is wrong with them is one line and exit code 2.

    Args:
        service (str): the prefix of its environment variables, such as ``CREDENTIALS``
    """

    def __init__(self, service, **kwargs):
        super().__init__(allow_abbrev=False, **kwargs)
        self.service = service
        self.add_argument("--programs", required=True, metavar="FILE", type=_programs_file, help="programs JSON")
        self.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")

    def parse_args(self, args=None, namespace=None):
        options = super().parse_args(args, namespace)
        for name in ("SECRET_KEY", "ISSUER", "AUDIENCE"):
            if not os.environ.get(f"{self.service}_JWT_{name}"):
                self.error(f"the environment variable {self.service}_JWT_{name} is not set")
        return options

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def _programs_file(path):
    try:
        read_programs(path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f"{path} is not a usable programs file: {error!r}") from error
    return os.path.abspath(path)


def read_programs(path):
    """
    Read a programs file. What is wrong with one is told to people elsewhere, before a stand-in is started.

    Returns:
        tuple: the programs by their UUID, in the file's order, the list of pathways, and that of course runs outside
            programs
    """
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    programs = {UUID(program["uuid"]): program for program in data["programs"]}
    return programs, list(data.get("pathways", [])), list(data.get("course_runs", []))


def jwt_auth(service):
    """
    The ``JWT_AUTH`` setting of edx-drf-extensions, from ``<service>_JWT_SECRET_KEY``, ``_ISSUER`` and ``_AUDIENCE``.

    ``<service>_JWT_PUBLIC_SIGNING_JWK_SET`` (optional, JSON) admits tokens signed with the LMS's private key.
    """
    issuer = {name: os.environ[f"{service}_JWT_{name}"] for name in ("SECRET_KEY", "ISSUER", "AUDIENCE")}
    # Without any public key, edx-drf-extensions 10.9 takes every signature for a good one; with one that nobody's token
    # is signed with, it goes on to check the secret.
    nobodys_key = json.dumps({"keys": [{"kty": "oct", "k": secrets.token_urlsafe(32)}]})
    return {
        **{f"JWT_{name}": value for name, value in issuer.items()},
        "JWT_ISSUERS": [issuer],
        "JWT_PUBLIC_SIGNING_JWK_SET": os.environ.get(f"{service}_JWT_PUBLIC_SIGNING_JWK_SET") or nobodys_key,
        "JWT_ALGORITHM": "HS256",
        "JWT_AUTH_HEADER_PREFIX": "JWT",
        "JWT_DECODE_HANDLER": "edx_rest_framework_extensions.auth.jwt.decoder.jwt_decode_handler",
    }


class Handler(WSGIRequestHandler):
    """Hands itself to the application, so that a fault can end the connection, and logs no personal data."""

    disable_nagle_algorithm = True  # head and body are two writes: on a kept connection the second would wait 40 ms
    command = path = ""  # until a request line was understood

    def get_environ(self):
        return super().get_environ() | {"testbed.handler": self}

    def log_request(self, code="-", size="-"):
        # Without the query string: it has usernames in it.
        LOGGER.info("%s %s %s", self.command, urlsplit(self.path).path, code)

    def log_message(self, format, *args):
        """Drop http.server's own messages, which quote the request line."""


class Server(ThreadedWSGIServer):
    """One thread a connection."""

    request_queue_size = 128

    def server_bind(self):
        # As http.server does it, but without looking the address up in the DNS, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address
        self.setup_environ()


def end_on_signals():
    """
    End with exit code 0 on SIGTERM and SIGINT.

    At once, whatever requests are being answered or held: SQLite keeps what was committed, and a caller who waits for
    an answer sees its connection break, as when the real service is stopped.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))


def serve(application, port):
    """Serve a WSGI application on loopback until a signal comes; say on stdout where, once requests are accepted."""
    try:
        server = Server(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        print(f"cannot listen on port {port}: {error}", file=sys.stderr)
        sys.exit(2)
    server.set_app(application)
    get_resolver().url_patterns  # noqa: B018 (reading it imports the views now, and not while the first requests wait)
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    server.serve_forever()


@contextmanager
def running(service, *options, environment, log):
    """
    Run a stand-in for as long as the context lasts.

    Args:
        service (str): ``credentials`` or ``discovery``
        options: of its command line
        environment (dict): added to this process's own
        log (Path): where its standard error goes

    Yields:
        tuple: its URL and its ``Popen`` object
    """
    command = [sys.executable, "-m", f"testbed.standins.{service}", *map(str, options)]
    with open(log, "ab") as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    timer = threading.Timer(60, process.kill)  # one that never says a word ends as one that stopped
    try:
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        if not line:
            raise RuntimeError(f"{' '.join(command)} did not start: {Path(log).read_text(encoding='utf-8')}")
        yield json.loads(line)["url"], process
    finally:
        timer.cancel()
        process.kill()
        process.communicate()
