"""Tests of the local stand-in of Credentials: a real server process, real HTTP; each test has users of its own."""

import http.client
import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from statistics import median
from uuid import uuid4

import jwt
import pytest
import requests
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from openedx_events.event_bus.avro.deserializer import deserialize_bytes_to_event_data
from openedx_events.tooling import OpenEdxPublicSignal

from testbed.run.inputs import AWARDED, REVOKED
from testbed.servers.valkey import Valkey, connect
from testbed.site.site import TOPIC
from testbed.standins.credentials.control.client import CredentialsControl
from testbed.standins.serving import running

pytestmark = pytest.mark.e2e

ENVIRONMENT = {
    "CREDENTIALS_JWT_SECRET_KEY": "a secret that is long enough for HS256",
    "CREDENTIALS_JWT_ISSUER": "http://lms.example.com/oauth2",
    "CREDENTIALS_JWT_AUDIENCE": "openedx",
}
PROGRAM = "1b0b5d1c-94b3-4d5e-8a4e-000000000001"
OTHER_PROGRAM = "1b0b5d1c-94b3-4d5e-8a4e-000000000002"
RUN = "course-v1:edX+Demo+2026"
OTHER_RUN = "course-v1:edX+Other+2026"
SECOND_RUN = "course-v1:edX+Other+2027"
RUN_OUTSIDE = "course-v1:edX+Outside+2026"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
NUMBERS = count(1)


def program(uuid, *keys):
    """A program of one course, as Discovery has it."""
    runs = [{"key": key, "type": "verified"} for key in keys]
    course = {"uuid": str(uuid4()), "key": "edX+Demo", "title": "A course", "course_runs": runs}
    return {"uuid": uuid, "title": "A program", "type": "Professional Certificate", "courses": [course]}


def token(username, secret=ENVIRONMENT["CREDENTIALS_JWT_SECRET_KEY"], algorithm="HS256", **claims):
    """A token as the LMS makes it; a claim that is None is left out."""
    payload = {
        "iss": ENVIRONMENT["CREDENTIALS_JWT_ISSUER"],
        "aud": ENVIRONMENT["CREDENTIALS_JWT_AUDIENCE"],
        "iat": int(time.time()),
        "exp": int(time.time()) + 3600,
        "preferred_username": username,
        "version": "1.2.0",
        "is_restricted": False,
        **claims,
    }
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, secret, algorithm=algorithm)


class Caller(requests.Session):
    """Somebody who calls the API, on one kept connection."""

    def __init__(self, url, username, **claims):
        super().__init__()
        self.base, self.username = f"{url}/api/v2/", username
        self.headers["Authorization"] = f"JWT {token(username, **claims)}"

    def request(self, method, path, **kwargs):
        """Send a request to a path of the API or to an absolute URL."""
        return super().request(method, path if "://" in path else self.base + path, **{"timeout": 30} | kwargs)

    def award(self, username, program_uuid=PROGRAM, **fields):
        """Post a program certificate."""
        credential = {"type": "program", "program_uuid": program_uuid}
        return self.post("credentials/", json={"username": username, "credential": credential, **fields})

    def award_run(self, username, course_run_key=RUN, **fields):
        """Post a course certificate."""
        credential = {"type": "course-run", "course_run_key": course_run_key, "mode": "verified"}
        body = {"username": username, "status": "awarded", "credential": credential, "date_override": None, **fields}
        return self.post("credentials/", json=body)

    def list(self, **query):
        """Get certificates."""
        return self.get("credentials/", params=query)


def wait_until(condition):
    """Wait for a condition; how long is not what is tested."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The directory with the stand-in's programs, its database and its log."""
    directory = tmp_path_factory.mktemp("credentials")
    programs = [program(PROGRAM, RUN), program(OTHER_PROGRAM, OTHER_RUN, SECOND_RUN)]
    data = {"programs": programs, "course_runs": [RUN_OUTSIDE]}
    (directory / "programs.json").write_text(json.dumps(data), encoding="utf-8")
    return directory


def standin(files, name="credentials", environment=ENVIRONMENT):
    """Start a stand-in with a database of its own."""
    options = ("--database", files / f"{name}.sqlite3", "--programs", files / "programs.json")
    return running("credentials", *options, environment=environment, log=files / f"{name}.log")


@pytest.fixture(scope="module")
def url(files):
    """The stand-in that most tests share."""
    with standin(files) as (url, _):
        yield url


@pytest.fixture
def control(url):
    """Its control endpoints, and no faults left afterwards."""
    control = CredentialsControl(url)
    yield control
    control.clear()


@pytest.fixture
def service(url):
    """The LMS's service user."""
    return Caller(url, "credentials_service_user", administrator=True)


@pytest.fixture
def learner(url):
    """A learner whom the stand-in knows, from a GET of their own."""
    learner = Caller(url, f"learner{next(NUMBERS)}", user_id=42, email="somebody@example.com", administrator=False)
    assert learner.list(username=learner.username).status_code == 200
    return learner


