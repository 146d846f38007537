"""
System checks of the program certificate events: ``./manage.py lms check --tag event_bus``.
"""

from django.conf import settings
from django.core.checks import Warning as CheckWarning
from django.core.checks import register
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

# What consumers of these events expect.
TOPIC = "learning-program-certificate-lifecycle"
KEY_FIELD = "program_certificate.program.uuid"

# What consumers that get one of the two events alone believe.
ALONE = {
    PROGRAM_CERTIFICATE_AWARDED.event_type: "consumers take revoked certificates for valid ones",
    PROGRAM_CERTIFICATE_REVOKED.event_type: "consumers hear of no certificate before it is revoked",
}


@register("event_bus")
def check_program_certificate_events(app_configs, **kwargs):
    """
    Warn if one of the two events is enabled alone, or with another topic or key than consumers expect.

    Returns:
        list[CheckMessage]: ``programs.W001`` to ``programs.W003``, or nothing.
    """
    # Event type -> topic -> key field.
    enabled = {event_type: topics for event_type in ALONE if (topics := _get_enabled_topics(event_type))}
    messages = []
    if len(enabled) == 1:
        [(event_type, missing)] = [(one, other) for one in enabled for other in ALONE if other != one]
        messages.append(
            _warn(1, f"{event_type} is enabled on the event bus, {missing} is not: {ALONE[event_type]}.", missing)
        )
    for event_type, topics in enabled.items():
        if TOPIC not in topics:
            text = f"{event_type} is sent to {', '.join(topics)} alone: consumers of {TOPIC} do not hear of it."
            messages.append(_warn(2, text, event_type))
        for topic, key_field in topics.items():
            if key_field != KEY_FIELD:
                text = (
                    f"{event_type} has the key {key_field!r} on {topic}. On Kafka it is lost if it has no such field, "
                    "and the two events of a certificate may swap places if that is not the program's uuid."
                )
                messages.append(_warn(3, text, event_type))
    return messages


def _get_enabled_topics(event_type: str) -> dict[str, object]:
    """Return topic -> key field, of the topics of an event that are enabled; nothing of a malformed configuration."""
    try:
        topics = settings.EVENT_BUS_PRODUCER_CONFIG[event_type]
        return {topic: entry["event_key_field"] for topic, entry in topics.items() if entry["enabled"] is True}
    except (AttributeError, KeyError, TypeError):
        return {}


def _warn(number: int, text: str, event_type: str) -> CheckWarning:
    """Make a warning, with the entry that is right for an event."""
    entry = f'{{"{TOPIC}": {{"event_key_field": "{KEY_FIELD}", "enabled": true}}}}'
    hint = f'EVENT_BUS_PRODUCER_CONFIG: {{"{event_type}": {entry}}}'
    return CheckWarning(text, hint=hint, id=f"programs.W00{number}")
