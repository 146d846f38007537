"""Tests that the stand-in of Credentials answers the LMS's requests as the real service does."""

import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from testbed.site.site import Site
from testbed.tests.standins.conftest import (
    NUMBERS,
    OTHER_PROGRAM,
    OTHER_RUN,
    PROGRAM,
    RUN,
    RUN_OUTSIDE,
    SECOND_RUN,
    Caller,
    of,
    token,
)

pytestmark = pytest.mark.e2e

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
NO_TOKEN, BAD_TOKEN = "Authentication credentials were not provided.", "Invalid token."
UNHEARD, NOT_OFFERED = "course-v1:edX+Unheard+2026", str(uuid4())
NOT_ACTIVE = f"No active ProgramCertificate exists for program [{NOT_OFFERED}]"
NO_RUN = f"CourseCertificate failed to create because the CourseRun {UNHEARD} doesn't exist in the catalog"


# Who may do what


@pytest.mark.parametrize(
    ("scheme", "claims", "status", "detail"),
    [
        ("", {}, 401, NO_TOKEN),
        ("Bearer", {}, 401, NO_TOKEN),
        ("JWT x", {}, 401, BAD_TOKEN),
        ("JWT", {"exp": 1}, 401, BAD_TOKEN),
        ("JWT", {"exp": None}, 401, BAD_TOKEN),
        ("JWT", {"iat": None}, 401, BAD_TOKEN),
        ("JWT", {"iss": "http://elsewhere.example.com"}, 401, BAD_TOKEN),
        ("JWT", {"aud": "somebody else"}, 401, BAD_TOKEN),
        ("JWT", {"version": "2.0.0"}, 401, BAD_TOKEN),
        ("JWT", {"secret": "another secret that is long enough too"}, 401, BAD_TOKEN),
        ("JWT", {"preferred_username": None}, 401, None),
        ("JWT", {"is_restricted": True}, 403, None),
    ],
)
def test_refused_token(site: Site, scheme: str, claims: dict[str, Any], status: int, detail: str | None) -> None:
    headers = {"Authorization": f"{scheme} {token(site, 'somebody', **claims)}" if scheme else None}
    response = Caller(site, "somebody").get("credentials/?username=somebody", headers=headers)
    assert (response.status_code, detail or response.json()["detail"]) == (status, response.json()["detail"])
    assert response.headers.get("WWW-Authenticate") == ('JWT realm="api"' if status == 401 else None)


def test_user_follows_the_token(site: Site) -> None:
    """Except that no token makes a superuser, or makes one an ordinary user."""
    username = f"changing{next(NUMBERS)}"
    for email, user_id, staff in (("one@example.com", 7, True), ("two@example.com", 8, False)):
        caller = Caller(site, username, email=email, user_id=user_id, administrator=staff, superuser=True)
        assert caller.list().status_code == 403
        with sqlite3.connect(site.directory / "credentials.sqlite3") as database:
            query = "SELECT email, lms_user_id, is_staff, is_superuser FROM credentials_user WHERE username = ?"
            assert database.execute(query, [username]).fetchone() == (email, user_id, staff, False)
    assert Caller(site, "credentials_service_user", superuser=False).list().status_code == 200


@pytest.mark.parametrize(
    ("caller", "may_list", "may_post"),
    [("learner", "own", False), ("staff", "own", True), ("credentials_service_user", "all", True)],
)
def test_permissions(site: Site, service: Caller, name: str, caller: str, may_list: str, may_post: bool) -> None:
    session = Caller(site, caller, administrator=may_post)
    statuses = [session.list(**query).status_code for query in ({"username": caller}, {"username": name}, {})]
    assert statuses == ([200] * 3 if may_list == "all" else [200, 403, 403])
    assert session.award(name).status_code == (201 if may_post else 403)
    assert len(service.stored(name)) == may_post
    assert session.post("course_certificates/", json={}).status_code == (400 if may_post else 403)


def test_learners_are_throttled_and_staff_are_not(site: Site, service: Caller) -> None:
    username = f"throttled{next(NUMBERS)}"
    learner = Caller(site, username)
    assert {learner.list(username=username).status_code for _ in range(15)} == {200}
    response = learner.list(username=username)
    seconds = int(response.headers["Retry-After"])
    assert (response.status_code, 0 < seconds <= 60) == (429, True)
    assert response.json() == {"detail": f"Request was throttled. Expected available in {seconds} seconds."}
    assert {service.list(username=username).status_code for _ in range(16)} == {200}


# POST credentials/