def stored(control, username):
    """What is stored for a learner."""
    return [credential for credential in control.credentials() if credential["username"] == username]


# Authentication


def test_no_token(url):
    response = requests.get(f"{url}/api/v2/credentials/", timeout=30)
    assert response.status_code == 401
    assert response.json() == {"detail": "Authentication credentials were not provided."}
    assert response.headers["WWW-Authenticate"] == 'JWT realm="api"'


def test_bearer_is_not_recognised(url):
    headers = {"Authorization": f"Bearer {token('somebody')}"}
    response = requests.get(f"{url}/api/v2/credentials/?username=somebody", headers=headers, timeout=30)
    assert (response.status_code, response.json()) == (
        401,
        {"detail": "Authentication credentials were not provided."},
    )


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"exp": None},
        {"iat": None},
        {"iss": "http://elsewhere.example.com"},
        {"aud": "somebody else"},
        {"version": "2.0.0"},
        {"secret": "another secret that is long enough too"},
    ],
    ids=lambda claims: "-".join(claims),
)
def test_bad_token(url, claims):
    response = Caller(url, "somebody", **claims).list(username="somebody")
    assert (response.status_code, response.json()) == (401, {"detail": "Invalid token."})
    assert response.headers["WWW-Authenticate"] == 'JWT realm="api"'


def test_garbage_token_and_token_without_a_user(url):
    headers = {"Authorization": "JWT not-a-token"}
    response = requests.get(f"{url}/api/v2/credentials/", headers=headers, timeout=30)
    assert (response.status_code, response.json()) == (401, {"detail": "Invalid token."})
    assert Caller(url, None).list().status_code == 401


def test_restricted_token(url):
    assert Caller(url, "somebody", is_restricted=True).list(username="somebody").status_code == 403


def test_token_signed_with_the_private_key(files):
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
    key_set = json.dumps({"keys": [jwk]})
    environment = ENVIRONMENT | {"CREDENTIALS_JWT_PUBLIC_SIGNING_JWK_SET": key_set}
    with standin(files, "rs512", environment) as (url, _):
        signed = Caller(url, "somebody", secret=private_key, algorithm="RS512")
        assert signed.list(username="somebody").status_code == 200
        assert Caller(url, "somebody").list(username="somebody").status_code == 200
        foreign_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        assert Caller(url, "x", secret=foreign_key, algorithm="RS512").list(username="x").status_code == 401


def test_user_follows_the_token(url, files):
    def user(username):
        with sqlite3.connect(files / "credentials.sqlite3") as database:
            query = "SELECT email, lms_user_id, is_staff, is_superuser FROM credentials_user WHERE username = ?"
            return database.execute(query, [username]).fetchone()

    username = f"changing{next(NUMBERS)}"
    Caller(url, username, email="one@example.com", user_id=7, administrator=True).list()
    assert user(username) == ("one@example.com", 7, True, False)
    Caller(url, username, email="two@example.com", user_id=8, administrator=False).list()
    assert user(username) == ("two@example.com", 8, False, False)


def test_no_token_makes_or_unmakes_a_superuser(url):
    assert Caller(url, f"claimant{next(NUMBERS)}", administrator=True, superuser=True).list().status_code == 403
    assert Caller(url, "credentials_service_user", administrator=True, superuser=False).list().status_code == 200


# Permissions


def test_who_may_list_whom(url, service, learner):
    assert learner.list(username=learner.username).status_code == 200
    assert learner.list(username=service.username).status_code == 403
    assert learner.list().status_code == 403
    staff = Caller(url, "staff", administrator=True)
    assert staff.list(username=learner.username).status_code == 403
    assert service.list(username=learner.username).status_code == 200
    assert service.list().status_code == 200


def test_only_staff_may_post(url, learner, control):
    assert learner.award(learner.username).status_code == 403
    assert stored(control, learner.username) == []
    assert Caller(url, "staff", administrator=True).award(learner.username).status_code == 201


# POST credentials/


def test_award(url, service, learner, control):
    response = service.award(learner.username, lms_user_id=42)
    assert response.status_code == 201
    answer = response.json()
    [credential] = stored(control, learner.username)
    uuid = credential["uuid"]
    assert TIMESTAMP.fullmatch(answer.pop("created")) and TIMESTAMP.fullmatch(answer.pop("modified"))
    assert answer == {
        "username": learner.username,
        "credential": {"type": "program", "credential_id": 1, "program_uuid": PROGRAM},
        "status": "awarded",
        "uuid": uuid,
        "attributes": [],
        "date_override": None,
        "certificate_url": f"{url}/credentials/{uuid.replace('-', '')}/",
    }
    assert (credential["posts"], credential["history"], credential["course_run_key"]) == (1, ["awarded"], None)
    assert service.award(learner.username, OTHER_PROGRAM).json()["credential"]["credential_id"] == 2


