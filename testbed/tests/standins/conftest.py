"""What the stand-ins' tests share: server processes, one of Credentials for all; each test has users of its own."""

import json
import signal
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import jwt
import pytest
import requests

from testbed.servers.processes import Process, Processes
from testbed.standins.credentials.control.client import CredentialsControl

SECRET = "a secret that is long enough for HS256"
ISSUER, AUDIENCE = "http://lms.example.com/oauth2", "openedx"
PROGRAM = "1b0b5d1c-94b3-4d5e-8a4e-000000000001"
OTHER_PROGRAM = "1b0b5d1c-94b3-4d5e-8a4e-000000000002"
RUN, OTHER_RUN, SECOND_RUN, RUN_OUTSIDE = (f"course-v1:edX+Demo+{year}" for year in range(2026, 2030))
NUMBERS = count(1)
PROGRAMS = [
    {
        "uuid": uuid,
        "title": "A program",
        "type": "Professional Certificate",
        "courses": [{"course_runs": [{"key": key} for key in keys]}],
    }
    for uuid, keys in ((PROGRAM, [RUN]), (OTHER_PROGRAM, [OTHER_RUN, SECOND_RUN]))
]


def token(username: str | None, secret: str = SECRET, **claims: Any) -> str:
    """Make a token as the LMS does; a claim that is None is left out."""
    payload = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": int(time.time()),
        "exp": int(time.time()) + 3600,
        "preferred_username": username,
        "version": "1.2.0",
        "is_restricted": False,
        **claims,
    }
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, secret, algorithm="HS256")


def start(processes: Processes, service: str, programs: Any, *options: Any, **env: str) -> tuple[Process, str]:
    """Start a stand-in with such programs; return its process and its URL."""
    path = processes.directory / f"{service}.json"
    path.write_text(json.dumps({"programs": programs, "course_runs": [RUN_OUTSIDE]}), encoding="utf-8")
    tokens = {"SECRET_KEY": SECRET, "ISSUER": ISSUER, "AUDIENCE": AUDIENCE}
    env |= {f"{service.upper()}_JWT_{name}": value for name, value in tokens.items()}
    return processes.server(service, "-m", f"testbed.standins.{service}", "--programs", path, *options, env=env)


def start_credentials(processes: Processes, **env: str) -> tuple[Process, str]:
    """Start a stand-in of Credentials with a database of its own."""
    return start(processes, "credentials", PROGRAMS, "--database", processes.directory / "database", **env)


class Caller(requests.Session):
    """Somebody who calls the API of Credentials on one kept connection, and what can be seen behind it."""

    def __init__(self, url: str, username: str | None, **claims: Any) -> None:
        super().__init__()
        self.url, self.control = url, CredentialsControl(url)
        self.headers["Authorization"] = f"JWT {token(username, **claims)}"

    def request(self, method: str, path: str, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        """Send a request to a path of the API or to an absolute URL."""
        return super().request(
            method, path if "://" in path else f"{self.url}/api/v2/{path}", **{"timeout": 30} | kwargs
        )

    def award(self, username: str, program_uuid: str = PROGRAM, **fields: Any) -> requests.Response:
        """Post a program certificate."""
        return self.post("credentials/", json={"username": username, "credential": of(program_uuid), **fields})

    def award_run(self, username: str, key: str = RUN, **fields: Any) -> requests.Response:
        """Post a course certificate."""
        body = {"username": username, "status": "awarded", "credential": of_run(key), "date_override": None, **fields}
        return self.post("credentials/", json=body)

    def list(self, **query: Any) -> requests.Response:
        """Get certificates."""
        return self.get("credentials/", params=query)

    def stored(self, username: str) -> Any:
        """Return what is stored for a learner."""
        return [credential for credential in self.control.credentials() if credential["username"] == username]

    def histories(self, username: str) -> Any:
        """Return the history of each certificate of a learner."""
        return [credential["history"] for credential in self.stored(username)]


def of(program_uuid: str) -> Any:
    """Return the ``credential`` of a program certificate."""
    return {"type": "program", "program_uuid": program_uuid}


def of_run(key: str) -> Any:
    """Return the ``credential`` of a course certificate."""
    return {"type": "course-run", "course_run_key": key, "mode": "verified"}


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Start servers that all tests share; their logs are in its directory."""
    with Processes(tmp_path_factory.mktemp("standins")) as processes:
        yield processes


@pytest.fixture(scope="package")
def url(servers: Processes) -> Iterator[str]:
    """The stand-in of Credentials that most tests share."""
    process, url = start_credentials(servers)
    yield url
    process.popen.send_signal(signal.SIGINT)
    assert process.popen.wait(60) == 0


@pytest.fixture
def service(url: str) -> Iterator[Caller]:
    """The LMS's service user; neither faults nor a wrong clock are left afterwards."""
    service = Caller(url, "credentials_service_user", administrator=True)
    yield service
    service.control.clear()
    service.control.set_clock(0)


@pytest.fixture
def name(url: str) -> str:
    """The username of a learner whom the stand-in knows, from a GET of their own."""
    username = f"learner{next(NUMBERS)}"
    Caller(url, username, user_id=42, email="somebody@example.com").list(username=username).raise_for_status()
    return username
