"""Reads what ``make run`` is given in environment variables, and checks it before anything is started."""

import os
import re
import socket
from urllib.parse import unquote, urlsplit

import redis
import requests

from testbed.run.inputs import DATA, InputError
from testbed.servers.kafka import APACHE, KAFKAS, MOCK, apache
from testbed.servers.valkey import connect
from testbed.site.kafka import find_problem

SERVICES = ("CREDENTIALS_URL", "DISCOVERY_URL", "SCHEMA_REGISTRY_URL")
JWT = ("JWT_SECRET_KEY", "JWT_ISSUER", "JWT_AUDIENCE")
# The variables and their defaults. README.md describes them.
DEFAULTS = {
    "PROGRAMS": str(DATA / "programs.json"),
    "LEARNERS": str(DATA / "learners.json"),
    "BUS": "redis",
    "KAFKA": MOCK,
    **dict.fromkeys((*SERVICES, *JWT, "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS"), ""),
}

# These are stricter than the libraries that read the URLs later. A library takes a part of a password that is not
# encoded for the host, the port or the path, asks the DNS for it, and quotes it in its errors.
HOST = r"([\w.-]+|\[[\da-fA-F:.]+\])(:\d+)?"
REDIS_URL = re.compile(rf"rediss?://([^\s/?#\[\]]*@)?{HOST}(/\d*)?(\?[^\s@#]*)?")
SERVICE_URL = re.compile(rf"https?://{HOST}(/[^\s@?#]*)?")
ENCODED = "special characters in the user name and the password have to be percent-encoded"


def read_options() -> dict[str, str]:
    """
    Return the value of each variable. What is unset, or has no meaning on this bus, is "".

    Raises:
        InputError: a value is invalid, or a service does not answer.
    """
    options = {name: os.environ.get(name) or default for name, default in DEFAULTS.items()}
    if not (options["REDIS_URL"] and options["CREDENTIALS_URL"] and options["DISCOVERY_URL"]):
        _check_loopback()
    _check_bus(options)
    for name in SERVICES:
        if options[name]:
            _check_service(name, options[name])
    missing = ", ".join(name for name in JWT if not options[name])
    if (options["CREDENTIALS_URL"] or options["DISCOVERY_URL"]) and missing:
        raise InputError(f"a service of your own needs the environment variable(s) {missing}, as it has them")
    if options["KAFKA_BOOTSTRAP_SERVERS"] and (problem := find_problem(options["KAFKA_BOOTSTRAP_SERVERS"])):
        raise InputError(f"KAFKA_BOOTSTRAP_SERVERS: {problem}")
    if options["REDIS_URL"]:
        _check_redis(options["REDIS_URL"])
    return options


def _check_loopback() -> None:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
    except OSError as exc:
        reason = exc.strerror or exc
        raise InputError(f"a run needs the loopback interface, and 127.0.0.1 cannot be reached: {reason}") from exc


def _check_bus(options: dict[str, str]) -> None:
    """Check the choice of the bus, and blank what only Kafka has if it is Redis."""
    for name, choices in (("BUS", ("redis", "kafka")), ("KAFKA", tuple(KAFKAS))):
        if options[name] not in choices:
            raise InputError(f"{name}: {options[name]!r} is neither {' nor '.join(choices)}")
    if options["BUS"] == "redis":
        options["KAFKA_BOOTSTRAP_SERVERS"] = options["SCHEMA_REGISTRY_URL"] = ""
    elif options["KAFKA"] == APACHE and (problem := apache.find_problem()):
        raise InputError(f"KAFKA: {problem}")


def _check_service(name: str, url: str) -> None:
    if not SERVICE_URL.fullmatch(url):
        raise InputError(f"{name}: it has to be http://host:port or the like, without user and password")
    try:
        requests.get(url, timeout=5)  # any answer will do
    except requests.RequestException as exc:
        raise InputError(f"{name}: cannot reach {url}: {type(exc).__name__}") from exc


def _check_redis(url: str) -> None:
    """Check that a Redis answers; the error quotes neither the URL nor the answer: both may contain a password."""
    if not REDIS_URL.fullmatch(url):
        raise InputError(f"REDIS_URL: it has to be redis://user:password@host:port/number or the like; {ENCODED}")
    try:
        with connect(url) as client:
            client.ping()
    except (ValueError, TypeError, redis.RedisError) as exc:
        reason = getattr(exc.__context__, "strerror", None) or type(exc).__name__
        raise InputError(f"REDIS_URL: cannot use this Redis: {reason}; {ENCODED}") from exc


def without_credentials(text: str, url: str) -> str:
    """Cross out the URL's user name and password, which Redis and its clients may quote."""
    parts = urlsplit(url)
    for secret in filter(None, (parts.username, parts.password)):
        text = text.replace(secret, "***").replace(unquote(secret), "***")
    return text