def test_repeat_and_revocation_keep_the_uuid_and_move_modified(service, learner, control):
    uuid = service.award(learner.username).json()["uuid"]
    seen = stored(control, learner.username)
    for status in ("awarded", "revoked", "awarded"):
        response = service.award(learner.username, status=status)
        assert (response.status_code, response.json()["uuid"], response.json()["status"]) == (201, uuid, status)
        seen += stored(control, learner.username)
    assert [len(credential["history"]) for credential in seen] == [1, 2, 3, 4]
    assert seen[-1]["history"] == ["awarded", "awarded", "revoked", "awarded"]
    assert len({credential["created"] for credential in seen}) == 1
    moments = [credential["modified"] for credential in seen]
    assert moments == sorted(set(moments)) and all("." in moment for moment in moments)


def test_revoke_what_was_never_awarded(service, learner, control):
    response = service.award(learner.username, status="revoked")
    assert (response.status_code, response.json()["status"]) == (201, "revoked")
    assert stored(control, learner.username)[0]["history"] == ["revoked"]


def test_course_run_credential(service, learner, control):
    override = {"date": "2027-01-01T00:00:00Z"}
    answer = service.award_run(learner.username, date_override=override).json()
    assert answer["credential"].pop("credential_id") > 0
    assert answer["credential"] == {"type": "course-run", "course_run_key": RUN, "mode": "verified"}
    assert (answer["status"], answer["date_override"]) == ("awarded", override)
    response = service.award_run(learner.username, status="revoked")
    assert (response.status_code, response.json()["uuid"]) == (201, answer["uuid"])
    assert response.json()["date_override"] is None
    [credential] = stored(control, learner.username)
    assert (credential["course_run_key"], credential["program_uuid"]) == (RUN, None)
    assert credential["history"] == ["awarded", "revoked"]


def test_course_run_outside_the_catalog(service, learner, control):
    run = "course-v1:edX+Unheard+2026"
    response = service.award_run(learner.username, run)
    [message] = response.json()["credential"]
    assert response.status_code == 400
    assert message.startswith(f"CourseCertificate failed to create because the CourseRun {run} doesn't exist")
    assert stored(control, learner.username) == []
    assert service.award_run(learner.username, RUN_OUTSIDE).status_code == 201


def test_program_without_a_certificate_configuration(service, learner):
    uuid = str(uuid4())
    response = service.award(learner.username, uuid)
    message = f"No active ProgramCertificate exists for program [{uuid}]"
    assert (response.status_code, response.json()) == (400, {"credential": {"program_uuid": message}})


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"credential": {"type": "program", "program_uuid": "not-a-uuid"}}, ["credential", "program_uuid"]),
        ({"credential": {"type": "program"}}, ["credential", "program_uuid"]),
        ({"credential": {"program_uuid": PROGRAM}}, ["credential", "type"]),
        ({"credential": {"type": "other", "program_uuid": PROGRAM}}, ["credential", "type"]),
        ({"credential": {"type": "course-run", "mode": "verified"}}, ["credential", "course_run_key"]),
        ({"credential": {"type": "course-run", "course_run_key": RUN}}, ["credential", "mode"]),
        (
            {"credential": {"type": "course-run", "course_run_key": "nonsense", "mode": "verified"}},
            ["credential", "course_run_key"],
        ),
        ({"credential": None}, ["credential"]),
        ({"credential": "text"}, ["credential"]),
        ({"username": None}, ["username"]),
        ({"username": ""}, ["username"]),
        ({"status": "perhaps"}, ["status"]),
        ({"date_override": {"date": "soon"}}, ["date_override", "date"]),
    ],
)
def test_unusable_post(service, learner, control, change, fields):
    body = {"username": learner.username, "credential": {"type": "program", "program_uuid": PROGRAM}} | change
    response = service.post("credentials/", json=body)
    assert response.status_code == 400
    answer = response.json()
    for field in fields:
        assert list(answer) == [field]
        answer = answer[field]
    assert stored(control, learner.username) == []


def test_missing_fields_and_broken_json(service):
    assert set(service.post("credentials/", json={}).json()) == {"username", "credential"}
    for data in ("{", "[]", "1"):
        response = service.post("credentials/", data=data, headers={"Content-Type": "application/json"})
        assert response.status_code == 400


def test_username_never_seen(url, service, control):
    username = f"stranger{next(NUMBERS)}"
    response = service.award(username)
    assert response.status_code == 500
    assert response.headers["Content-Type"].startswith("text/html")
    assert stored(control, username) == []
    # A GET signed as that learner makes them known.
    assert Caller(url, username).list(username=username).status_code == 200
    assert service.award(username).status_code == 201


def test_missing_trailing_slash(url, service, learner):
    body = {"username": learner.username, "credential": {"type": "program", "program_uuid": PROGRAM}}
    response = service.post("credentials", json=body, allow_redirects=False)
    assert (response.status_code, response.headers["Location"]) == (301, "/api/v2/credentials/")
    followed = service.post("credentials", json=body)
    assert (followed.request.method, followed.status_code) == ("GET", 200)


