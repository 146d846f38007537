"""
Tests of the system checks of the event bus.
"""

from unittest import mock

import ddt
from django.core.checks import registry
from django.test import SimpleTestCase, override_settings
from openedx_events.event_bus import EventBusProducer

from openedx.core.djangolib.testing.utils import skip_unless_lms
from openedx.core.lib import event_bus_checks

CHECKS = [event_bus_checks.check_producer, event_bus_checks.check_kafka, event_bus_checks.check_redis]
ENABLED = {"some.event": {"topic": {"event_key_field": "key", "enabled": True}}}
DISABLED = {"some.event": {"topic": {"event_key_field": "key", "enabled": False}}}
TIMEOUTS = "socket_timeout=2&socket_connect_timeout=2"
REDIS_PRODUCER = "edx_event_bus_redis.create_producer"
KAFKA_PRODUCER = "edx_event_bus_kafka.create_producer"


class Producer(EventBusProducer):
    """A producer. None may be built here."""

    def __init__(self):
        raise AssertionError("A check has built a producer")

    def send(self, **kwargs):
        """Send nothing."""


def create_producer():
    """Build a producer, if it is called."""
    return Producer()


class NoProducer:
    """Something else, such as a consumer."""


@skip_unless_lms
@ddt.ddt
class EventBusCheckTests(SimpleTestCase):
    """What is warned of, and what is not."""

    def warnings(self, check, config=ENABLED, **settings):  # pylint: disable=dangerous-default-value
        """Run a check, and return the ids and the texts of its warnings."""
        with override_settings(EVENT_BUS_PRODUCER_CONFIG=config, **settings):
            messages = check(app_configs=None)
        assert all(message.hint and not message.hint.endswith(" ") for message in messages)
        return [message.id for message in messages], "".join(message.msg for message in messages)

    def test_are_registered(self):
        for check in CHECKS:
            assert check in registry.registry.get_checks()
            assert "event_bus" in check.tags

    @ddt.data(
        DISABLED,
        {},
        None,
        [],
        {"some.event": {"topic": {"enabled": 1}}},
        {"some.event": None},
        {"some.event": {"topic": {"enabled": None}}},
        {"some.event": {"topic": {}}},
        {"some.event": {"topic": None}},
    )
    def test_nothing_is_warned_of_while_no_event_is_enabled(self, config):
        for producer in (None, REDIS_PRODUCER, KAFKA_PRODUCER):
            for check in CHECKS:
                assert self.warnings(check, config, EVENT_BUS_PRODUCER=producer) == ([], "")

    # The producer

    @ddt.data(
        None,
        "",
        "nonsense",
        "no_such_module.create_producer",
        "django.no_such_attribute",
        ".create_producer",
        "django.",
        3,
        ["django.setup"],
        {"django": "setup"},
        "logging.INFO",
        f"{__name__}.NoProducer",
        "openedx_events.event_bus.NoEventBusProducer",
    )
    def test_unusable_producer(self, producer):
        ids, text = self.warnings(event_bus_checks.check_producer, EVENT_BUS_PRODUCER=producer)

        assert ids == ["event_bus.W001"]
        assert text.startswith("EVENT_BUS_PRODUCER cannot be used (")
        assert "()" not in text

    def test_producer_whose_module_raises(self):
        # As int("10k") in a module of a back end, for example.
        with mock.patch.object(event_bus_checks, "import_string", side_effect=ValueError("10k")):
            ids, text = self.warnings(event_bus_checks.check_producer, EVENT_BUS_PRODUCER=REDIS_PRODUCER)

        assert ids == ["event_bus.W001"]
        assert "(ValueError: 10k)" in text

    @ddt.data(f"{__name__}.create_producer", f"{__name__}.Producer")
    def test_usable_producer(self, producer):
        assert self.warnings(event_bus_checks.check_producer, EVENT_BUS_PRODUCER=producer) == ([], "")

    # Kafka

    @ddt.data(
        ("kafka:9092", "http://registry:8081", []),
        (None, "http://registry:8081", ["event_bus.W003"]),
        ("kafka:9092", "", ["event_bus.W004"]),
        ("", None, ["event_bus.W003", "event_bus.W004"]),
    )
    @ddt.unpack
    def test_kafka_settings(self, servers, registry_url, expected):
        with mock.patch.object(event_bus_checks, "import_string"):
            ids, text = self.warnings(
                event_bus_checks.check_kafka,
                EVENT_BUS_PRODUCER=KAFKA_PRODUCER,
                EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS=servers,
                EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL=registry_url,
            )

        assert ids == expected
        texts = {
            "event_bus.W003": "EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS is not set, so every event is dropped in silence.",
            "event_bus.W004": (
                "EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL is not set, so every event fails in the producer's log."
            ),
        }
        assert text == "".join(texts[name] for name in expected)

    def test_plain_confluent_kafka(self):
        # Whether it is installed or not.
        with mock.patch.object(event_bus_checks, "import_string", side_effect=ImportError("No fastavro")) as imported:
            ids, text = self.warnings(
                event_bus_checks.check_kafka,
                EVENT_BUS_PRODUCER=KAFKA_PRODUCER,
                EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS="kafka:9092",
                EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL="http://registry:8081",
            )

        assert ids == ["event_bus.W002"]
        assert text.startswith("confluent-kafka lacks its Avro part (No fastavro), so every event is dropped")
        imported.assert_called_once_with("confluent_kafka.schema_registry.avro.AvroSerializer")

    # Redis

    @ddt.data(
        (f"redis://redis:6379/0?{TIMEOUTS}", 1, []),
        (f"rediss://:secret@redis:6379/0?{TIMEOUTS}", 1, []),
        (None, 1, ["event_bus.W005"]),
        ("", 1, ["event_bus.W005"]),
        (3, 1, ["event_bus.W005"]),
        ("redis:6379", 1, ["event_bus.W005"]),
        (f"redis://:secret@redis:secret/0?{TIMEOUTS}", 1, ["event_bus.W005"]),
        ("redis://redis:6379/0?socket_timeout=secret", 1, ["event_bus.W005"]),
        ("redis://redis:6379/0", 1, ["event_bus.W006"]),
        ("redis://redis:6379/0?socket_timeout=2", 1, ["event_bus.W006"]),
        ("redis://redis:6379/0?socket_connect_timeout=2", 1, ["event_bus.W006"]),
        ("redis://redis:6379/0?socket_timeout=0&socket_connect_timeout=0", 1, ["event_bus.W006"]),
        (f"redis://redis:6379/0?{TIMEOUTS}", 2, ["event_bus.W007"]),
        (f"redis://redis:6379/0?{TIMEOUTS}", 1.9, ["event_bus.W007"]),
        (f"redis://redis:6379/0?{TIMEOUTS}", 0, ["event_bus.W007"]),
        (f"redis://redis:6379/0?{TIMEOUTS}", -1, ["event_bus.W007"]),
        (f"redis://redis:6379/0?{TIMEOUTS}", "1", ["event_bus.W007"]),
        (f"redis://redis:6379/0?{TIMEOUTS}", None, ["event_bus.W007"]),
    )
    @ddt.unpack
    def test_redis_settings(self, url, poll, expected):
        ids, text = self.warnings(
            event_bus_checks.check_redis,
            EVENT_BUS_PRODUCER=REDIS_PRODUCER,
            EVENT_BUS_REDIS_CONNECTION_URL=url,
            EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT=poll,
        )

        assert ids == expected
        assert ("EVENT_BUS_REDIS_CONNECTION_URL" in text) == bool(expected)
        assert "secret" not in text

    def test_redis_settings_that_are_not_there(self):
        ids, _text = self.warnings(event_bus_checks.check_redis, EVENT_BUS_PRODUCER=REDIS_PRODUCER)
        assert ids == ["event_bus.W005"]

        url = f"redis://redis:6379/0?{TIMEOUTS}"
        ids, text = self.warnings(
            event_bus_checks.check_redis, EVENT_BUS_PRODUCER=REDIS_PRODUCER, EVENT_BUS_REDIS_CONNECTION_URL=url
        )
        assert ids == ["event_bus.W007"]
        assert "(60)" in text

    @ddt.data(event_bus_checks.check_kafka, event_bus_checks.check_redis)
    def test_the_other_bus_is_left_alone(self, check):
        assert self.warnings(check, EVENT_BUS_PRODUCER=f"{__name__}.create_producer") == ([], "")
        assert self.warnings(check, EVENT_BUS_PRODUCER=None) == ([], "")
        assert self.warnings(check, EVENT_BUS_PRODUCER=[REDIS_PRODUCER]) == ([], "")
