"""
What operators get wrong in the settings of the event bus, and what the check that the page names says about it.

Each row is merged into the LMS's settings as ``lms/envs/production.py`` merges the YAML file. With some rows
openedx-events does not start.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, run_checks
from django.test import override_settings
from openedx_events.event_bus import merge_producer_configs
from openedx_events.exceptions import ProducerConfigurationError

from testbed import ROOT
from testbed.pages.blocks import named_block
from testbed.run.inputs import AWARDED, REVOKED
from testbed.site.site import TOPIC

Settings = dict[str, Any]

PRODUCER, CONFIG, PREFIX = "EVENT_BUS_PRODUCER", "EVENT_BUS_PRODUCER_CONFIG", "EVENT_BUS_TOPIC_PREFIX"
URL, POLL, LENGTH = (
    f"EVENT_BUS_REDIS_{name}" for name in ("CONNECTION_URL", "CONSUMER_POLL_TIMEOUT", "STREAM_MAX_LEN")
)
# The settings of the pages.
RIGHT, REDIS, KAFKA = (yaml.safe_load(named_block(name)) for name in ("events-yaml", "redis-yaml", "kafka-yaml"))
EVENTS: Settings = RIGHT[CONFIG]
CONSUMER = {"EVENT_BUS_CONSUMER": REDIS.pop("EVENT_BUS_CONSUMER")}
RIGHT |= REDIS
MISSING: Any = object()
NO_PRODUCER, NO_SERVERS, NO_REGISTRY, WRONG_URL, NO_TIMEOUT, BAD_POLL, BAD_LENGTH, BAD_PREFIX, NO_SECRET = (
    [f"event_bus.W{number:03}"] for number in (1, 3, 4, 5, 6, 7, 8, 9, 10)
)
ALONE, OTHER_TOPIC, OTHER_KEY = (["programs.W001"], ["programs.W002"], ["programs.W003"])


def kafka(**changes: Any) -> Settings:
    return KAFKA | {f"EVENT_BUS_KAFKA_{name}": value for name, value in changes.items()}


def awarded(topics: Any) -> Settings:
    return {CONFIG: EVENTS | {AWARDED: topics}}


def keyed(topic: Any, key: str = "program_certificate.program.uuid") -> Settings:
    return awarded({topic: {"enabled": True, "event_key_field": key}})


# Name: changed settings.
RIGHT_ROWS = {
    "right": {},
    "with a consumer": CONSUMER,
    "no consumer, poll time-out not set": {POLL: MISSING},
    "no consumer, poll time-out of 60 s": {POLL: 60},
    "TLS, user and password": {URL: "rediss://user:pa%24s@redis:6380/1?socket_timeout=2&socket_connect_timeout=2"},
    "no database, no port": {URL: "redis://redis?socket_timeout=2"},
    "socket_timeout alone": {URL: "redis://redis:6379/0?socket_timeout=2", **CONSUMER},
    "other options of redis-py": {URL: "redis://redis:6379/0?socket_timeout=2&health_check_interval=30"},
    "time-out of 60 s": {URL: "redis://redis:6379/0?socket_timeout=60"},
    "Unix socket": {URL: "unix:///run/redis.sock?db=1", **CONSUMER},
    "Unix socket with a time-out": {URL: "unix:///run/redis.sock?socket_timeout=2", **CONSUMER},
    "length of the stream": {LENGTH: 100_000},
    "prefix": {PREFIX: "prod"},
    "prefix with a hyphen inside": {PREFIX: "eu-prod"},
    "prefix null": {PREFIX: None},
    "none": {CONFIG: MISSING},
    "none, no producer": {CONFIG: MISSING, PRODUCER: MISSING},
    "Redis, another key": keyed(TOPIC, "program_certificate.uuid"),
    "Redis, a second topic": awarded({TOPIC: {"enabled": True}, "other": {"enabled": True, "event_key_field": "x"}}),
    "Kafka": kafka(),
    "Kafka, two servers": kafka(BOOTSTRAP_SERVERS="kafka-1:9092,kafka-2:9092"),
    "Kafka, keys": kafka(API_KEY="k", API_SECRET="s", SCHEMA_REGISTRY_API_KEY="k", SCHEMA_REGISTRY_API_SECRET="s"),
    "Kafka, https": kafka(SCHEMA_REGISTRY_URL="https://registry"),
    "Kafka, a second topic with another key": kafka()
    | awarded({TOPIC: {"enabled": True}, "other": {"enabled": True, "event_key_field": "program_certificate.uuid"}}),
}
# Name: changed settings, ids of the warnings.
WRONG_ROWS = {
    "producer not set": ({PRODUCER: MISSING}, NO_PRODUCER),
    "producer empty": ({PRODUCER: ""}, NO_PRODUCER),
    "producer null": ({PRODUCER: None}, NO_PRODUCER),
    "module misspelt": ({PRODUCER: "edx_event_bus_rediss.create_producer"}, NO_PRODUCER),
    "function misspelt": ({PRODUCER: "edx_event_bus_redis.create_producr"}, NO_PRODUCER),
    "no dot": ({PRODUCER: "redis"}, NO_PRODUCER),
    "a colon": ({PRODUCER: "edx_event_bus_redis:create_producer"}, NO_PRODUCER),
    "not callable": ({PRODUCER: "logging.INFO"}, NO_PRODUCER),
    "the consumer": ({PRODUCER: "edx_event_bus_redis.RedisEventConsumer"}, NO_PRODUCER),
    "the class of the producer": ({PRODUCER: "edx_event_bus_kafka.KafkaEventProducer"}, NO_PRODUCER),
    "an int": ({PRODUCER: 3}, NO_PRODUCER),
    "a list": ({PRODUCER: ["edx_event_bus_redis.create_producer"]}, NO_PRODUCER),
    "a dict": ({PRODUCER: {"a": 1}}, NO_PRODUCER),
    "ends with a dot": ({PRODUCER: "edx_event_bus_redis."}, NO_PRODUCER),
    "starts with a dot": ({PRODUCER: ".create_producer"}, NO_PRODUCER),
    "a producer of the site": ({PRODUCER: "site_events.create_producer"}, NO_PRODUCER),
    "Kafka without servers": (kafka(BOOTSTRAP_SERVERS=MISSING), NO_SERVERS),
    "Kafka, a list of servers": (kafka(BOOTSTRAP_SERVERS=["kafka:9092"]), NO_SERVERS),
    "Kafka, servers with a scheme": (kafka(BOOTSTRAP_SERVERS="kafka://kafka:9092"), NO_SERVERS),
    "Kafka without a registry": (kafka(SCHEMA_REGISTRY_URL=MISSING), NO_REGISTRY),
    "Kafka, a registry without a scheme": (kafka(SCHEMA_REGISTRY_URL="registry:8081"), NO_REGISTRY),
    "Kafka, a registry that is a number": (kafka(SCHEMA_REGISTRY_URL=8081), NO_REGISTRY),
    "Kafka, a key without its secret": (kafka(API_KEY="k"), NO_SECRET),
    "Kafka, a secret without its key": (kafka(API_SECRET="s"), NO_SECRET),
    "Kafka, a registry's key without its secret": (kafka(SCHEMA_REGISTRY_API_KEY="k"), NO_SECRET),
    "Kafka, another key": (kafka() | keyed(TOPIC, "program_certificate.uuid"), OTHER_KEY),
    "Kafka, no such key": (kafka() | keyed(TOPIC, "program_certificate.nope"), OTHER_KEY),
    "no address of Redis": ({URL: MISSING}, WRONG_URL),
    "address null": ({URL: None}, WRONG_URL),
    "address that is a number": ({URL: 6379}, WRONG_URL),
    "no scheme": ({URL: "127.0.0.1:1"}, WRONG_URL),
    "another scheme": ({URL: "http://redis:6379/0?socket_timeout=2"}, WRONG_URL),
    "no host": ({URL: "redis://:6379/0?socket_timeout=2"}, WRONG_URL),
    "a template's variable": ({URL: "redis://{{ REDIS_HOST }}:6379/0?socket_timeout=2"}, WRONG_URL),
    "port that is not a number": ({URL: "redis://redis:port/0?socket_timeout=2"}, WRONG_URL),
    "password with a slash": ({URL: "redis://:pa/ss@redis:6379/0?socket_timeout=2"}, WRONG_URL),
    "path that is not a database": ({URL: "redis://redis:6379/bus?socket_timeout=2"}, WRONG_URL),
    "& in place of ?": ({URL: "redis://redis:6379/0&socket_timeout=2"}, WRONG_URL),
    "option misspelt": ({URL: "redis://redis:6379/0?socket_timeout=2&conect_timeout=2"}, WRONG_URL),
    "Unix socket without a path": ({URL: "unix://?socket_timeout=2"}, WRONG_URL),
    "no time-outs": ({URL: "redis://127.0.0.1:1/0"}, NO_TIMEOUT),
    "socket_connect_timeout alone": ({URL: "redis://127.0.0.1:1/0?socket_connect_timeout=2"}, NO_TIMEOUT),
    "Tutor's address": ({URL: "redis://@redis:6379/", **CONSUMER}, NO_TIMEOUT),
    "time-out of 0": ({URL: "redis://redis:6379/0?socket_timeout=0"}, NO_TIMEOUT),
    "time-out in milliseconds": ({URL: "redis://redis:6379/0?socket_timeout=2000"}, NO_TIMEOUT),
    "connect time-out in ms": ({URL: "redis://redis:6379/0?socket_timeout=2&socket_connect_timeout=2000"}, NO_TIMEOUT),
    "poll time-out too long": ({POLL: 60, **CONSUMER}, BAD_POLL),
    "poll time-out not set": ({POLL: MISSING, **CONSUMER}, BAD_POLL),
    "poll time-out of 0": ({POLL: 0, **CONSUMER}, BAD_POLL),
    "poll time-out is a text": ({POLL: "1", **CONSUMER}, BAD_POLL),
    "length of the stream 0": ({LENGTH: 0}, BAD_LENGTH),
    "length of the stream negative": ({LENGTH: -1}, BAD_LENGTH),
    "length of the stream 10k": ({LENGTH: "10k"}, BAD_LENGTH),
    "prefix ends in a hyphen": ({PREFIX: "prod-"}, BAD_PREFIX),
    "only awarded": ({CONFIG: {AWARDED: {TOPIC: {"enabled": True}}}}, ALONE),
    "only revoked": ({CONFIG: {REVOKED: {TOPIC: {"enabled": True}}}}, ALONE),
    "enabled: null": (awarded({TOPIC: {"enabled": None}}), ALONE),
    "topic without enabled": (awarded({TOPIC: {"event_key_field": "program_certificate.program.uuid"}}), ALONE),
    "topic without anything": (awarded({TOPIC: {}}), ALONE),
    "another topic": (keyed("other"), OTHER_TOPIC),
    "topic that is a number": (keyed(3), OTHER_TOPIC),
    "topic that is null": (keyed(None), OTHER_TOPIC),
}
# Name: changed settings, what the error of openedx-events contains.
REFUSED_ROWS = {
    "another topic, no key": (awarded({"other": {"enabled": True}}), "missing 'event_key_field'"),
    "event misspelt": ({CONFIG: {f"{AWARDED}x": {}}}, f"OpenEdxPublicSignal of type: '{AWARDED}x'"),
    "event that is a number": ({CONFIG: {3: {}}}, "No OpenEdxPublicSignal of type: '3'"),
    "enabled: a text": (awarded({TOPIC: {"enabled": "true"}}), "Expected type: <class 'bool'> for 'enabled'"),
    "enabled: a number": (awarded({TOPIC: {"enabled": 1}}), "Expected type: <class 'bool'> for 'enabled'"),
    "event: null": (awarded(None), "'NoneType' object has no attribute 'items'"),
    "event: a number": (awarded(3), "'int' object has no attribute 'items'"),
    "event: a list": (awarded([TOPIC]), "'list' object has no attribute 'items'"),
    "topic: null": (awarded({TOPIC: None}), "'NoneType' object has no attribute 'get'"),
    "topic: a number": (awarded({TOPIC: 3}), "'int' object has no attribute 'get'"),
    "topic: a list": (awarded({TOPIC: [True]}), "'list' object has no attribute 'get'"),
}
ROWS: dict[str, tuple[Settings, list[str] | str]] = {name: (changes, []) for name, changes in RIGHT_ROWS.items()}
ROWS |= WRONG_ROWS
ROWS |= REFUSED_ROWS
# On real processes: one row of each kind, and the one whose setting the library reads while it is imported.
REAL = {
    "Kafka": [],
    "length of the stream 10k": NO_PRODUCER + BAD_LENGTH,
    "another topic, no key": "missing 'event_key_field'",
}


def run_lms(folder: Path, changes: Settings, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the settings of a row in the YAML file of an LMS."""
    config = {
        "SECRET_KEY": "x" * 50,
        "JWT_AUTH": {"JWT_SECRET_KEY": "y" * 50, "JWT_ISSUER": "issuer", "JWT_AUDIENCE": "audience"},
        "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        **{name: value for name, value in (RIGHT | changes).items() if value is not MISSING},
    }
    file = folder / "lms.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    env = {**os.environ, "LMS_CFG": str(file)}
    env.pop("DJANGO_SETTINGS_MODULE", None)
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True)


