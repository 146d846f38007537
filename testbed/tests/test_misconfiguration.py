"""
What operators get wrong in the settings of the event bus, and what ``./manage.py lms check --tag event_bus`` says.

Each row is merged into the LMS's settings as ``lms/envs/production.py`` merges the YAML file. With some of them
openedx-events refuses to start.
"""

import copy
import os
import subprocess
import sys

import pytest
import yaml
from django.apps import apps
from django.conf import settings
from django.core.checks import run_checks
from django.test import override_settings
from openedx_events.event_bus import merge_producer_configs
from openedx_events.exceptions import ProducerConfigurationError

from testbed.inputs import AWARDED, REVOKED
from testbed.site import TOPIC
from testbed.tests.conftest import ROOT

RIGHT = {
    "EVENT_BUS_PRODUCER": "edx_event_bus_redis.create_producer",
    "EVENT_BUS_REDIS_CONNECTION_URL": "redis://127.0.0.1:1/0?socket_timeout=2&socket_connect_timeout=2",
    "EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT": 1,
    "EVENT_BUS_PRODUCER_CONFIG": {AWARDED: {TOPIC: {"enabled": True}}, REVOKED: {TOPIC: {"enabled": True}}},
}
KAFKA = {"EVENT_BUS_PRODUCER": "edx_event_bus_kafka.create_producer"}
SERVERS = {"EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"}
REGISTRY = {"EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL": "http://registry:8081"}
MISSING = object()
NO_PRODUCER, ALONE, OTHER_TOPIC, OTHER_KEY = "event_bus.W001", "programs.W001", "programs.W002", "programs.W003"
NO_URL, NO_TIMEOUTS, POLL = "event_bus.W005", "event_bus.W006", "event_bus.W007"


def producer(value):
    """Make a row: another producer."""
    return {"EVENT_BUS_PRODUCER": value}


def awarded(topics):
    """Make a row: other topics of the first event."""
    return {"EVENT_BUS_PRODUCER_CONFIG": RIGHT["EVENT_BUS_PRODUCER_CONFIG"] | {AWARDED: topics}}


def url(value):
    """Make a row: another address of Redis."""
    return {"EVENT_BUS_REDIS_CONNECTION_URL": value}


