"""Tests of the local stand-in of Discovery: a real server process, real HTTP."""

import signal
from collections.abc import Iterator
from uuid import uuid4

import pytest
import requests

from testbed.servers.processes import Processes
from testbed.tests.standins.conftest import start, token

pytestmark = pytest.mark.e2e

PROGRAMS = [{"uuid": str(uuid4()), "status": status} for status in ["active"] * 25 + ["retired", "unpublished"]]
ALL = [program["uuid"] for program in PROGRAMS]


@pytest.fixture(scope="module")
def url(servers: Processes) -> Iterator[str]:
    """The base URL of the API of a stand-in, which ends while a connection is open."""
    process, url = start(servers, "discovery", PROGRAMS)
    with requests.Session() as session:
        session.get(url, timeout=30)
        yield f"{url}/api/v1/"
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(60) == 0


def get(url: str, secret: str = "", **query: object) -> requests.Response:
    signed = token("lms_catalog_service_user", **{"secret": secret} if secret else {})
    return requests.get(url, headers={"Authorization": f"JWT {signed}"}, params=query, timeout=30)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["programs/", f"programs/{ALL[0]}/"])
def test_a_token_is_demanded(url: str, path: str) -> None:
    response = requests.get(url + path, timeout=30)
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, 'JWT realm="api"')
    assert get(url + path, "another secret that is long enough too").status_code == 401


@pytest.mark.parametrize(
    ("statuses", "uuids"),
    [((), ALL), (("active", "retired"), ALL[:-1]), ("unpublished", ALL[-1:])],
)
def test_list_of_uuids(url: str, statuses: str | tuple[str], uuids: list[str]) -> None:
    response = get(f"{url}programs/", exclude_utm=1, status=statuses, uuids_only=1)
    assert (response.status_code, response.json()) == (200, uuids)
    assert get(f"{url}programs/", status=statuses).status_code == 400


@pytest.mark.parametrize("program", [PROGRAMS[0], PROGRAMS[-1]])
def test_program(url: str, program: dict[str, str]) -> None:
    assert get(f"{url}programs/{program['uuid']}/", exclude_utm=1).json() == program


@pytest.mark.parametrize("unknown", [str(uuid4()), "nonsense"])
def test_unknown_program(url: str, unknown: str) -> None:
    response = get(f"{url}programs/{unknown}/", exclude_utm=1)
    assert (response.status_code, response.json()) == (404, {"detail": "Not found."})
