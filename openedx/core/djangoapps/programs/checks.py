"""
System checks, run by ``./manage.py lms check`` and before most other management commands.
"""

from django.conf import settings
from django.core.checks import Warning as CheckWarning
from django.core.checks import register
from django.utils.module_loading import import_string
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED


@register
def check_event_bus_producer(app_configs, **kwargs):
    """
    Warn if a program certificate event is enabled on the event bus, but there is no producer: openedx-events would drop
    each event without a word.

    Returns:
        list[CheckMessage]: ``programs.W001``, or nothing.
    """
    enabled = [
        signal.event_type
        for signal in (PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED)
        for topic in getattr(settings, "EVENT_BUS_PRODUCER_CONFIG", {}).get(signal.event_type, {}).values()
        if topic["enabled"]
    ]
    if not enabled:
        return []
    try:
        # Only loaded, not called: a Kafka producer that is built before Celery forks its workers sends nothing.
        import_string(getattr(settings, "EVENT_BUS_PRODUCER", None) or "")
    except ImportError as exc:
        return [
            CheckWarning(
                f"EVENT_BUS_PRODUCER cannot be loaded ({exc}), so these events are dropped: {', '.join(enabled)}",
                hint="Set EVENT_BUS_PRODUCER, for example to 'edx_event_bus_redis.create_producer'.",
                id="programs.W001",
            )
        ]
    return []
