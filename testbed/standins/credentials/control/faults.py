"""
The fault switches of the local stand-in of Credentials: those of its answers, and a clock that may be wrong.

They sit in front of the whole application (WSGI), as half of them are about the connection and not about the answer.
"""

import contextlib
import io
import itertools
import json
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from django.utils import timezone

LOGGER = logging.getLogger(__name__)

API = "/api/v2/"
CONTROL = "/_standin/"
KINDS = ("status", "status_after", "close", "lose_response", "delay", "hold", "hold_before", "drop_query")
# A WSGI status line, headers and body.
Answer = tuple[str, list[tuple[str, str]], bytes]


class Clock:
    """Tells the time that certificates are stamped with; tokens are checked against the right one."""

    offset = timedelta()

    def now(self) -> datetime:
        return timezone.now() + self.offset


CLOCK = Clock()


@dataclass
class Fault:
    """One fault that was asked for: which requests it is for, what it does to them, and what became of it."""

    kind: str
    times: int | None = None  # None: until cleared
    method: str | None = None
    path: str | None = None
    type: str | None = None
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    seconds: float | None = None
    id: int = field(init=False)
    applied: int = field(init=False, default=0)
    held: int = field(init=False, default=0)
    released: threading.Event = field(init=False, default_factory=threading.Event)

    def __post_init__(self) -> None:
        # A fault that never does what it is asked for would make a test pass for nothing.
        if self.kind not in KINDS or self.times == 0:
            raise ValueError(f"not a fault: kind {self.kind}, times {self.times}")
        if self.kind.startswith("status"):
            HTTPStatus(self.status)
        if (self.kind == "delay") == (self.seconds is None):
            raise ValueError("a delay, and nothing else, takes seconds")

    def matches(self, **request: str | None) -> bool:
        return self.times != self.applied and all(getattr(self, name) in (None, request[name]) for name in request)

    def answer(self) -> Answer:
        """Return the answer of a ``status`` or ``status_after`` fault."""
        phrase = HTTPStatus(self.status).phrase
        body = self.body
        if body is None:
            refused = 400 <= self.status < 500
            body = {"detail": phrase} if refused else f"<h1>{phrase} ({self.status})</h1>"
        is_text = isinstance(body, str)
        headers = {"Content-Type": "text/html; charset=utf-8" if is_text else "application/json"} | self.headers
        return f"{self.status} {phrase}", list(headers.items()), (body if is_text else json.dumps(body)).encode()


class Faults:
    """The faults asked for, in that order, and the API requests that came; for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._faults: list[Fault] = []
        self._requests: list[dict[str, Any]] = []

    def fault(self, **options: Any) -> int:
        fault = Fault(**options)
        fault.id = next(self._ids)
        with self._lock:
            self._faults.append(fault)
        return fault.id

    def clear(self) -> None:
        """Forget all faults, and let go of the requests that they hold or delay."""
        with self._lock:
            while self._faults:
                self._faults.pop().released.set()

    def take(self, **request: str | None) -> Fault | None:
        """Return the first fault for this request, counted as applied, or None."""
        with self._lock:
            fault = next((fault for fault in self._faults if fault.matches(**request)), None)
            if fault:
                fault.applied += 1
            return fault

    def hold(self, fault: Fault) -> None:
        with self._lock:
            fault.held += 1
        fault.released.wait()

    def record(self, **request: Any) -> None:
        self._requests.append(request)

    def report(self) -> dict[str, Any]:
        """Return how often each fault was applied, and how many requests are held at this moment."""
        with self._lock:
            faults = [{"id": fault.id, "applied": fault.applied} for fault in self._faults]
            return {"faults": faults, "held": sum(fault.held for fault in self._faults)}

    def requests(self) -> list[dict[str, Any]]:
        """Return the API requests so far, in the order in which they were done with."""
        return self._requests.copy()


FAULTS = Faults()


class FaultGate:
    """A WSGI application that does to a request what the first matching fault says, and otherwise nothing."""

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith(CONTROL):
            return self.application(environ, start_response)
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        request = {
            "method": environ["REQUEST_METHOD"],
            "path": environ["PATH_INFO"].removeprefix(API),
            "type": _credential_type(environ, body),
        }
        fault = FAULTS.take(**request)
        answer = self._answer(fault, environ) if fault else self._carry_out(environ)
        status = int(answer[0].split()[0]) if answer else None
        FAULTS.record(**request, status=status, fault=fault and fault.kind)
        if answer is None:
            LOGGER.info("%s %s closed without an answer", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            environ["testbed.handler"].close_connection = True
            # wsgiref takes this for a caller who has gone: it writes nothing, and the server closes the connection.
            raise ConnectionAbortedError("a fault")
        start_response(answer[0], answer[1])
        return [answer[2]]

    def _answer(self, fault: Fault, environ: WSGIEnvironment) -> Answer | None:
        """Return the answer, or None where there shall be none."""
        kind = fault.kind
        if kind == "status":
            return fault.answer()
        if kind == "close":
            return None
        if kind == "delay":
            fault.released.wait(fault.seconds)
        if kind == "hold_before":
            FAULTS.hold(fault)
        if kind == "drop_query":
            environ["QUERY_STRING"] = ""
        answer = self._carry_out(environ)  # whatever it stores is committed when it returns
        if kind == "status_after":
            return fault.answer()
        if kind == "hold":
            FAULTS.hold(fault)
        return None if kind == "lose_response" else answer

    def _carry_out(self, environ: WSGIEnvironment) -> Answer:
        head: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            head.extend((status, headers))

        with contextlib.closing(self.application(environ, start_response)) as result:  # type: ignore[type-var]
            return head[0], head[1], b"".join(result)


def _credential_type(environ: WSGIEnvironment, body: bytes) -> str | None:
    """The ``type`` that a GET asks for or a POST brings, None without one."""
    try:
        if environ["REQUEST_METHOD"] == "POST":
            return json.loads(body)["credential"]["type"]
        return parse_qs(environ.get("QUERY_STRING", ""))["type"][0]
    except (ValueError, LookupError, TypeError):
        return None
