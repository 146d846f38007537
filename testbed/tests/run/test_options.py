"""Tests of how ``make run`` refuses options, before it starts anything."""

import socket
from pathlib import Path

import pytest
import redis
import requests

from testbed.run.__main__ import main
from testbed.run.options import DEFAULTS, without_credentials
from testbed.servers.processes import Processes
from testbed.servers.valkey import Valkey

CANNOT = "REDIS_URL: cannot use this Redis: "
HOW_REDIS = "REDIS_URL: it has to be redis://user:password@host:port/number or the like; special characters"
HOW_HTTP = "it has to be http://host:port or the like, without user and password"
KAFKA_SERVERS = "KAFKA_BOOTSTRAP_SERVERS"


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEFAULTS:
        monkeypatch.delenv(name, raising=False)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run; return the one line with which the run is refused, without "error: "."""
    assert main(arguments) == 2
    output = capsys.readouterr()
    [line] = output.err.splitlines()
    assert output.out == "" and line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"REDIS_URL": "redis://:secret@127.0.0.1:1/0"}, f"{CANNOT}Connection refused;"),
        ({"REDIS_URL": "redis://127.0.0.1:70000"}, f"{CANNOT}ValueError;"),
        ({"REDIS_URL": "redis://:secret@127.0.0.1:1/0?no=1"}, f"{CANNOT}TypeError;"),
        ({"REDIS_URL": "nonsense"}, HOW_REDIS),
        ({"REDIS_URL": "redis://:se@cret/w#rd@127.0.0.1:6379"}, HOW_REDIS),
        ({"REDIS_URL": "redis://:1/secret@127.0.0.1:6379"}, HOW_REDIS),
        ({"REDIS_URL": "redis://:1#secret@127.0.0.1:6379"}, HOW_REDIS),
        ({"REDIS_URL": "redis://:1?secret@127.0.0.1:6379"}, HOW_REDIS),
        ({"REDIS_URL": "redis://:se[cret@127.0.0.1:6379"}, HOW_REDIS),
        ({"DISCOVERY_URL": "nonsense"}, f"DISCOVERY_URL: {HOW_HTTP}"),
        ({"CREDENTIALS_URL": "http://user:secret@127.0.0.1:1"}, f"CREDENTIALS_URL: {HOW_HTTP}"),
        ({"CREDENTIALS_URL": "http://127.0.0.1:1"}, "CREDENTIALS_URL: cannot reach http://127.0.0.1:1: Connection"),
        ({"BUS": "rabbit"}, "BUS: 'rabbit' is neither redis nor kafka"),
        ({"BUS": "kafka", "KAFKA": "real"}, "KAFKA: 'real' is neither mock nor apache"),
        ({"BUS": "kafka", "KAFKA": "apache", "PATH": "/"}, "KAFKA: java was not found"),
        ({"BUS": "kafka", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}, "SCHEMA_REGISTRY_URL: cannot reach"),
        ({"BUS": "kafka", KAFKA_SERVERS: "127.0.0.1:1"}, "KAFKA_BOOTSTRAP_SERVERS: "),
        ({"PROGRAMS": "/"}, "/: cannot be read: Is a directory"),
        ({"LEARNERS": "missing.json"}, "missing.json: cannot be read: No such file or directory"),
    ],
)
def test_invalid_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    line = refusal(capsys)

    assert line.startswith(message)
    assert not any(part in line for part in ("secret", "cret", "se@", "se/", "sec:", "w#rd"))
    assert ("percent-encoded" in line) is ("REDIS_URL" in variables)


def test_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, "--help").startswith("there are no arguments")


def test_own_services_need_their_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(requests, "get", lambda *_args, **_kwargs: None)
    monkeypatch.setenv("DISCOVERY_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("JWT_ISSUER", "issuer")

    assert "environment variable(s) JWT_SECRET_KEY, JWT_AUDIENCE" in refusal(capsys)


def test_a_refused_password_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], processes: Processes, tmp_path: Path
) -> None:
    valkey = Valkey(processes, "locked-redis", tmp_path / "locked-redis")
    redis.Redis.from_url(valkey.url).config_set("requirepass", "right")
    monkeypatch.setenv("REDIS_URL", valkey.url.replace("//", "//somebody:wrong@"))

    line = refusal(capsys)

    assert line.startswith(f"{CANNOT}AuthenticationError;")
    assert "wrong" not in line and "somebody" not in line


def test_later_errors_of_redis_are_printed_without_user_and_password() -> None:
    url = "redis://alice%25:s3cr3t%40@127.0.0.1:6379/0"
    for text in ("User alice% may not `xrange`", "unknown command `AUTH`: `alice%` `s3cr3t@`", f"cannot use {url}"):
        printed = without_credentials(text, url)
        assert not any(secret in printed for secret in ("alice", "s3cr3t"))
    assert without_credentials("User *** may not", "") == "User *** may not"


def test_unreachable_loopback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def unreachable(*_args: object, **_kwargs: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)

    assert refusal(capsys).endswith("the loopback interface, and 127.0.0.1 cannot be reached: Network is unreachable")