def test_concurrent_posts(url, learner, control):
    def post(status):
        caller = Caller(url, "credentials_service_user", administrator=True)
        uuid = OTHER_PROGRAM if status == "revoked" else PROGRAM
        return caller.award(learner.username, uuid, status=status).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(post, ["awarded", "revoked"] * 32)) == {201}
    assert [credential["posts"] for credential in stored(control, learner.username)] == [32, 32]


# POST course_certificates/


def test_course_certificate_configuration(service, learner):
    body = {
        "course_id": f"course-v1:edX+Configured+{next(NUMBERS)}",
        "certificate_type": "verified",
        "certificate_available_date": "2027-01-01T00:00:00Z",
        "is_active": True,
    }
    response = service.post("course_certificates/", json=body)
    assert response.status_code == 201
    assert response.json() == {"id": response.json()["id"], **body}
    again = service.post("course_certificates/", json=body | {"certificate_available_date": None})
    assert (again.status_code, again.json()["id"]) == (201, response.json()["id"])
    assert again.json()["certificate_available_date"] is None
    assert list(service.post("course_certificates/", json=body | {"course_id": "x"}).json()) == ["course_id"]
    assert learner.post("course_certificates/", json=body).status_code == 403


# Throttling


def test_learners_are_throttled(learner):
    statuses = [learner.list(username=learner.username).status_code for _ in range(14)]  # the fixture did the first
    assert set(statuses) == {200}
    response = learner.list(username=learner.username)
    assert response.status_code == 429
    seconds = int(response.headers["Retry-After"])
    assert 0 < seconds <= 60
    assert response.json() == {"detail": f"Request was throttled. Expected available in {seconds} seconds."}


def test_staff_are_exempt(service, learner):
    assert {service.award(learner.username).status_code for _ in range(20)} == {201}
    assert {service.list(username=learner.username).status_code for _ in range(20)} == {200}


# GET credentials/


def test_filters(service, learner):
    service.award(learner.username)
    service.award(learner.username, OTHER_PROGRAM, status="revoked")
    service.award_run(learner.username)

    def found(**query):
        answer = service.list(username=learner.username, **query).json()
        details = [result["credential"] for result in answer["results"]]
        assert answer["count"] == len(details)
        return {credential.get("program_uuid") or credential["course_run_key"] for credential in details}

    assert found() == {PROGRAM, OTHER_PROGRAM, RUN}
    assert found(type="program") == {PROGRAM, OTHER_PROGRAM}
    assert found(type="course-run") == {RUN}
    assert found(status="awarded") == {PROGRAM, RUN}
    assert found(status="revoked", type="program") == {OTHER_PROGRAM}
    assert found(program_uuid=PROGRAM.replace("-", "").upper()) == {PROGRAM}
    assert found(program_uuid=PROGRAM, type="course-run") == set()
    assert found(program_uuid=str(uuid4())) == set()
    assert found(status="", type="", ordering="-modified", modified_after="2030-01-01") == found()
    assert service.list(username="nobody at all").json()["results"] == []


@pytest.mark.parametrize("name", ["status", "type", "program_uuid"])
def test_unusable_filter(service, name):
    response = service.list(**{name: "nonsense"})
    assert response.status_code == 400
    assert list(response.json()) == [name]


def test_only_visible_needs_a_course_credential(service, learner):
    def visible(**query):
        results = service.list(username=learner.username, type="program", **query).json()["results"]
        return {result["credential"]["program_uuid"] for result in results}

    service.award(learner.username)
    service.award(learner.username, OTHER_PROGRAM)
    assert visible(only_visible="True") == set()
    assert visible(only_visible="False") == visible() == {PROGRAM, OTHER_PROGRAM}
    service.award_run(learner.username)
    assert visible(only_visible="True") == {PROGRAM}


def test_only_visible_waits_for_the_date_of_each_course_run(service, learner, control):
    def visible():
        return service.list(username=learner.username, type="program", only_visible="True").json()["count"]

    def set_date(run, date):
        body = {"course_id": run, "certificate_type": "verified", "certificate_available_date": date}
        assert service.post("course_certificates/", json=body).status_code == 201

    service.award(learner.username, OTHER_PROGRAM)
    service.award_run(learner.username, OTHER_RUN)
    service.award_run(learner.username, SECOND_RUN)
    soon, past = ((datetime.now(UTC) + timedelta(hours=hours)).isoformat() for hours in (1, -1))
    assert visible() == 1
    set_date(SECOND_RUN, soon)
    assert visible() == 0
    assert service.list(username=learner.username, type="program").json()["count"] == 1
    set_date(SECOND_RUN, past)
    assert visible() == 1
    set_date(RUN, soon)  # of another program
    assert visible() == 1
    set_date(SECOND_RUN, soon)
    control.set_clock(2 * 3600)
    try:
        assert visible() == 1
    finally:
        control.set_clock(0)
    for run in (RUN, SECOND_RUN):
        set_date(run, None)