def start(changes: Settings) -> list[CheckMessage]:
    """Start openedx-events with the settings of a row, and run the checks."""
    made = {name: value for name, value in (RIGHT | changes).items() if value is not MISSING}
    config = made.get("EVENT_BUS_PRODUCER_CONFIG", {})
    made["EVENT_BUS_PRODUCER_CONFIG"] = merge_producer_configs(settings.EVENT_BUS_PRODUCER_CONFIG, config)
    with override_settings(**made):
        apps.get_app_config("openedx_events").ready()
        return run_checks(tags=["event_bus"], include_deployment_checks=True)


@pytest.mark.parametrize("row", ROWS)
def test_misconfiguration(row: str) -> None:
    changes, expected = ROWS[row]
    if isinstance(expected, str):
        with pytest.raises((ProducerConfigurationError, AttributeError), match=re.escape(expected)):
            start(changes)
    else:
        messages = start(changes)
        assert [message.id for message in messages] == expected
        assert all(message.hint for message in messages)


@pytest.mark.e2e
@pytest.mark.parametrize("row", REAL)
def test_real_check(row: str, tmp_path: Path) -> None:
    expected = REAL[row]
    _manage, _lms, *check = shlex.split(named_block("check"))

    done = run_lms(tmp_path, ROWS[row][0], "manage.py", "lms", "--settings", "production", *check)

    assert done.returncode == bool(expected), done.stderr
    if isinstance(expected, str):
        assert expected in done.stderr.splitlines()[-1]
    else:
        assert "Traceback" not in done.stderr
        assert re.findall(r"\((event_bus\.W\d+|programs\.W\d+)\)", done.stderr) == expected


@pytest.mark.e2e
def test_other_commands_import_no_library_of_the_event_bus(tmp_path: Path) -> None:
    command = ("-X", "importtime", "manage.py", "lms", "--settings", "production", "check")

    done = run_lms(tmp_path, kafka(), *command)

    assert done.returncode == 0, done.stderr
    assert "openedx.core.lib.event_bus_checks" in done.stderr
    assert not re.search(r"edx_event_bus|confluent_kafka", done.stderr)
