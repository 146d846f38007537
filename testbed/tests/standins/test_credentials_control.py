"""Tests of what sites and tests tell the stand-in of Credentials beside its API: faults, a clock, what is stored."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from testbed.servers.processes import wait_for
from testbed.tests.standins.conftest import NUMBERS, OTHER_PROGRAM, PROGRAM, RUN, Caller

pytestmark = pytest.mark.e2e

HTML, JSON = "text/html; charset=utf-8", "application/json"


# What is stored


def test_store(service: Caller) -> None:
    """It replaces what is there, and creates users."""
    name = f"stored{next(NUMBERS)}"
    record = {"username": name, "program_uuid": PROGRAM, "status": "awarded", "modified": "2026-01-02T03:04:05.6Z"}
    service.control.store([record])
    service.control.store([record | {"status": "revoked", "modified": "2026-02-02T03:04:05.6Z"}])
    [stored] = service.stored(name)
    names = ("status", "created", "modified", "posts", "history")
    assert [stored[name] for name in names] == ["revoked", *["2026-02-02T03:04:05.600000+00:00"] * 2, 0, []]
    assert service.award(name, OTHER_PROGRAM).status_code == 201


def test_deleted_certificates_are_gone(service: Caller, name: str) -> None:
    uuid = service.award(name).json()["uuid"]
    service.award(name, RUN)
    service.control.delete([name])
    assert [item["type"] for item in service.stored(name)] == ["course-run"]
    with pytest.raises(ValueError, match=name):  # it has no program certificate any more
        service.control.delete([name])
    assert service.award(name).json()["uuid"] != uuid


RECORD = {"username": "x", "program_uuid": PROGRAM, "status": "awarded", "modified": "2026-01-02T03:04:05Z"}


@pytest.mark.parametrize(
    ("method", "arguments", "word"),
    [
        ("fault", {"kind": "explode"}, "kind"),
        ("fault", {"kind": "status"}, "HTTPStatus"),
        ("fault", {"kind": "delay"}, "seconds"),
        ("fault", {"kind": "close", "times": 0}, "times"),
        ("fault", {"kind": "close", "tiems": 1}, "tiems"),
        ("store", {"records": [RECORD | {"modified": "yesterday"}]}, "yesterday"),
        ("store", {"records": [RECORD | {"status": "lost"}]}, "lost"),
        ("store", {"records": [RECORD | {"moded": ""}]}, "moded"),
        ("change_status", {"usernames": ["nobody"], "status": "revoked"}, "nobody"),
        ("delete", {"usernames": []}, "usernames"),
        ("set_clock", {"offset": "slow"}, "seconds"),
    ],
)
def test_unusable_request(service: Caller, method: str, arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        getattr(service.control, method)(**arguments)
    assert (service.control.applied(), service.stored("x")) == (0, [])


# Faults


@pytest.mark.parametrize(
    ("kind", "options", "content_type", "text"),
    [
        ("status", {"status": 400}, JSON, '{"detail": "Bad Request"}'),
        ("status", {"status": 429, "headers": {"Retry-After": "7"}, "body": {"a": "b"}}, JSON, '{"a": "b"}'),
        ("status", {"status": 200}, HTML, "<h1>OK (200)</h1>"),
        ("status", {"status": 503, "body": "<p>down</p>"}, HTML, "<p>down</p>"),
        ("status_after", {"status": 504}, HTML, "<h1>Gateway Timeout (504)</h1>"),
    ],
)
def test_status(service: Caller, name: str, kind: str, options: dict[str, Any], content_type: str, text: str) -> None:
    fault = service.control.fault(kind, times=1, method="POST", path="credentials/", type="program", **options)
    response = service.award(name)
    assert (response.status_code, response.text) == (options["status"], text)
    assert response.headers.items() >= ({"Content-Type": content_type} | options.get("headers", {})).items()
    assert service.histories(name) == ([["awarded"]] if kind == "status_after" else [])
    assert (service.control.applied(fault), service.award(name).status_code) == (1, 201)


@pytest.mark.parametrize(
    ("kind", "options", "before"),
    [("hold", {}, [["awarded"]]), ("hold_before", {}, []), ("delay", {"seconds": 3600}, [])],
)
def test_held(service: Caller, name: str, kind: str, options: dict[str, Any], before: list[list[str]]) -> None:
    control = service.control
    control.fault(kind, times=1, method="POST", **options)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(service.award, name)
        wait_for(control.held if kind != "delay" else control.applied, "the request to be held")
        assert (service.histories(name), answer.done()) == (before, False)
        assert service.list().status_code == 200  # others are not held up
        control.clear()
        assert answer.result().status_code == 201
    assert (control.held(), service.histories(name)) == (0, [["awarded"]])


def test_faults_are_for_what_they_match(service: Caller, name: str) -> None:
    """In the order in which they were asked for."""
    runs = service.control.fault("status", status=400, type="course-run", times=None)
    gets = service.control.fault("status", status=503, method="GET", type="program", times=1)
    more = service.control.fault("status", status=500, method="GET", type="program", times=1)
    elsewhere = service.control.fault("status", status=404, path="course_certificates/", times=1)
    assert service.award(name).status_code == 201
    assert [service.award(name, RUN).status_code for _ in range(2)] == [400] * 2
    kinds = ("course-run", "program", "program", "program")
    assert [service.list(type=kind).status_code for kind in kinds] == [400, 503, 500, 200]
    assert service.list().status_code == 200
    assert service.post("course_certificates/", json={}).status_code == 404
    assert [service.control.applied(fault) for fault in (runs, gets, more, elsewhere, None)] == [3, 1, 1, 1, 6]
    service.control.clear()
    assert (service.control.applied(), service.award(name, RUN).status_code) == (0, 201)


def test_requests_are_listed(service: Caller, name: str) -> None:
    before = len(service.control.requests())
    service.award(name)
    service.award(name, RUN)
    service.list(username=name, type="program")
    service.list(page=99999)
    service.post("course_certificates/", data="{", headers={"Content-Type": JSON})
    service.control.fault("lose_response", times=1)
    with pytest.raises(requests.ConnectionError):
        service.list()
    assert [tuple(request.values()) for request in service.control.requests()[before:]] == [
        ("POST", "credentials/", "program", 201),
        ("POST", "credentials/", "course-run", 201),
        ("GET", "credentials/", "program", 200),
        ("GET", "credentials/", None, 404),
        ("POST", "course_certificates/", None, 400),
        ("GET", "credentials/", None, None),
    ]
