"""Tests of the local stand-in of Discovery: a real server process, real HTTP."""

import json
import signal
import time
from uuid import uuid4

import jwt
import pytest
import requests

from testbed.standins.serving import running

pytestmark = pytest.mark.e2e

ENVIRONMENT = {
    "DISCOVERY_JWT_SECRET_KEY": "a secret that is long enough for HS256",
    "DISCOVERY_JWT_ISSUER": "http://lms.example.com/oauth2",
    "DISCOVERY_JWT_AUDIENCE": "openedx",
}
PROGRAMS = [
    {"uuid": str(uuid4()), "title": status, "type": "MicroMasters", "status": status, "courses": []}
    for status in ["active"] * 25 + ["retired", "unpublished"]
]
PATHWAYS = [{"id": number, "uuid": str(uuid4()), "name": "A pathway", "programs": []} for number in range(21)]


def token(secret=ENVIRONMENT["DISCOVERY_JWT_SECRET_KEY"], **claims):
    """A token as the LMS makes it."""
    payload = {
        "iss": ENVIRONMENT["DISCOVERY_JWT_ISSUER"],
        "aud": ENVIRONMENT["DISCOVERY_JWT_AUDIENCE"],
        "iat": int(time.time()),
        "exp": int(time.time()) + 3600,
        "preferred_username": "lms_catalog_service_user",
        "version": "1.2.0",
        **claims,
    }
    return jwt.encode(payload, secret, algorithm="HS256")


def standin(directory, data):
    """Start a stand-in."""
    (directory / "programs.json").write_text(json.dumps(data), encoding="utf-8")
    options = ("--programs", directory / "programs.json")
    return running("discovery", *options, environment=ENVIRONMENT, log=directory / "discovery.log")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Where the stand-in has its file and its log."""
    return tmp_path_factory.mktemp("discovery")


@pytest.fixture(scope="module")
def url(directory):
    """The base URL of the API of a stand-in."""
    data = {"programs": PROGRAMS, "pathways": [*PATHWAYS, PATHWAYS[0] | {"id": 99, "status": "unpublished"}]}
    with standin(directory, data) as (url, _):
        yield f"{url}/api/v1/"


@pytest.fixture
def get(url):
    """Get a path of the API."""
    session = requests.Session()
    session.headers["Authorization"] = f"JWT {token()}"
    return lambda path, **query: session.get(path if "://" in path else url + path, params=query, timeout=30)


@pytest.mark.parametrize("path", ["programs/", f"programs/{uuid4()}/", "pathways/"])
def test_token_is_demanded(url, path):
    response = requests.get(url + path, timeout=30)
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, 'JWT realm="api"')
    assert response.json() == {"detail": "Authentication credentials were not provided."}
    wrong = {"secret": "another secret that is long enough too"}
    for claims in (wrong, {"exp": 1}, {"aud": "other"}, {"iss": "other"}, {"preferred_username": ""}):
        headers = {"Authorization": f"JWT {token(**claims)}"}
        assert requests.get(url + path, headers=headers, timeout=30).status_code == 401


def test_uuids_only(get):
    response = get("programs/", exclude_utm=1, status=("active", "retired"), uuids_only=1)
    assert response.status_code == 200
    assert response.json() == [program["uuid"] for program in PROGRAMS[:-1]]
    assert get("programs/", status="unpublished", uuids_only=1).json() == [PROGRAMS[-1]["uuid"]]
    assert len(get("programs/", uuids_only=1).json()) == 27


def test_program_pages(get):
    answer = get("programs/", status="active").json()
    assert (answer["count"], answer["previous"], len(answer["results"])) == (25, None, 20)
    assert get(answer["next"]).json()["results"] == PROGRAMS[20:25]
    assert len(get("programs/", page_size=100).json()["results"]) == 27


def test_program(get):
    for program in (PROGRAMS[0], PROGRAMS[-1]):
        assert get(f"programs/{program['uuid']}/").json() == program
    for unknown in (uuid4(), "nonsense"):
        response = get(f"programs/{unknown}/", exclude_utm=1)
        assert (response.status_code, response.json()) == (404, {"detail": "Not found."})


def test_pathways(get, url):
    answer = get("pathways/", status="published").json()
    assert set(answer) == {"count", "next", "previous", "results"}
    assert (answer["count"], len(answer["results"])) == (21, 20)
    assert answer["next"].startswith(f"{url}pathways/?")
    last = get(answer["next"]).json()
    assert last["next"] is None
    assert [pathway["id"] for pathway in answer["results"] + last["results"]] == list(range(21))
    assert get("pathways/", status="published", page=3).status_code == 404


def test_ends_on_sigterm_and_needs_no_pathways(tmp_path):
    with standin(tmp_path, {"programs": []}) as (url, process):
        headers = {"Authorization": f"JWT {token()}"}
        with requests.Session() as session:  # its connection is open when the signal comes
            answer = session.get(f"{url}/api/v1/pathways/", headers=headers, timeout=30).json()
            assert answer == {"count": 0, "next": None, "previous": None, "results": []}
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0


def test_log_has_no_query(get, directory):
    get("programs/", status="active", uuids_only=1)
    get("programs/")  # when it is answered, the line of the one before it on this connection is there
    log = (directory / "discovery.log").read_text(encoding="utf-8")
    assert " INFO GET /api/v1/programs/ 200\n" in log
    assert "uuids_only" not in log
