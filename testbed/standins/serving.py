"""
What the local stand-ins share: the LMS's tokens and HTTP servers.

A stand-in is started as ``python -m testbed.standins.NAME``. It listens on loopback only. Once it accepts requests, it
prints one JSON line ``{"url": ...}``, and ends with exit code 0 on SIGTERM or SIGINT.
"""

import json
import os
import signal
import socketserver
from typing import Any

import jwt
from django.conf import settings
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

CHALLENGE = 'JWT realm="api"'


def read_token(header: str, service: str) -> dict[str, Any] | None:
    """
    Return the claims of ``Authorization: JWT <token>``, or None if the header is another one.

    It judges as edx-drf-extensions does, which decodes a token eight times: a quarter of a request's processor time.

    Args:
        header: the value of ``Authorization``.
        service: the secret and the like are in environment variables such as ``CREDENTIALS_JWT_ISSUER``.

    Raises:
        InvalidTokenError: the token is invalid.
    """
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "jwt":
        return None
    secret, issuer, audience = (os.environ[f"{service}_JWT_{name}"] for name in ("SECRET_KEY", "ISSUER", "AUDIENCE"))
    claims = jwt.decode(token, secret, ["HS256"], audience=audience, issuer=issuer, options={"require": ["exp", "iat"]})
    if claims.get("version", "1").partition(".")[0] not in ("0", "1"):
        raise jwt.InvalidTokenError("unsupported version")
    return claims


class Handler(WSGIRequestHandler):
    """Hands the connection to the application, so that a fault can end it."""

    disable_nagle_algorithm = True  # head and body are two writes: on a kept connection the second would wait 40 ms

    def get_environ(self) -> dict[str, Any]:
        return super().get_environ() | {"testbed.connection": self.connection}

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing here: http.server would quote the request line, with usernames in it."""


class Server(ThreadedWSGIServer):
    """One thread a connection."""

    request_queue_size = 128

    def server_bind(self) -> None:
        # As http.server does it, but without looking the address up in the DNS, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]
        self.setup_environ()


def serve_module() -> None:
    """Serve the views of the module that was started, as its ``urlpatterns`` say."""
    middleware = ["django.middleware.common.CommonMiddleware"]
    settings.configure(ROOT_URLCONF="__main__", ALLOWED_HOSTS=["127.0.0.1"], MIDDLEWARE=middleware, LOGGING_CONFIG=None)
    serve()


def serve(port: int = 0) -> None:
    """
    Serve what Django is set up for until SIGTERM or SIGINT.

    It ends at once, whatever requests are being answered or held: SQLite keeps what was committed, and a caller who
    waits for an answer sees its connection break, as when the real service is stopped.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    server = Server(("127.0.0.1", port), Handler)
    server.set_app(get_wsgi_application())
    get_resolver().url_patterns  # noqa: B018 (reading it imports the views now, and not while the first requests wait)
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    server.serve_forever()
