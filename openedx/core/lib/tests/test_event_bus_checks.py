"""
Tests of the system checks of the event bus.
"""

from typing import Any
from unittest import mock

import ddt
from django.core.checks import registry
from django.test import SimpleTestCase, override_settings

from openedx.core.djangolib.testing.utils import skip_unless_lms
from openedx.core.lib import event_bus_checks

ENABLED = {"some.event": {"topic": {"event_key_field": "key", "enabled": True}}}
REDIS = "edx_event_bus_redis.create_producer"
KAFKA = "edx_event_bus_kafka.create_producer"
AVRO = "confluent_kafka.schema_registry.avro.AvroSerializer"
ADDRESS = "redis://redis:6379/0"
TIMEOUTS = "socket_timeout=2&socket_connect_timeout=2"
URL = f"{ADDRESS}?{TIMEOUTS}"
KAFKA_SETTINGS = {
    "EVENT_BUS_PRODUCER": KAFKA,
    "EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    "EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL": "http://registry:8081",
}
REDIS_SETTINGS = {"EVENT_BUS_PRODUCER": REDIS, "EVENT_BUS_REDIS_CONNECTION_URL": URL}
BROKEN: list = [None, 3, [], {}]
Result = tuple[list[str], list[str]]


@skip_unless_lms
@ddt.ddt
class EventBusCheckTests(SimpleTestCase):
    """Right settings are silent, wrong ones are reported, and nothing is raised."""

    def run_check(self, config: Any = ENABLED, **settings: Any) -> Result:  # pylint: disable=dangerous-default-value
        """Run the check. Return the ids and the texts of its warnings."""
        with override_settings(EVENT_BUS_PRODUCER_CONFIG=config, **settings):
            messages = event_bus_checks.check_event_bus(app_configs=None)
        assert all(message.hint for message in messages)
        return [str(message.id).removeprefix("event_bus.") for message in messages], [
            message.msg for message in messages
        ]

    def run_kafka(self, **settings: object) -> Result:
        """Run the check with settings of Kafka, as if its libraries were installed."""
        with mock.patch.object(event_bus_checks, "import_string"):
            return self.run_check(**KAFKA_SETTINGS | settings)

    def run_redis(self, **settings: object) -> Result:
        """Run the check with settings of Redis, as if its library were installed."""
        real = event_bus_checks.import_string
        with mock.patch.object(event_bus_checks, "import_string", lambda path: path if path == REDIS else real(path)):
            return self.run_check(**REDIS_SETTINGS | settings)

    def test_the_url_in_the_hints_is_right(self) -> None:
        hints = [row.hint for row in event_bus_checks.ROWS if row.number in (5, 6)]
        assert all(hint.startswith(f"For example: {URL}") for hint in hints)

    def test_is_a_deployment_check(self) -> None:
        check = event_bus_checks.check_event_bus
        assert check in registry.registry.get_checks(include_deployment_checks=True)
        assert check not in registry.registry.get_checks()
        assert check.tags == ("event_bus",)

    @ddt.data(
        {"some.event": {"topic": {"event_key_field": "key", "enabled": False}}},
        *[config for bad in BROKEN for config in (bad, {"event": bad}, {"event": {"topic": bad}})],
        {"some.event": {"topic": {"enabled": None}}},
        {"some.event": {"topic": {"enabled": 1}}},
    )
    def test_nothing_is_reported_while_no_event_is_enabled(self, config: object) -> None:
        assert self.run_check(config, EVENT_BUS_PRODUCER=None) == ([], [])

    # The producer

    @ddt.data(None, "")
    def test_no_producer(self, producer: object) -> None:
        text = "EVENT_BUS_PRODUCER is not set, so every event may be dropped without a message."
        assert self.run_check(EVENT_BUS_PRODUCER=producer) == (["W001"], [text])

    @ddt.data("edx_event_bus_redis:create_producer", "openedx_events.event_bus.NoEventBusProducer", 3, [REDIS])
    def test_another_producer(self, producer: object) -> None:
        ids, [text] = self.run_check(EVENT_BUS_PRODUCER=producer)
        assert ids == ["W001"]
        assert text.startswith(f"EVENT_BUS_PRODUCER is neither {REDIS} nor {KAFKA}, so")

    @ddt.data(ImportError("no module"), ValueError("10k"), SystemExit("bye"), KeyboardInterrupt("stop"))
    def test_producer_that_cannot_be_imported(self, error: BaseException) -> None:
        with mock.patch.object(event_bus_checks, "import_string", side_effect=error):
            ids, texts = self.run_check(**KAFKA_SETTINGS)
        assert ids == ["W001"]
        assert f"EVENT_BUS_PRODUCER cannot be used ({type(error).__name__}: {error}), so" in texts[0]

    # Kafka

    @ddt.data(
        {},
        {"EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL": "https://registry"},
        {"EVENT_BUS_KAFKA_API_KEY": "key", "EVENT_BUS_KAFKA_API_SECRET": "secret"},
        {"EVENT_BUS_KAFKA_API_KEY": None, "EVENT_BUS_KAFKA_API_SECRET": ""},
        # Settings of Redis do not matter.
        {"EVENT_BUS_REDIS_CONNECTION_URL": None, "EVENT_BUS_REDIS_STREAM_MAX_LEN": 0},
    )
    def test_kafka(self, settings: dict[str, object]) -> None:
        assert self.run_kafka(**settings) == ([], [])

    @ddt.data(
        ("W003", "BOOTSTRAP_SERVERS", None, "is not set, so every event is lost."),
        ("W003", "BOOTSTRAP_SERVERS", ["kafka:9092"], "is not a string without a scheme, so every event is lost."),
        ("W003", "BOOTSTRAP_SERVERS", "http://kafka", "is not a string without a scheme, so every event is lost."),
        ("W004", "SCHEMA_REGISTRY_URL", "", "is not set, so every event is lost."),
        ("W004", "SCHEMA_REGISTRY_URL", "registry:8081", "does not begin with http:// or https://, so every event is"),
        ("W004", "SCHEMA_REGISTRY_URL", 3, "cannot be used (AttributeError), so every event is lost."),
        ("W010", "API_KEY", "key", "and EVENT_BUS_KAFKA_API_SECRET are not both set, so the producer connects without"),
        ("W010", "SCHEMA_REGISTRY_API_KEY", "key", "and EVENT_BUS_KAFKA_SCHEMA_REGISTRY_API_SECRET are not both set"),
    )
    @ddt.unpack
    def test_wrong_setting_of_kafka(self, number: str, name: str, value: object, text: str) -> None:
        ids, texts = self.run_kafka(**{f"EVENT_BUS_KAFKA_{name}": value})
        assert ids == [number]
        assert texts[0].startswith(f"EVENT_BUS_KAFKA_{name} {text}")

    @ddt.data("API", "SCHEMA_REGISTRY_API")
    def test_secret_without_key(self, name: str) -> None:
        assert self.run_kafka(**{f"EVENT_BUS_KAFKA_{name}_SECRET": "secret"})[0] == ["W010"]

    def test_plain_confluent_kafka(self) -> None:
        results = [mock.Mock(), ImportError("fastavro")]
        with mock.patch.object(event_bus_checks, "import_string", side_effect=results) as mocked:
            ids, texts = self.run_check(EVENT_BUS_PRODUCER=KAFKA)
        assert ids == ["W002", "W003", "W004"]
        assert texts[0].startswith("EVENT_BUS_PRODUCER cannot be used (ImportError: fastavro), so every event is drop")
        assert mocked.mock_calls == [mock.call(KAFKA), mock.call(AVRO)]

    # Redis

    @ddt.data(
        URL,
        f"rediss://:secret@redis:6379/1/?{TIMEOUTS}",
        f"redis://redis?{TIMEOUTS}&health_check_interval=10&max_connections=5",
        f"{ADDRESS}?socket_timeout=60",
        "unix:///run/redis.sock?socket_timeout=2",
        "unix:///run/redis.sock",
    )
    def test_redis(self, url: str) -> None:
        # Settings of Kafka do not matter.
        settings = {"EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS": None, "EVENT_BUS_KAFKA_API_KEY": "key"}
        assert self.run_redis(EVENT_BUS_REDIS_CONNECTION_URL=url, **settings) == ([], [])

    @ddt.data(
        ("W005", None, "is not set, so every event is lost."),
        ("W005", "", "is not set, so"),
        ("W005", 3, "cannot be used (AttributeError), so"),
        ("W005", "redis:6379", "has no host, so"),
        ("W005", f"redis:///0?{TIMEOUTS}", "has no host, so"),
        ("W005", f"unix://?{TIMEOUTS}", "has no host, so"),
        ("W005", f"redis://{{{{ REDIS_HOST }}}}:6379/0?{TIMEOUTS}", "has a host that contains {, so"),
        ("W005", f"redis://redis:6379/secret?{TIMEOUTS}", "has a path that is not a database number, so"),
        ("W005", f"http://redis:6379/0?{TIMEOUTS}", "cannot be used (ValueError), so"),
        ("W005", f"redis://:secret@redis:secret/0?{TIMEOUTS}", "cannot be used (ValueError), so"),
        ("W005", f"{ADDRESS}?socket_timeout=secret", "cannot be used (ValueError), so"),
        ("W005", f"{ADDRESS}?socket_timout=2", "has an option that redis-py does not know, so"),
        ("W006", ADDRESS, "has no socket_timeout, so a Redis that does not answer can block the sender."),
        ("W006", f"{ADDRESS}?socket_connect_timeout=2", "has no socket_timeout, so"),
        ("W006", f"{ADDRESS}?socket_timeout=0", "has a socket_timeout that is not above 0 and at most 60 seconds, so"),
        ("W006", f"{ADDRESS}?socket_timeout=61", "has a socket_timeout that is not"),
        ("W006", f"{ADDRESS}?socket_timeout=2&socket_connect_timeout=0", "has a socket_connect_timeout that is not"),
        ("W006", f"{ADDRESS}?socket_timeout=2&socket_connect_timeout=2000", "has a socket_connect_timeout that is not"),
        ("W006", "unix:///run/redis.sock?socket_timeout=2000", "has a socket_timeout that is not"),
    )
    @ddt.unpack
    def test_wrong_url_of_redis(self, number: str, url: object, text: str) -> None:
        ids, texts = self.run_redis(EVENT_BUS_REDIS_CONNECTION_URL=url)
        assert ids == [number]
        assert texts[0].startswith(f"EVENT_BUS_REDIS_CONNECTION_URL {text}")
        assert "secret" not in texts[0]

    @ddt.data(0, -1, 2, 1.9, "1", None)
    def test_wrong_poll_timeout(self, poll: object) -> None:
        settings = {"EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT": poll}
        assert self.run_redis(**settings) == ([], [])
        ids, [text] = self.run_redis(EVENT_BUS_CONSUMER="some.consumer", **settings)
        assert ids == ["W007"]
        assert text == (
            "EVENT_BUS_REDIS_CONNECTION_URL has socket_timeout=2, and EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT is "
            f"{poll!r}, so a consumer fails each time it waits for events."
        )

    def test_poll_timeout(self) -> None:
        consumer = {"EVENT_BUS_CONSUMER": "some.consumer"}
        assert self.run_redis(EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT=1, **consumer) == ([], [])
        # The default of 60 seconds is too long.
        ids, texts = self.run_redis(**consumer)
        assert ids == ["W007"]
        assert "POLL_TIMEOUT is 60," in texts[0]

    def test_redis_py_without_a_time_out_of_its_own(self) -> None:
        # Before redis-py 8, a connection has no time-out if the URL has none, and a consumer can wait for any time.
        with mock.patch.object(event_bus_checks, "import_string") as mocked:
            pool = mocked.return_value.from_url.return_value
            pool.connection_kwargs = {}
            pool.make_connection.return_value.socket_timeout = None
            made = {"EVENT_BUS_CONSUMER": "some.consumer", "EVENT_BUS_REDIS_CONNECTION_URL": "unix:///run/redis.sock"}
            assert self.run_check(**REDIS_SETTINGS | made) == ([], [])

    @ddt.data((0, "is below 1"), (-1, "is below 1"), ("10k", "cannot be used (ValueError: invalid literal"))
    @ddt.unpack
    def test_length_of_the_stream(self, length: object, text: str) -> None:
        ids, texts = self.run_redis(EVENT_BUS_REDIS_STREAM_MAX_LEN=length)
        assert ids == ["W008"]
        assert texts[0].startswith(f"EVENT_BUS_REDIS_STREAM_MAX_LEN {text}")
        assert texts[0].endswith(", so the stream keeps no event.")
        for right in (1, "1000"):
            assert self.run_redis(EVENT_BUS_REDIS_STREAM_MAX_LEN=right) == ([], [])

    def test_topic_prefix(self) -> None:
        for run in (self.run_redis, self.run_kafka):
            ids, texts = run(EVENT_BUS_TOPIC_PREFIX="prod-")
            assert ids == ["W009"]
            assert texts[0].startswith("EVENT_BUS_TOPIC_PREFIX ends in -, so")
            for right in ("prod", "my-prod", "", None, 3):
                assert run(EVENT_BUS_TOPIC_PREFIX=right) == ([], [])
