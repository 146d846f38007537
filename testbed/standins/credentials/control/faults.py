"""
The fault switches of the local stand-in of Credentials.

They sit in front of the whole application (WSGI), as half of them are about the connection and not about the answer.
"""

import io
import itertools
import json
import logging
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs

LOGGER = logging.getLogger(__name__)

API = "/api/v2/"
CONTROL = "/_standin/"
KINDS = ("status", "status_after", "close", "lose_response", "delay", "hold", "hold_before", "drop_query")


@dataclass
class Fault:
    """One fault that was asked for: which requests it is for, what it does to them, and what became of it."""

    kind: str
    times: int | None = None  # None: until cleared
    method: str | None = None
    path: str | None = None
    type: str | None = None
    status: int | None = None
    headers: dict = field(default_factory=dict)
    body: object = None
    seconds: float = 0
    id: int = 0
    applied: int = 0
    held: int = 0
    released: threading.Event = field(default_factory=threading.Event)

    def matches(self, **request):
        """Say whether this fault is for such a request."""
        return self.times != self.applied and all(getattr(self, name) in (None, request[name]) for name in request)

    def answer(self):
        """Return the answer of a ``status`` or ``status_after`` fault as a WSGI status line, headers and body."""
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

    def __init__(self):
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._faults = []
        self._requests = []

    def add(self, **options):
        """Append a fault and return its id."""
        fault = Fault(id=next(self._ids), **options)
        with self._lock:
            self._faults.append(fault)
        return fault.id

    def clear(self):
        """Forget all faults, and let go of the requests that they hold or delay."""
        with self._lock:
            for fault in self._faults:
                fault.released.set()
            self._faults.clear()

    def take(self, **request):
        """Return the first fault for this request, counted as applied, or None."""
        with self._lock:
            fault = next((fault for fault in self._faults if fault.matches(**request)), None)
            if fault:
                fault.applied += 1
            return fault

    def hold(self, fault):
        """Wait until the fault is cleared."""
        with self._lock:
            fault.held += 1
        fault.released.wait()

    def record(self, **request):
        """Keep what came and what was answered."""
        with self._lock:
            self._requests.append(request)

    def report(self):
        """Return what is asked for, how often each was applied, and how many requests are held at this moment."""
        names = ("id", "kind", "times", "method", "path", "type", "applied", "held")
        with self._lock:
            faults = [{name: getattr(fault, name) for name in names} for fault in self._faults]
        return {"faults": faults, "held": sum(fault["held"] for fault in faults)}

    def requests(self):
        """Return the API requests so far, in the order in which they were done with."""
        with self._lock:
            return list(self._requests)


FAULTS = Faults()


class FaultGate:
    """A WSGI application that does to a request what the first matching fault says, and otherwise nothing."""

    def __init__(self, application, faults):
        self.application = application
        self.faults = faults

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"].startswith(CONTROL):
            return self.application(environ, start_response)
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        request = {
            "method": environ["REQUEST_METHOD"],
            "path": environ["PATH_INFO"].removeprefix(API),
            "type": _credential_type(environ, body),
        }
        fault = self.faults.take(**request)
        answer = self._answer(fault, environ)
        status = int(answer[0].split()[0]) if answer else None
        self.faults.record(**request, status=status, fault=fault and fault.kind)
        if answer is None:
            LOGGER.info("%s %s closed without an answer", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            environ["testbed.handler"].close_connection = True
            # wsgiref takes this for a caller who has gone: it writes nothing, and the server closes the connection.
            raise ConnectionAbortedError(f"fault {fault.kind}")
        start_response(answer[0], answer[1])
        return [answer[2]]

    def _answer(self, fault, environ):
        """Return the answer, or None where there shall be none."""
        kind = fault.kind if fault else None
        if kind == "status":
            return fault.answer()
        if kind == "close":
            return None
        if kind == "delay":
            fault.released.wait(fault.seconds)
        if kind == "hold_before":
            self.faults.hold(fault)
        if kind == "drop_query":
            environ["QUERY_STRING"] = ""
        answer = self._carry_out(environ)  # whatever it stores is committed when it returns
        if kind == "status_after":
            return fault.answer()
        if kind == "hold":
            self.faults.hold(fault)
        return None if kind == "lose_response" else answer

    def _carry_out(self, environ):
        head = []
        result = self.application(environ, lambda status, headers, exc_info=None: head.extend((status, headers)))
        try:
            return *head, b"".join(result)
        finally:
            result.close()


def _credential_type(environ, body):
    """The ``type`` that a GET asks for or a POST brings, None without one."""
    try:
        if environ["REQUEST_METHOD"] == "POST":
            return json.loads(body)["credential"]["type"]
        return parse_qs(environ.get("QUERY_STRING", ""))["type"][0]
    except (ValueError, LookupError, TypeError):
        return None
