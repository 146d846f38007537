"""
System check of the program certificate events: ``./manage.py lms check --deploy --tag event_bus --fail-level WARNING``.
"""

from django.conf import settings
from django.core.checks import Warning as CheckWarning
from django.core.checks import register
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

TOPIC = "learning-program-certificate-lifecycle"  # what consumers expect
KEY_FIELD = "program_certificate.program.uuid"
HINT = f'EVENT_BUS_PRODUCER_CONFIG: {{"%s": {{"{TOPIC}": {{"event_key_field": "{KEY_FIELD}", "enabled": true}}}}}}'
# Event type -> what happens if only the other event is enabled.
EVENTS = {
    PROGRAM_CERTIFICATE_AWARDED.event_type: "consumers receive revocations of certificates they never received",
    PROGRAM_CERTIFICATE_REVOKED.event_type: "consumers keep revoked certificates as valid ones",
}


@register("event_bus", deploy=True)
def check_program_certificate_events(app_configs: object, **kwargs: object) -> list[CheckWarning]:
    """Warn if only one of the two events is enabled, or an event has another topic or key than consumers expect."""
    messages = []
    enabled = {event_type: get_enabled_topics(event_type) for event_type in EVENTS}
    is_kafka = getattr(settings, "EVENT_BUS_PRODUCER", None) == "edx_event_bus_kafka.create_producer"
    for event_type, topics in enabled.items() if any(enabled.values()) else ():
        if not topics:
            number, text = 1, f"is not enabled, but the other event is: {EVENTS[event_type]}"
        elif TOPIC not in topics:
            number, text = 2, f"is not sent to {TOPIC}, where consumers expect it, but to {', '.join(map(str, topics))}"
        elif is_kafka and topics[TOPIC] != KEY_FIELD:
            number, text = 3, f"has the key {topics[TOPIC]!r}, so Kafka may lose it or deliver it in another order"
        else:
            continue
        messages.append(CheckWarning(f"{event_type} {text}.", hint=HINT % event_type, id=f"programs.W00{number}"))
    return messages


def get_enabled_topics(event_type: str) -> dict[object, object]:
    """Return topic -> key of the topics to which an event is sent. Return none if the configuration is malformed."""
    try:
        topics = settings.EVENT_BUS_PRODUCER_CONFIG[event_type]
        return {topic: entry["event_key_field"] for topic, entry in topics.items() if entry["enabled"] is True}
    except (AttributeError, KeyError, TypeError):
        return {}
