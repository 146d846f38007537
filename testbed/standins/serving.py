"""
What the local stand-ins of Credentials and of Discovery share: their options, their settings and their HTTP server.

A stand-in is started as ``python -m testbed.standins.NAME``. It listens on loopback only, prints one
JSON line ``{"url": ...}`` once it accepts requests, and ends with exit code 0 on SIGTERM or SIGINT.
"""

import argparse
import json
import logging
import os
import signal
import socketserver
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID
from wsgiref.types import WSGIApplication

from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.urls import get_resolver

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
    },
}


def option_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that the stand-ins share."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--programs", required=True, metavar="FILE", help="programs JSON")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    return parser


def read_programs(path: str) -> tuple[dict[UUID, dict[str, Any]], list[str]]:
    """Read a programs file: the programs in the file's order, and the course runs outside programs."""
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    programs = {UUID(program["uuid"]): program for program in data["programs"]}
    return programs, list(data.get("course_runs", []))


def jwt_settings(service: str) -> dict[str, str]:
    """Read what tokens are checked with, such as ``CREDENTIALS_JWT_ISSUER``, from the environment."""
    return {name: os.environ[f"{service}_JWT_{name}"] for name in ("SECRET_KEY", "ISSUER", "AUDIENCE")}


class Handler(WSGIRequestHandler):
    """Hands itself to the application, so that a fault can end the connection, and logs no personal data."""

    disable_nagle_algorithm = True  # head and body are two writes: on a kept connection the second would wait 40 ms
    command = path = ""  # until a request line was understood

    def get_environ(self) -> dict[str, Any]:
        return super().get_environ() | {"testbed.handler": self}

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        # Without the query string: it has usernames in it.
        LOGGER.info("%s %s %s", self.command, urlsplit(self.path).path, code)

    def log_message(self, format: str, *args: Any) -> None:
        """Drop http.server's own messages, which quote the request line."""


class Server(ThreadedWSGIServer):
    """One thread a connection."""

    request_queue_size = 128

    def server_bind(self) -> None:
        # As http.server does it, but without looking the address up in the DNS, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]
        self.setup_environ()


def end_on_signals() -> None:
    """
    End with exit code 0 on SIGTERM and SIGINT.

    At once, whatever requests are being answered or held: SQLite keeps what was committed, and a caller who waits for
    an answer sees its connection break, as when the real service is stopped.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))


def serve(application: WSGIApplication, port: int) -> None:
    """Serve a WSGI application on loopback until a signal comes; say on stdout where, once requests are accepted."""
    server = Server(("127.0.0.1", port), Handler)
    server.set_app(application)
    get_resolver().url_patterns  # noqa: B018 (reading it imports the views now, and not while the first requests wait)
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    server.serve_forever()
