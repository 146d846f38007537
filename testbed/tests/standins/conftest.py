"""What the stand-ins' tests share: a site of which only stand-ins run; each test has users of its own."""

import signal
import time
from collections.abc import Iterator
from itertools import count
from typing import Any
from urllib.parse import urljoin

import jwt
import pytest
import requests

from testbed.run.inputs import DATA, read_programs
from testbed.servers.processes import Processes
from testbed.site.site import Site

NUMBERS = count(1)
PROGRAMS = read_programs(DATA / "programs.json")[::-1]
PROGRAM, OTHER_PROGRAM = (program["uuid"] for program in PROGRAMS)
RUN, OTHER_RUN, SECOND_RUN, _ = (
    run["key"] for program in PROGRAMS for course in program["courses"] for run in course["course_runs"]
)
RUN_OUTSIDE = "course-v1:OpenX+Outside+2026"


def token(site: Site, username: str, secret: str = "", **claims: Any) -> str:
    """Make a token as the site's LMS does; a claim that is None is left out."""
    payload = {
        "iss": site.jwt["JWT_ISSUER"],
        "aud": site.jwt["JWT_AUDIENCE"],
        "iat": int(time.time()),
        "exp": int(time.time()) + 3600,
        "preferred_username": username,
        "version": "1.2.0",
        "is_restricted": False,
        **claims,
    }
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, secret or site.jwt["JWT_SECRET_KEY"], algorithm="HS256")


class Caller(requests.Session):
    """Somebody who calls the API of Credentials on one kept connection, and what can be seen behind it."""

    def __init__(self, site: Site, username: str, **claims: Any) -> None:
        super().__init__()
        self.api, self.control = f"{site.credentials_url}/api/v2/", site.credentials
        self.headers["Authorization"] = f"JWT {token(site, username, **claims)}"

    def request(self, method: str, path: str, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        """Send a request to a path of the API or to an absolute URL."""
        return super().request(method, urljoin(self.api, path), timeout=30, **kwargs)

    def award(self, username: str, key: str = PROGRAM, **fields: Any) -> requests.Response:
        """Post a certificate of a program or of a course run."""
        return self.post("credentials/", json={"username": username, "credential": of(key), **fields})

    def list(self, **query: Any) -> requests.Response:
        """Get certificates."""
        return self.get("credentials/", params=query)

    def stored(self, username: str) -> Any:
        """Return what is stored for a learner."""
        return [credential for credential in self.control.credentials() if credential["username"] == username]

    def histories(self, username: str) -> Any:
        """Return the history of each certificate of a learner."""
        return [credential["history"] for credential in self.stored(username)]


def of(key: str) -> Any:
    """Return the ``credential`` of a certificate of a program or of a course run."""
    if key.startswith("course-v1:"):
        return {"type": "course-run", "course_run_key": key, "mode": "verified"}
    return {"type": "program", "program_uuid": key}


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site that most tests share; its Credentials runs."""
    with Processes(tmp_path_factory.mktemp("standins")) as processes:
        site = Site(processes, processes.directory)
        process = site.start_credentials(PROGRAMS, [RUN_OUTSIDE])
        yield site
        process.popen.send_signal(signal.SIGINT)
        assert process.popen.wait(60) == 0


@pytest.fixture
def service(site: Site) -> Iterator[Caller]:
    """The LMS's service user; neither faults nor a wrong clock are left afterwards."""
    service = Caller(site, "credentials_service_user", administrator=True)
    yield service
    service.control.clear()
    service.control.set_clock(0)


@pytest.fixture
def name(site: Site) -> str:
    """The username of a learner whom the stand-in knows, from a GET of their own."""
    username = f"learner{next(NUMBERS)}"
    Caller(site, username, user_id=42, email="somebody@example.com").list(username=username).raise_for_status()
    return username