def test_award(site: Site, service: Caller, name: str) -> None:
    response = service.award(name, lms_user_id=42)
    answer = response.json()
    [credential] = service.stored(name)
    uuid = credential["uuid"]
    assert TIMESTAMP.fullmatch(answer.pop("created")) and TIMESTAMP.fullmatch(answer.pop("modified"))
    assert (response.status_code, answer) == (
        201,
        {
            "username": name,
            "credential": {"type": "program", "credential_id": 1, "program_uuid": PROGRAM},
            "status": "awarded",
            "uuid": uuid,
            "attributes": [],
            "date_override": None,
            "certificate_url": f"{site.credentials_url}/credentials/{uuid.replace('-', '')}/",
        },
    )
    assert (credential["posts"], credential["history"], credential["course_run_key"]) == (1, ["awarded"], None)
    assert service.award(name, OTHER_PROGRAM).json()["credential"]["credential_id"] == 2


def test_each_post_keeps_the_uuid_and_moves_modified(service: Caller, name: str) -> None:
    seen, statuses = [], ["revoked", "awarded", "awarded", "revoked"]  # the first: what was never awarded
    for status in statuses:
        response = service.award(name, status=status)
        assert (response.status_code, response.json()["status"]) == (201, status)
        seen += service.stored(name)
        assert (seen[-1]["uuid"], len(seen[-1]["history"])) == (response.json()["uuid"], len(seen))
    assert seen[-1]["history"] == statuses
    assert len({(credential["uuid"], credential["created"]) for credential in seen}) == 1
    moments = [credential["modified"] for credential in seen]
    assert moments == sorted(set(moments)) and all("." in moment for moment in moments)


def test_course_run_credential(service: Caller, name: str) -> None:
    override = {"date": "2027-01-01T00:00:00Z"}
    answer = service.award(name, RUN, date_override=override).json()
    assert answer["credential"].pop("credential_id") > 0
    assert (answer["credential"], answer["status"], answer["date_override"]) == (of(RUN), "awarded", override)
    response = service.award(name, RUN, status="revoked", date_override=None)
    assert (response.status_code, response.json()["uuid"]) == (201, answer["uuid"])
    assert response.json()["date_override"] is None
    [credential] = service.stored(name)
    assert (credential["course_run_key"], credential["program_uuid"]) == (RUN, None)
    assert credential["history"] == ["awarded", "revoked"]
    assert service.award(name, RUN_OUTSIDE).status_code == 201


@pytest.mark.parametrize(
    ("change", "fields", "message"),
    [
        ({"credential": of(NOT_OFFERED)}, "credential program_uuid", NOT_ACTIVE),
        ({"credential": of(UNHEARD)}, "credential", NO_RUN),
        ({"credential": of("not-a-uuid")}, "credential program_uuid", ""),
        ({"credential": {"type": "program"}}, "credential program_uuid", ""),
        ({"credential": {"program_uuid": PROGRAM}}, "credential type", ""),
        ({"credential": of(PROGRAM) | {"type": "other"}}, "credential type", ""),
        ({"credential": {"type": "course-run", "mode": "verified"}}, "credential course_run_key", ""),
        ({"credential": {"type": "course-run", "course_run_key": RUN}}, "credential mode", ""),
        ({"username": ""}, "username", ""),
        ({"status": "perhaps"}, "status", ""),
        ({"date_override": {"date": "soon"}}, "date_override date", ""),
    ],
)
def test_unusable_post(service: Caller, name: str, change: dict[str, Any], fields: str, message: str) -> None:
    response = service.post("credentials/", json={"username": name, "credential": of(PROGRAM)} | change)
    assert response.status_code == 400
    answer = response.json()
    for field in fields.split():
        assert list(answer) == [field]
        answer = answer[field]
    assert message in (answer if isinstance(answer, str) else answer[0])
    assert service.stored(name) == []


def test_username_never_seen(site: Site, service: Caller) -> None:
    username = f"stranger{next(NUMBERS)}"
    response = service.award(username)
    assert (response.status_code, response.headers["Content-Type"].split(";")[0]) == (500, "text/html")
    assert service.stored(username) == []
    # A GET signed as that learner makes them known.
    assert Caller(site, username).list(username=username).status_code == 200
    assert service.award(username).status_code == 201


def test_concurrent_posts(site: Site, service: Caller, name: str) -> None:
    def post(uuid: str) -> int:
        return Caller(site, "credentials_service_user", administrator=True).award(name, uuid).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(post, [PROGRAM, OTHER_PROGRAM] * 16)) == {201}
    assert [len(history) for history in service.histories(name)] == [16, 16]


