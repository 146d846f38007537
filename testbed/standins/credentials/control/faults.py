"""
The fault switches of the local stand-in of Credentials: those of its answers, and a clock that may be wrong.

``ACTIONS`` are what ``control.client`` calls.
"""

import itertools
import json
import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse, JsonResponse, QueryDict
from django.utils import timezone

LOGGER = logging.getLogger(__name__)

API = "/api/v2/"
CONTROL = "/_standin/"
KINDS = ("status", "status_after", "close", "lose_response", "delay", "hold", "hold_before", "drop_query")


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
    path: str | None = None  # such as credentials/
    type: str | None = None
    # Of the answer of a ``status``, and of a ``status_after``, which carries the request out before.
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    seconds: float | None = None  # of a ``delay``
    id: int = field(init=False, default_factory=itertools.count(1).__next__)
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

    def matches(self, request: dict[str, str | None]) -> bool:
        return self.times != self.applied and all(getattr(self, name) in (None, request[name]) for name in request)

    def hold(self) -> None:
        with LOCK:
            self.held += 1
        self.released.wait()

    def answer(self) -> HttpResponse:
        """Return the answer of a ``status`` or ``status_after`` fault."""
        phrase, body = HTTPStatus(self.status).phrase, self.body
        if body is None:
            refused = 400 <= self.status < 500
            body = {"detail": phrase} if refused else f"<h1>{phrase} ({self.status})</h1>"
        response = HttpResponse if isinstance(body, str) else JsonResponse
        return response(body, status=self.status, headers=self.headers)


LOCK = threading.Lock()
FAULTS: list[Fault] = []
REQUESTS: list[dict[str, Any]] = []


def fault(kind: str, **options: Any) -> int:
    """Append a fault, with the fields of ``Fault``, to those that requests are compared with; return its id."""
    made = Fault(kind, **options)
    FAULTS.append(made)
    return made.id


def clear() -> None:
    """Forget all faults, and let go of the requests that they hold or delay."""
    while FAULTS:
        FAULTS.pop().released.set()


def held() -> int:
    """Return how many requests are held at this moment."""
    return sum(fault.held for fault in FAULTS)


def applied(fault_id: int | None = None) -> int:
    """Return how often a fault was applied; without an id, how often all together that were not cleared."""
    return sum(fault.applied for fault in FAULTS if fault_id in (None, fault.id))


def requests() -> list[dict[str, Any]]:
    """Return the API requests so far, as they ended: method, path, type and status (None: no answer) of each."""
    return REQUESTS.copy()


def set_clock(offset: float) -> None:
    """Have certificates stamped by a clock that is so many seconds ahead or, below 0, behind."""
    CLOCK.offset = timedelta(seconds=offset)


ACTIONS = (fault, clear, held, applied, requests, set_clock)


class FaultGate:
    """A middleware that does to a request of the API what the first matching fault says, and otherwise nothing."""

    def __init__(self, get_response: Callable[[WSGIRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: WSGIRequest) -> HttpResponse:
        if request.path == CONTROL:
            return self.get_response(request)
        path = request.path.removeprefix(API)
        asked = {"method": request.method, "path": path, "type": _credential_type(request)}
        with LOCK:
            fault = next((fault for fault in FAULTS if fault.matches(asked)), None)
            if fault:
                fault.applied += 1
        response = self._answer(fault, request) if fault else self.get_response(request)
        unanswered = fault and fault.kind in ("close", "lose_response")
        status = None if unanswered else response.status_code
        REQUESTS.append({**asked, "status": status})
        LOGGER.info("%s %s %s", request.method, request.path, status or "closed without an answer")
        if unanswered:
            # Writing the answer fails now, as if the caller had gone, and the server closes the connection.
            request.environ["testbed.connection"].shutdown(socket.SHUT_RDWR)
        response.headers["Content-Length"] = str(len(response.content))  # without it, the connection is not kept
        return response

    def _answer(self, fault: Fault, request: WSGIRequest) -> HttpResponse:
        kind = fault.kind
        if kind == "delay":
            fault.released.wait(fault.seconds)
        if kind == "hold_before":
            fault.hold()
        if kind == "drop_query":
            request.META["QUERY_STRING"] = ""
        # Whatever it stores is committed when it returns.
        response = HttpResponse() if kind in ("close", "status") else self.get_response(request)
        if kind == "hold":
            fault.hold()
        return fault.answer() if kind.startswith("status") else response


def _credential_type(request: WSGIRequest) -> str | None:
    """The ``type`` that a GET asks for or a POST brings, None without one."""
    try:
        if request.method == "POST":
            return json.loads(request.body)["credential"]["type"]
        return QueryDict(request.META["QUERY_STRING"])["type"]
    except (ValueError, LookupError, TypeError):
        return None