def test_pages(url, service, control):
    uuid = str(uuid4())  # of a program that nobody can be awarded any more
    names = [f"paged{next(NUMBERS)}" for _ in range(45)]
    control.store(
        {"username": name, "program_uuid": uuid, "status": "awarded", "modified": "2026-01-02T03:04:05.678901Z"}
        for name in names
    )
    answer = service.list(program_uuid=uuid, page_size=100, ordering="username").json()
    assert answer["previous"] is None
    sizes, seen = [], []
    while True:
        assert answer["count"] == 45
        sizes.append(len(answer["results"]))
        seen += answer["results"]
        if answer["next"] is None:
            break
        assert answer["next"].startswith(f"{url}/api/v2/credentials/?")
        answer = service.get(answer["next"]).json()
    assert sizes == [20, 20, 5]
    assert sorted(result["username"] for result in seen) == sorted(names)
    assert {result["modified"] for result in seen} == {"2026-01-02T03:04:05Z"}
    for page in (4, 0, "x"):
        response = service.list(program_uuid=uuid, page=page)
        assert (response.status_code, response.json()) == (404, {"detail": "Invalid page."})


def test_a_page_costs_three_times_a_learners_list(service, learner, control):
    uuid = str(uuid4())
    names = [f"costly{next(NUMBERS)}" for _ in range(20)]
    control.store(
        {"username": name, "program_uuid": uuid, "status": "awarded", "modified": "2026-01-02T03:04:05Z"}
        for name in names
    )
    for program_uuid, run in ((PROGRAM, RUN), (OTHER_PROGRAM, OTHER_RUN)):
        service.award(learner.username, program_uuid)
        service.award_run(learner.username, run)
    of_learner = {"username": learner.username, "type": "program", "status": "awarded", "only_visible": "True"}
    seconds = {2: [], 20: []}
    for _ in range(30):
        for query, size in ((of_learner, 2), ({"program_uuid": uuid}, 20)):
            began = time.perf_counter()
            assert len(service.list(**query).json()["results"]) == size
            seconds[size].append(time.perf_counter() - began)
    assert 2 < median(seconds[20]) / median(seconds[2]) < 4.5


def test_store_replaces_and_creates_users(service, control):
    username = f"stored{next(NUMBERS)}"
    record = {"username": username, "program_uuid": PROGRAM, "status": "awarded", "modified": "2026-01-02T03:04:05.6Z"}
    control.store([record])
    control.store([record | {"status": "revoked", "modified": "2026-02-02T03:04:05.6Z"}])
    [credential] = stored(control, username)
    assert (credential["status"], credential["modified"]) == ("revoked", "2026-02-02T03:04:05.600000+00:00")
    assert (credential["posts"], credential["history"]) == (0, [])
    assert service.award(username, OTHER_PROGRAM).status_code == 201
    with pytest.raises(ValueError, match="modified"):
        control.store([record | {"modified": "yesterday"}])


def test_store_with_and_without_created(control):
    username = f"stored{next(NUMBERS)}"
    record = {"username": username, "program_uuid": PROGRAM, "status": "awarded", "modified": "2026-01-02T03:04:05.6Z"}
    control.store([record])
    control.store([record | {"program_uuid": OTHER_PROGRAM, "created": "2025-01-02T03:04:05.6Z"}])
    times = {item["program_uuid"]: (item["created"], item["modified"]) for item in stored(control, username)}
    modified = "2026-01-02T03:04:05.600000+00:00"
    assert times == {PROGRAM: (modified, modified), OTHER_PROGRAM: ("2025-01-02T03:04:05.600000+00:00", modified)}
    with pytest.raises(ValueError, match="created"):
        control.store([record | {"created": "yesterday"}])


def test_status_changed_in_bulk_leaves_modified(service, learner, control):
    service.award(learner.username)
    service.award(learner.username, OTHER_PROGRAM)
    service.award_run(learner.username)
    before = stored(control, learner.username)
    control.change_status([learner.username], "revoked")
    assert stored(control, learner.username) == [
        item | {"status": "revoked"} if item["type"] == "program" else item for item in before
    ]
    for usernames, status, word in (([learner.username], "lost", "status"), (["nobody"], "revoked", "nobody")):
        with pytest.raises(ValueError, match=word):
            control.change_status(usernames, status)


def test_deleted_certificates_are_gone(service, learner, control):
    uuid = service.award(learner.username).json()["uuid"]
    service.award_run(learner.username)
    control.delete([learner.username])
    assert [item["type"] for item in stored(control, learner.username)] == ["course-run"]
    assert service.list(username=learner.username, type="program").json()["count"] == 0
    for usernames in ([learner.username], []):  # the first has no program certificate any more
        with pytest.raises(ValueError, match="usernames"):
            control.delete(usernames)
    assert service.award(learner.username).json()["uuid"] != uuid


