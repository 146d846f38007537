"""
System checks of the event bus: ``./manage.py lms check --deploy --tag event_bus --fail-level WARNING``.

They are deployment checks because they import the libraries of the event bus, which is slow. They open no connection.
"""

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import Warning as CheckWarning
from django.core.checks import register
from django.utils.module_loading import import_string

REDIS = "edx_event_bus_redis.create_producer"
KAFKA = "edx_event_bus_kafka.create_producer"
REDIS_URL = "redis://redis:6379/0?socket_timeout=2&socket_connect_timeout=2"


def _find_url_problem(url: str) -> str:
    """Return what is wrong with the URL of Redis, or an empty string."""
    parts = urlsplit(url)
    is_socket = parts.scheme == "unix"
    host = parts.path if is_socket else parts.hostname
    if not host or "{" in host:
        return "has a host that contains {" if host else "has no host"
    if not is_socket and not (parts.path.strip("/") or "0").isdecimal():
        return "has a path that is not a database number"
    try:
        import_string("redis.ConnectionPool").from_url(url).make_connection()  # does not connect
    except TypeError:
        return "has an option that redis-py does not know"
    return ""


def _find_timeout_problem(url: str) -> str:
    """Return what is wrong with the time-outs in the URL of Redis, or an empty string."""
    options = import_string("redis.ConnectionPool").from_url(url).connection_kwargs
    # Without socket_connect_timeout, redis-py has another time-out. A Unix socket does not depend on a network.
    if "socket_timeout" not in options and not url.startswith("unix:"):
        return "has no socket_timeout"
    for name in ("socket_timeout", "socket_connect_timeout"):
        if not 0 < options.get(name, 1) <= 60:  # somebody may have meant milliseconds
            return f"has a {name} that is not above 0 and at most 60 seconds"
    return ""


def _find_poll_problem(url: str) -> str:
    """Return why a consumer cannot wait as long as EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT says, or an empty string."""
    # redis-py 8 has a time-out if the URL has none.
    timeout = import_string("redis.ConnectionPool").from_url(url).make_connection().socket_timeout or float("inf")
    poll = getattr(settings, "EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT", 60)
    if not getattr(settings, "EVENT_BUS_CONSUMER", None) or (isinstance(poll, int) and 0 < poll < timeout):
        return ""
    return f"has socket_timeout={timeout:g}, and EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT is {poll!r}"


def _find_key_problem(secret: str) -> Callable[[object], str]:
    return lambda key: "" if bool(key) == bool(getattr(settings, secret, None)) else f"and {secret} are not both set"


class Row(NamedTuple):
    """What can be wrong with a setting: ``find_problem`` gets its value. A setting without a default must be set."""

    number: int
    setting: str
    find_problem: Callable
    consequence: str
    hint: str
    producer: str | None = None  # None: whatever the producer
    default: object = None


# Only the first problem of a setting is reported.
# fmt: off
ROWS = (
    Row(1, "EVENT_BUS_PRODUCER",
        lambda path: "" if path in (REDIS, KAFKA) and import_string(path) else f"is neither {REDIS} nor {KAFKA}",
        "every event may be dropped without a message",
        f"For example: {REDIS}. To use another producer, add event_bus.W001 to SILENCED_SYSTEM_CHECKS."),
    Row(2, "EVENT_BUS_PRODUCER", lambda _: import_string("confluent_kafka.schema_registry.avro.AvroSerializer") and "",
        "every event is dropped without a message", "pip install 'confluent-kafka[avro,schemaregistry]'", KAFKA),
    Row(3, "EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS",
        lambda hosts: "" if isinstance(hosts, str) and "://" not in hosts else "is not a string without a scheme",
        "every event is lost", "For example: kafka:9092", KAFKA),
    Row(4, "EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL",
        lambda url: "" if url.startswith(("http://", "https://")) else "does not begin with http:// or https://",
        "every event is lost", "For example: http://registry:8081", KAFKA),
    Row(5, "EVENT_BUS_REDIS_CONNECTION_URL", _find_url_problem, "every event is lost",
        f"For example: {REDIS_URL}", REDIS),
    Row(6, "EVENT_BUS_REDIS_CONNECTION_URL", _find_timeout_problem, "a Redis that does not answer can block the sender",
        f"For example: {REDIS_URL}. Other settings, such as Tutor's, may replace yours.", REDIS),
    Row(7, "EVENT_BUS_REDIS_CONNECTION_URL", _find_poll_problem, "a consumer fails each time it waits for events",
        "Set EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT to a whole number above 0 and below socket_timeout.", REDIS),
    Row(8, "EVENT_BUS_REDIS_STREAM_MAX_LEN", lambda length: "" if int(length) > 0 else "is below 1",
        "the stream keeps no event", "For example: 10000", REDIS, 10_000),
    Row(9, "EVENT_BUS_TOPIC_PREFIX", lambda prefix: "ends in -" if str(prefix).endswith("-") else "",
        "the name of each topic has two hyphens after the prefix", "Remove the hyphen.", None, ""),
    Row(10, "EVENT_BUS_KAFKA_API_KEY", _find_key_problem("EVENT_BUS_KAFKA_API_SECRET"),
        "the producer connects without authentication", "Set both, or neither.", KAFKA, ""),
    Row(10, "EVENT_BUS_KAFKA_SCHEMA_REGISTRY_API_KEY", _find_key_problem("EVENT_BUS_KAFKA_SCHEMA_REGISTRY_API_SECRET"),
        "the schema registry may refuse the producer", "Set both, or neither.", KAFKA, ""),
)
# fmt: on


@register("event_bus", deploy=True)
def check_event_bus(app_configs: object, **kwargs: object) -> list[CheckWarning]:
    """Warn about settings with which events are lost, or with which the event bus can block the sender."""
    messages: dict[str, CheckWarning] = {}
    producer = getattr(settings, "EVENT_BUS_PRODUCER", None)
    for row in ROWS if _is_any_event_enabled() else ():
        if row.producer in (None, producer) and row.setting not in messages and (problem := _find_problem(row)):
            text = f"{row.setting} {problem}, so {row.consequence}."
            messages[row.setting] = CheckWarning(text, hint=row.hint, id=f"event_bus.W{row.number:03}")
    return list(messages.values())


def _find_problem(row: Row) -> str:
    """Return what is wrong with a setting, or an empty string."""
    value = getattr(settings, row.setting, row.default)
    if row.default is None and value in (None, ""):
        return "is not set"
    try:
        return row.find_problem(value)
    except BaseException as exc:
        # A library may even raise SystemExit when it is imported. A message about a URL may contain a password.
        return f"cannot be used ({type(exc).__name__}{'' if row.setting.endswith('_URL') else f': {exc}'})"


def _is_any_event_enabled() -> bool:
    """Tell whether an event is sent to the event bus. No event is if the configuration is malformed."""
    try:
        topics = [topic for event in settings.EVENT_BUS_PRODUCER_CONFIG.values() for topic in event.values()]
        return any(topic["enabled"] is True for topic in topics)
    except (AttributeError, KeyError, TypeError):
        return False