# Name: changed settings, ids of the warnings, or the error with which openedx-events refuses to start.
ROWS = {
    "right": ({}, []),
    "producer not set": (producer(MISSING), [NO_PRODUCER]),
    "producer empty": (producer(""), [NO_PRODUCER]),
    "producer null": (producer(None), [NO_PRODUCER]),
    "module misspelt": (producer("edx_event_bus_rediss.create_producer"), [NO_PRODUCER]),
    "function misspelt": (producer("edx_event_bus_redis.create_producr"), [NO_PRODUCER]),
    "no dot": (producer("redis"), [NO_PRODUCER]),
    "a colon": (producer("edx_event_bus_redis:create_producer"), [NO_PRODUCER]),
    "not callable": (producer("logging.INFO"), [NO_PRODUCER]),
    "the consumer": (producer("edx_event_bus_redis.RedisEventConsumer"), [NO_PRODUCER]),
    "an int": (producer(3), [NO_PRODUCER]),
    "a list": (producer(["edx_event_bus_redis.create_producer"]), [NO_PRODUCER]),
    "a dict": (producer({"a": 1}), [NO_PRODUCER]),
    "ends with a dot": (producer("edx_event_bus_redis."), [NO_PRODUCER]),
    "starts with a dot": (producer(".create_producer"), [NO_PRODUCER]),
    "a module that raises": (producer("testbed.tests.raises_on_import.create_producer"), [NO_PRODUCER]),
    "Kafka": (KAFKA | SERVERS | REGISTRY, []),
    "Kafka without servers": (KAFKA | REGISTRY, ["event_bus.W003"]),
    "Kafka without a registry": (KAFKA | SERVERS, ["event_bus.W004"]),
    "no address of Redis": (url(MISSING), [NO_URL]),
    "malformed address of Redis": (url("127.0.0.1:1"), [NO_URL]),
    "no time-outs": (url("redis://127.0.0.1:1/0"), [NO_TIMEOUTS]),
    "Tutor's address": (url("redis://@redis:6379/"), [NO_TIMEOUTS]),
    "poll time-out": ({"EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT": 60}, [POLL]),
    "only awarded": ({"EVENT_BUS_PRODUCER_CONFIG": {AWARDED: {TOPIC: {"enabled": True}}}}, [ALONE]),
    "only revoked": ({"EVENT_BUS_PRODUCER_CONFIG": {REVOKED: {TOPIC: {"enabled": True}}}}, [ALONE]),
    "none": ({"EVENT_BUS_PRODUCER_CONFIG": MISSING}, []),
    "none, no producer": ({"EVENT_BUS_PRODUCER_CONFIG": MISSING, **producer(MISSING)}, []),
    "enabled: null": (awarded({TOPIC: {"enabled": None}}), [ALONE]),
    "topic without enabled": (awarded({TOPIC: {"event_key_field": "program_certificate.program.uuid"}}), [ALONE]),
    "topic without anything": (awarded({TOPIC: {}}), [ALONE]),
    "another topic": (
        awarded({"other": {"enabled": True, "event_key_field": "program_certificate.program.uuid"}}),
        [OTHER_TOPIC],
    ),
    "another key": (awarded({TOPIC: {"enabled": True, "event_key_field": "program_certificate.uuid"}}), [OTHER_KEY]),
    "no such key": (awarded({TOPIC: {"enabled": True, "event_key_field": "program_certificate.nope"}}), [OTHER_KEY]),
    "another topic, no key": (awarded({"other": {"enabled": True}}), "missing 'event_key_field'"),
    "event misspelt": (
        {"EVENT_BUS_PRODUCER_CONFIG": {f"{AWARDED}x": {TOPIC: {"enabled": True}}}},
        f"No OpenEdxPublicSignal of type: '{AWARDED}x'",
    ),
    "a text": (awarded({TOPIC: {"enabled": "true"}}), "Expected type: <class 'bool'> for 'enabled'"),
    "a number": (awarded({TOPIC: {"enabled": 1}}), "Expected type: <class 'bool'> for 'enabled'"),
}
# On real processes: a few.
REAL = ("right", "a module that raises", "starts with a dot", "no time-outs", "only awarded", "another topic, no key")


def merged(changes):
    """Return the settings of a row, as production makes them."""
    made = {**copy.deepcopy(RIGHT), **changes}
    config = made["EVENT_BUS_PRODUCER_CONFIG"]
    config = merge_producer_configs(settings.EVENT_BUS_PRODUCER_CONFIG, {} if config is MISSING else config)
    made = {name: value for name, value in made.items() if value is not MISSING}
    return {**made, "EVENT_BUS_PRODUCER_CONFIG": config}


@pytest.mark.parametrize("row", ROWS)
def test_misconfiguration(row):
    changes, expected = ROWS[row]
    with override_settings(**merged(changes)):
        openedx_events = apps.get_app_config("openedx_events")
        if isinstance(expected, str):
            with pytest.raises(ProducerConfigurationError, match=expected.replace("(", r"\(")):
                openedx_events.ready()
            return
        openedx_events.ready()
        messages = run_checks(tags=["event_bus"])
    assert [message.id for message in messages] == expected
    assert all(message.hint for message in messages)


@pytest.mark.e2e
@pytest.mark.parametrize("row", REAL)
def test_real_check(row, tmp_path):
    changes, expected = ROWS[row]
    config = {
        "SECRET_KEY": "x" * 50,
        "JWT_AUTH": {"JWT_SECRET_KEY": "y" * 50, "JWT_ISSUER": "issuer", "JWT_AUDIENCE": "audience"},
        "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        **{name: value for name, value in {**RIGHT, **changes}.items() if value is not MISSING},
    }
    file = tmp_path / "lms.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    run = subprocess.run(
        [sys.executable, "manage.py", "lms", "--settings", "production", "check", "--tag", "event_bus"],
        cwd=ROOT,
        env={**env, "LMS_CFG": str(file)},
        capture_output=True,
        text=True,
        check=False,
    )
    if isinstance(expected, str):
        assert run.returncode == 1
        assert expected in run.stderr.splitlines()[-1]
        return
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert [
        word.strip("()") for word in run.stderr.split() if word.startswith(("(event_bus.W", "(programs.W"))
    ] == expected