@pytest.mark.parametrize("offset", [-3600, 3600])
def test_clock(service, learner, control, offset):
    before = datetime.now(UTC)
    control.set_clock(offset)
    try:
        service.award(learner.username)
    finally:
        control.set_clock(0)
    after = datetime.now(UTC)
    service.award(learner.username, OTHER_PROGRAM)
    wrong, right = stored(control, learner.username)
    for moment in (wrong["created"], wrong["modified"]):
        assert before <= datetime.fromisoformat(moment) - timedelta(seconds=offset) <= after
    assert right["modified"] == right["created"]
    assert after <= datetime.fromisoformat(right["modified"]) <= datetime.now(UTC)
    with pytest.raises(ValueError, match="offset"):
        control.set_clock("slow")


# Its events


def configured(directory, enabled, url):
    """The environment of a stand-in whose operator has listed these events; each is mapped to whether it is enabled."""
    config = {
        event_type: {TOPIC: {"event_key_field": "program_certificate.program.uuid", "enabled": on}}
        for event_type, on in enabled.items()
    }
    path = directory / "credentials.yml"
    path.write_text(
        yaml.safe_dump({"EVENT_BUS_PRODUCER_CONFIG": config, "EVENT_BUS_REDIS_CONNECTION_URL": url}), encoding="utf-8"
    )
    return ENVIRONMENT | {"CREDENTIALS_CFG": str(path)}


def published(bus):
    """The entries of the stream whose topic has the prefix that Credentials has by default."""
    with connect(bus.url) as client:
        return [entry for _id, entry in client.xrange(f"dev-{TOPIC}")]


def test_events(files, processes, tmp_path):
    bus = Valkey(processes, "bus", tmp_path / "bus")
    with standin(files, "events", configured(tmp_path, {AWARDED: True, REVOKED: True}, bus.url)) as (url, _):
        service = Caller(url, "credentials_service_user", administrator=True)
        Caller(url, "learner", user_id=42, email="somebody@example.com").list(username="learner")
        CredentialsControl(url).set_clock(3600)
        for status in ("awarded", "awarded", "revoked"):
            answer = service.award("learner", status=status).json()
        service.award_run("learner")
        service.award("learner", status="unheard of")
        [stored] = [item for item in CredentialsControl(url).credentials() if item["program_uuid"]]

        entries = published(bus)
        assert [entry[b"type"].decode() for entry in entries] == [AWARDED, AWARDED, REVOKED]
        assert {entry[b"source"] for entry in entries} == {b"openedx/SERVICE_NAME_UNSET/web"}
        times = [datetime.fromisoformat(entry[b"time"].decode()) for entry in entries]
        assert times == sorted(set(times)) and times[-1] == datetime.fromisoformat(stored["modified"])
        assert times[0] > datetime.now(UTC) + timedelta(minutes=59)
        data = deserialize_bytes_to_event_data(
            entries[-1][b"event_data"], OpenEdxPublicSignal.get_signal_by_type(REVOKED)
        )["program_certificate"]
        pii = data.user.pii
        assert (data.user.id, pii.username, pii.email, pii.name) == (42, "learner", "somebody@example.com", "")
        assert (data.program.uuid, data.program.title, data.program.program_type) == (
            PROGRAM,
            "A program",
            "professional-certificate",
        )
        assert (data.uuid, data.status) == (stored["uuid"], "revoked")
        # Under the domain of its Site, whatever the host that was asked.
        assert data.url == f"https://credentials.example.com/{answer['certificate_url'].removeprefix(url + '/')}"

        # A bus that is down hurts no certificate.
        bus.stop()
        assert service.award("learner").status_code == 201
        assert CredentialsControl(url).credentials()[0]["posts"] == 4


def test_events_that_the_settings_do_not_enable(files, processes, tmp_path):
    bus = Valkey(processes, "bus", tmp_path / "bus")
    for enabled, heard in (({REVOKED: False}, []), ({REVOKED: True}, [REVOKED])):
        with standin(files, "more-events", configured(tmp_path, enabled, bus.url)) as (url, _):
            service = Caller(url, "credentials_service_user", administrator=True)
            Caller(url, "learner", user_id=42).list(username="learner")
            for status in ("awarded", "revoked"):
                assert service.award("learner", status=status).status_code == 201
        assert [entry[b"type"].decode() for entry in published(bus)] == heard


# The server


