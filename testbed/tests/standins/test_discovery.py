"""Tests of the local stand-in of Discovery: a real server process, real HTTP."""

import signal
from collections.abc import Iterator
from uuid import uuid4

import pytest

from testbed.site.site import Site
from testbed.tests.standins.conftest import Caller, token

pytestmark = pytest.mark.e2e

PROGRAMS = [{"uuid": str(uuid4()), "status": status} for status in ["active"] * 25 + ["retired", "unpublished"]]
ALL = [program["uuid"] for program in PROGRAMS]


@pytest.fixture(scope="module")
def caller(site: Site) -> Iterator[Caller]:
    """Calls the API of a stand-in. At the end, that is stopped while the connection is still open."""
    site.start_discovery(PROGRAMS)
    process = site.processes.running[-1]
    caller = Caller(site, "lms_catalog_service_user")
    caller.api = f"{site.discovery_url}/api/v1/"
    yield caller
    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.wait(60) == 0


@pytest.mark.parametrize("path", ["programs/", f"programs/{ALL[0]}/"])
def test_a_token_is_demanded(site: Site, caller: Caller, path: str) -> None:
    for header in (None, f"JWT {token(site, 'somebody', 'another secret that is long enough too')}"):
        response = caller.get(path, headers={"Authorization": header})
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, 'JWT realm="api"')


@pytest.mark.parametrize(
    ("statuses", "uuids"),
    [((), ALL), (("active", "retired"), ALL[:-1]), ("unpublished", ALL[-1:])],
)
def test_list_of_uuids(caller: Caller, statuses: str | tuple[str], uuids: list[str]) -> None:
    response = caller.get("programs/", params={"exclude_utm": 1, "status": statuses, "uuids_only": 1})
    assert (response.status_code, response.json()) == (200, uuids)
    assert caller.get("programs/", params={"status": statuses}).status_code == 400


def test_program(caller: Caller) -> None:
    for program in (PROGRAMS[0], PROGRAMS[-1]):
        assert caller.get(f"programs/{program['uuid']}/?exclude_utm=1").json() == program
    for unknown in (str(uuid4()), "nonsense"):
        response = caller.get(f"programs/{unknown}/?exclude_utm=1")
        assert (response.status_code, response.json()) == (404, {"detail": "Not found."})
