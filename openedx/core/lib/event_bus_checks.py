"""
System checks of the event bus, whatever the event: ``./manage.py lms check --tag event_bus``.

With some settings openedx-events drops every event in silence, with others a bus that is away holds whoever sends. The
checks warn of them if any event is enabled. They read settings and import what these name; none builds a producer,
because a Celery worker runs the checks before it forks, and a Kafka producer does not outlive a fork.
"""

from inspect import isclass

from django.conf import settings
from django.core.checks import Warning as CheckWarning
from django.core.checks import register
from django.utils.module_loading import import_string
from openedx_events.event_bus import EventBusProducer, NoEventBusProducer

REDIS = "edx_event_bus_redis."
KAFKA = "edx_event_bus_kafka."
# What edx-event-bus-redis takes if EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT is not set, in seconds.
DEFAULT_POLL_TIMEOUT = 60


@register("event_bus")
def check_producer(app_configs, **kwargs):
    """
    Warn if ``EVENT_BUS_PRODUCER`` leads to no producer: openedx-events would drop each event.

    Returns:
        list[CheckMessage]: ``event_bus.W001``, or nothing.
    """
    if not _is_any_event_enabled():
        return []
    try:
        producer = import_string(_get_producer())
        if callable(producer) and _may_build_producer(producer):
            return []
        problem = "it names something that builds no producer"
    except Exception as exc:  # pylint: disable=broad-except
        # Whatever the setting holds, and whatever importing it does: no management command may fail for it.
        problem = f"{type(exc).__name__}: {exc}"
    return [
        CheckWarning(
            f"EVENT_BUS_PRODUCER cannot be used ({problem}), so every event is dropped in silence.",
            hint="EVENT_BUS_PRODUCER: edx_event_bus_redis.create_producer (or edx_event_bus_kafka.create_producer)",
            id="event_bus.W001",
        )
    ]


@register("event_bus")
def check_kafka(app_configs, **kwargs):
    """
    Warn if Kafka is the bus, and what its producer needs is missing.

    Returns:
        list[CheckMessage]: ``event_bus.W002`` to ``W004``, or nothing.
    """
    if not (_get_producer().startswith(KAFKA) and _is_any_event_enabled()):
        return []
    messages = []
    try:
        import_string("confluent_kafka.schema_registry.avro.AvroSerializer")
    except Exception as exc:  # pylint: disable=broad-except
        messages.append(
            CheckWarning(
                f"confluent-kafka lacks its Avro part ({exc}), so every event is dropped in silence.",
                hint="pip install 'confluent-kafka[avro,schemaregistry]'",
                id="event_bus.W002",
            )
        )
    for name, consequence, hint, number in (
        ("EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS", "every event is dropped in silence", "kafka:9092", 3),
        ("EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL", "every event fails in the producer's log", "http://registry:8081", 4),
    ):
        if not getattr(settings, name, None):
            messages.append(
                CheckWarning(
                    f"{name} is not set, so {consequence}.", hint=f"{name}: {hint}", id=f"event_bus.W00{number}"
                )
            )
    return messages


@register("event_bus")
def check_redis(app_configs, **kwargs):
    """
    Warn if Redis is the bus, and its address is unusable or its time-outs are missing or contradict each other.

    Returns:
        list[CheckMessage]: one of ``event_bus.W005`` to ``W007``, or nothing.
    """
    if not (_get_producer().startswith(REDIS) and _is_any_event_enabled()):
        return []
    hint = "EVENT_BUS_REDIS_CONNECTION_URL: redis://redis:6379/0?socket_timeout=2&socket_connect_timeout=2"
    try:
        options = import_string("redis.connection.parse_url")(settings.EVENT_BUS_REDIS_CONNECTION_URL)
    except Exception as exc:  # pylint: disable=broad-except
        # Not its message, which may quote a password.
        text = f"EVENT_BUS_REDIS_CONNECTION_URL is missing or malformed ({type(exc).__name__}), so every event is lost."
        return [CheckWarning(text, hint=hint, id="event_bus.W005")]
    if not (options.get("socket_timeout") and options.get("socket_connect_timeout")):
        text = (
            "EVENT_BUS_REDIS_CONNECTION_URL has no time-outs (or other settings, such as Tutor's, replace yours): a "
            "Redis that accepts connections and stays silent holds whoever sends an event, before redis-py 8 without a "
            "bound."
        )
        return [CheckWarning(text, hint=hint, id="event_bus.W006")]
    poll = getattr(settings, "EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT", DEFAULT_POLL_TIMEOUT)
    if not (isinstance(poll, int) and 0 < poll < options["socket_timeout"]):
        text = (
            f"EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT ({poll!r}) is no whole number above 0 and below socket_timeout "
            f"({options['socket_timeout']:g}) in EVENT_BUS_REDIS_CONNECTION_URL: a consumer fails each time it waits "
            "for events."
        )
        return [CheckWarning(text, hint="EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT: 1", id="event_bus.W007")]
    return []


def _is_any_event_enabled() -> bool:
    """Tell whether the bus takes any event; not of a configuration with which openedx-events refuses to start."""
    try:
        topics = [topic for event in settings.EVENT_BUS_PRODUCER_CONFIG.values() for topic in event.values()]
        return any(topic["enabled"] is True for topic in topics)
    except (AttributeError, KeyError, TypeError):
        return False


def _get_producer() -> str:
    """Return the setting, as text whatever it holds."""
    return str(getattr(settings, "EVENT_BUS_PRODUCER", None) or "")


def _may_build_producer(producer: object) -> bool:
    """Tell whether calling something may build a producer. A class builds its own kind, of a function nobody knows."""
    return not isclass(producer) or (
        issubclass(producer, EventBusProducer) and not issubclass(producer, NoEventBusProducer)
    )