def test_connections_are_kept(url, learner):
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.connect()
    sock = connection.sock
    service = {"Authorization": f"JWT {token('credentials_service_user', administrator=True)}"}
    good = {"username": learner.username, "credential": {"type": "program", "program_uuid": PROGRAM}}
    cases = [
        (201, "POST", "/api/v2/credentials/", good, service),
        (400, "POST", "/api/v2/credentials/", {"x": "x" * 100_000}, service),
        (401, "POST", "/api/v2/credentials/", good, {}),
        (301, "POST", "/api/v2/credentials", good, service),
        (404, "POST", "/nowhere/", good, service),
        (500, "POST", "/api/v2/credentials/", good | {"username": "never seen at all"}, service),
        (200, "GET", "/api/v2/credentials/", None, service),
        (200, "GET", "/_standin/faults/", None, {}),
    ]
    for status, method, path, body, headers in cases:
        headers = headers | {"Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        response.read()
        assert (response.status, connection.sock) == (status, sock)
    connection.close()


def test_log_has_no_personal_data(url, files, service, learner):
    service.award(learner.username)
    service.award("never seen at all")
    service.list(username=learner.username)
    Caller(url, learner.username, exp=1).list(username=learner.username)
    log = (files / "credentials.log").read_text(encoding="utf-8")
    assert "POST /api/v2/credentials/ 201" in log
    for secret in (learner.username, "never seen", "@example.com", "JWT"):
        assert secret not in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_on_signals_with_requests_held_and_connections_open(files, number):
    name = f"signal{number}"
    with standin(files, name) as (url, process):
        control = CredentialsControl(url)
        service = Caller(url, "service", administrator=True)
        service.list()
        control.fault("hold", method="POST")
        control.fault("delay", method="GET", seconds=3600)
        with ThreadPoolExecutor() as pool:
            held = pool.submit(service.award, "service")
            delayed = pool.submit(Caller(url, "service").list)
            wait_until(lambda: control.held() == 1 and control.applied() == 2)
            process.send_signal(number)
            assert process.wait(timeout=60) == 0
            assert isinstance(held.exception(), requests.ConnectionError)
            assert isinstance(delayed.exception(), requests.ConnectionError)
    with standin(files, name) as (url, process):  # what it had accepted is there again
        assert [credential["posts"] for credential in CredentialsControl(url).credentials()] == [1]
        process.kill()
    with standin(files, name) as (url, _):
        assert len(CredentialsControl(url).credentials()) == 1


def test_unusable_options(files, tmp_path):
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "text.txt").write_text("no database" * 100, encoding="utf-8")
    good = {"--database": tmp_path / "x.sqlite3", "--programs": files / "programs.json", "--port": "0"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        cases = [
            ({"--programs": tmp_path / "nowhere.json"}, {}, "nowhere.json"),
            ({"--programs": tmp_path / "broken.json"}, {}, "broken.json"),
            ({"--database": tmp_path / "no" / "x.sqlite3"}, {}, "x.sqlite3"),
            ({"--database": tmp_path / "text.txt"}, {}, "text.txt"),
            ({"--port": "many"}, {}, "--port"),
            ({"--port": "99999"}, {}, "99999"),
            ({"--port": str(taken.getsockname()[1])}, {}, str(taken.getsockname()[1])),
            ({}, {"CREDENTIALS_JWT_ISSUER": ""}, "CREDENTIALS_JWT_ISSUER"),
        ]
        for options, environment, word in cases:
            log = tmp_path / "log"
            log.unlink(missing_ok=True)
            arguments = [argument for option in (good | options).items() for argument in option]
            with pytest.raises(RuntimeError, match="did not start"):
                with running("credentials", *arguments, environment=ENVIRONMENT | environment, log=log):
                    pass
            [line] = log.read_text(encoding="utf-8").splitlines()
            assert word in line


def test_exit_code_of_unusable_options():
    command = [sys.executable, "-m", "testbed.standins.credentials"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1


# Faults


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
def test_status_fault(control, service, learner, status):
    fault = control.fault("status", status=status, times=1, method="POST", path="credentials/", type="program")
    response = service.award(learner.username)
    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("text/html" if status >= 500 else "application/json")
    assert control.applied(fault) == 1
    assert stored(control, learner.username) == []
    assert service.award(learner.username).status_code == 201


def test_status_fault_with_headers_and_body(control, service):
    control.fault("status", times=1, status=429, headers={"Retry-After": "7"}, body={"detail": "later"})
    control.fault("status", times=1, status=503, body="<p>down</p>")
    response = service.list()
    assert (response.headers["Retry-After"], response.json()) == ("7", {"detail": "later"})
    response = service.list()
    assert (response.status_code, response.text) == (503, "<p>down</p>")


@pytest.mark.parametrize(
    ("status", "answers", "histories"),
    [
        (301, [("POST", 301), ("GET", 200)], []),
        (302, [("POST", 302), ("GET", 200)], []),
        (307, [("POST", 307), ("POST", 201)], [["awarded"]]),
        (308, [("POST", 308), ("POST", 201)], [["awarded"]]),
    ],
)
def test_redirect(url, control, service, learner, status, answers, histories):
    for location in ("/api/v2/credentials/", f"{url}/api/v2/credentials/"):
        control.fault("status", status=status, times=1, method="POST", headers={"Location": location})
        before = len(control.requests())
        response = service.award(learner.username)
        assert [(request["method"], request["status"]) for request in control.requests()[before:]] == answers
        assert response.status_code == answers[-1][1]
        assert ("results" in response.json()) == (answers[-1][0] == "GET")
        assert [credential["history"] for credential in stored(control, learner.username)] == histories
        if histories:
            control.delete([learner.username])


def test_status_after_the_post_is_carried_out(control, service, learner):
    control.fault("status_after", status=504, times=1, method="POST")
    response = service.award(learner.username)
    assert (response.status_code, response.headers["Content-Type"]) == (504, "text/html; charset=utf-8")
    assert [credential["history"] for credential in stored(control, learner.username)] == [["awarded"]]


def test_page_in_place_of_an_answer(control, service, learner):
    control.fault("status", status=200, times=1, method="POST")
    response = service.award(learner.username)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert stored(control, learner.username) == []
    assert service.award(learner.username).status_code == 201


@pytest.mark.parametrize(("kind", "histories"), [("close", []), ("lose_response", [["awarded"] * 2])])
def test_connection_closed_instead_of_an_answer(control, service, learner, kind, histories):
    service.list()  # on the connection that is kept
    control.fault(kind, times=2, method="POST")
    for _ in range(2):
        with pytest.raises(requests.ConnectionError):
            service.award(learner.username)
    assert control.applied() == 2
    assert [credential["history"] for credential in stored(control, learner.username)] == histories
    assert service.award(learner.username).status_code == 201
    statuses = [(request["status"], request["fault"]) for request in control.requests()[-3:]]
    assert statuses == [(None, kind), (None, kind), (201, None)]


def test_delay(control, service, learner):
    control.fault("delay", seconds=0.01, times=1)
    assert service.award(learner.username).status_code == 201
    control.fault("delay", seconds=3600, times=1)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(service.award, learner.username)
        wait_until(lambda: control.applied() == 2)
        assert stored(control, learner.username)[0]["posts"] == 1
        control.clear()  # which ends the delay
        assert answer.result().status_code == 201
    assert stored(control, learner.username)[0]["posts"] == 2


@pytest.mark.parametrize(("kind", "posts"), [("hold", [1]), ("hold_before", [])])
def test_hold(control, service, learner, kind, posts):
    control.fault(kind, times=1, method="POST")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(service.award, learner.username)
        wait_until(lambda: control.held() == 1)
        assert [credential["posts"] for credential in stored(control, learner.username)] == posts
        assert not answer.done()
        # Others are not held up.
        assert learner.list(username=learner.username).status_code == 200
        control.clear()
        assert answer.result().status_code == 201
    assert control.held() == 0
    assert [credential["posts"] for credential in stored(control, learner.username)] == [1]


def test_held_caller_may_leave(control, service, learner):
    control.fault("hold", times=1, method="POST")
    body = {"username": learner.username, "credential": {"type": "program", "program_uuid": PROGRAM}}
    with pytest.raises(requests.Timeout):
        service.post("credentials/", json=body, timeout=0.5)
    wait_until(lambda: control.held() == 1)
    before = len(control.requests())
    control.clear()
    wait_until(lambda: len(control.requests()) == before + 1)
    assert [credential["posts"] for credential in stored(control, learner.username)] == [1]
    assert service.award(learner.username).status_code == 201


def test_faults_are_for_what_they_match(control, service, learner):
    runs = control.fault("status", status=400, type="course-run", times=None)
    gets = control.fault("status", status=503, method="GET", type="program", times=1)
    elsewhere = control.fault("status", status=404, path="course_certificates/", times=1)
    assert service.award(learner.username).status_code == 201
    assert [service.award_run(learner.username).status_code for _ in range(3)] == [400] * 3
    assert [service.list(type=kind).status_code for kind in ("course-run", "program", "program")] == [400, 503, 200]
    assert service.list().status_code == 200
    assert service.post("course_certificates/", json={}).status_code == 404
    assert [control.applied(fault) for fault in (runs, gets, elsewhere)] == [4, 1, 1]
    assert control.applied() == 6
    control.clear()
    assert (control.applied(), service.award_run(learner.username).status_code) == (0, 201)


def test_faults_apply_in_the_order_they_were_asked_for(control, service):
    for status in (500, 503):
        control.fault("status", status=status, times=2)
    assert [service.list().status_code for _ in range(5)] == [500, 500, 503, 503, 200]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"kind": "explode"}, "kind"),
        ({"kind": "status"}, "status"),
        ({"kind": "status", "status": 418}, "status"),
        ({"kind": "delay"}, "seconds"),
        ({"kind": "close", "times": 0}, "times"),
        ({"kind": "close", "tiems": 1}, "tiems"),
    ],
)
def test_unusable_fault(control, options, word):
    with pytest.raises(ValueError, match=word):
        control.fault(**options)
    assert control.applied() == 0


def test_requests_are_listed(control, service, learner):
    before = len(control.requests())
    service.award(learner.username)
    service.award_run(learner.username)
    service.list(username=learner.username, type="program")
    service.list(page=99999)
    service.post("course_certificates/", data="{", headers={"Content-Type": "application/json"})
    assert [tuple(request.values()) for request in control.requests()[before:]] == [
        ("POST", "credentials/", "program", 201, None),
        ("POST", "credentials/", "course-run", 201, None),
        ("GET", "credentials/", "program", 200, None),
        ("GET", "credentials/", None, 404, None),
        ("POST", "course_certificates/", None, 400, None),
    ]