def test_connections_are_kept(caplog: pytest.LogCaptureFixture, service: Caller, name: str) -> None:
    """Whatever is answered, and although a body may have been refused unread."""
    caplog.set_level("DEBUG", "urllib3")
    good, never = ({"username": username, "credential": of(PROGRAM)} for username in (name, "never seen at all"))
    for status, path, body in [
        (201, "credentials/", good),
        (400, "credentials/", {"x": "x" * 100_000}),
        (301, "credentials", good),
        (404, "nowhere/", good),
        (500, "credentials/", never),
    ]:
        assert service.post(path, json=body, allow_redirects=False).status_code == status
    assert service.list().status_code == 200
    assert sum("connection" in message for message in caplog.messages) == 1


# GET credentials/


def test_filters(service: Caller, name: str) -> None:
    service.award(name)
    service.award(name, OTHER_PROGRAM, status="revoked")
    service.award(name, RUN)
    for query, expected in [
        ({}, {PROGRAM, OTHER_PROGRAM, RUN}),
        ({"type": "program"}, {PROGRAM, OTHER_PROGRAM}),
        ({"type": "course-run"}, {RUN}),
        ({"status": "awarded"}, {PROGRAM, RUN}),
        ({"status": "revoked", "type": "program"}, {OTHER_PROGRAM}),
        ({"program_uuid": PROGRAM.replace("-", "").upper()}, {PROGRAM}),
        ({"status": "", "ordering": "-modified", "modified_after": "2030-01-01"}, {PROGRAM, OTHER_PROGRAM, RUN}),
    ]:
        answer = service.list(username=name, **query).json()
        details = [result["credential"] for result in answer["results"]]
        found = {credential.get("program_uuid") or credential["course_run_key"] for credential in details}
        assert (found, len(details)) == (expected, answer["count"])
    for unusable in ("status", "type", "program_uuid"):
        response = service.list(**{unusable: "nonsense"})
        assert (response.status_code, list(response.json())) == (400, [unusable])


def test_only_visible(service: Caller, name: str) -> None:
    """A course certificate of the program is needed, and the date of none lies ahead."""

    def visible(**query: str) -> set[str]:
        results = service.list(username=name, type="program", **{"only_visible": "True"} | query).json()["results"]
        return {result["credential"]["program_uuid"] for result in results}

    def set_date(run: str, hours: int | None) -> None:
        date = None if hours is None else (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
        body = {"course_id": run, "certificate_type": "verified", "certificate_available_date": date}
        assert service.post("course_certificates/", json=body).status_code == 201

    service.award(name)
    service.award(name, OTHER_PROGRAM)
    assert (visible(), visible(only_visible="False")) == (set(), {PROGRAM, OTHER_PROGRAM})
    service.award(name, OTHER_RUN)
    service.award(name, SECOND_RUN)
    assert visible() == {OTHER_PROGRAM}
    for hours, expected in ((1, set()), (-1, {OTHER_PROGRAM})):
        set_date(SECOND_RUN, hours)
        assert visible() == expected
    set_date(RUN, 1)  # of another program
    assert visible() == {OTHER_PROGRAM}
    set_date(SECOND_RUN, 1)
    service.control.set_clock(2 * 3600)
    assert visible() == {OTHER_PROGRAM}
    for run in (RUN, SECOND_RUN):
        set_date(run, None)


def test_pages(service: Caller) -> None:
    uuid = str(uuid4())  # of a program that nobody can be awarded any more
    names = [f"paged{next(NUMBERS)}" for _ in range(45)]
    record = {"program_uuid": uuid, "status": "awarded", "modified": "2026-01-02T03:04:05.678901Z"}
    service.control.store({"username": username, **record} for username in names)
    response = service.list(program_uuid=uuid, page_size=100, ordering="username")
    assert response.elapsed.total_seconds() > 0.02  # a page costs more than a learner's list, as in the real one
    pages = [response.json()]
    while pages[-1]["next"]:
        assert pages[-1]["next"].startswith(f"{service.api}credentials/?")
        pages.append(service.get(pages[-1]["next"]).json())
    assert [(page["count"], len(page["results"])) for page in pages] == [(45, 20), (45, 20), (45, 5)]
    seen = [result for page in pages for result in page["results"]]
    assert sorted(result["username"] for result in seen) == sorted(names)
    assert {result["modified"] for result in seen} == {"2026-01-02T03:04:05Z"}
    response = service.list(program_uuid=uuid, page=4)
    assert (response.status_code, response.json()) == (404, {"detail": "Invalid page."})
