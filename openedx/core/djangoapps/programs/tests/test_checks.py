"""
Tests of the system checks.
"""

import ddt
from django.core.checks import registry
from django.test import TestCase, override_settings
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

from openedx.core.djangoapps.programs.checks import check_event_bus_producer
from openedx.core.djangolib.testing.utils import skip_unless_lms


def producer_config(awarded, revoked):
    """Return a producer configuration with both events enabled or not."""
    return {
        signal.event_type: {"topic": {"event_key_field": "program_certificate.program.uuid", "enabled": enabled}}
        for signal, enabled in ((PROGRAM_CERTIFICATE_AWARDED, awarded), (PROGRAM_CERTIFICATE_REVOKED, revoked))
    }


@skip_unless_lms
@ddt.ddt
class EventBusProducerCheckTests(TestCase):
    """Events that are enabled need a producer."""

    def warnings(self, **settings):
        """Run the check and return the texts of its warnings."""
        with override_settings(**settings):
            return [message.msg for message in check_event_bus_producer(app_configs=None)]

    def test_is_registered(self):
        assert check_event_bus_producer in registry.registry.get_checks()

    @ddt.data(None, "", "no_such_module.create_producer", "django.no_such_attribute", "nonsense")
    def test_unusable_producer(self, producer):
        [text] = self.warnings(EVENT_BUS_PRODUCER_CONFIG=producer_config(True, False), EVENT_BUS_PRODUCER=producer)

        assert PROGRAM_CERTIFICATE_AWARDED.event_type in text
        assert PROGRAM_CERTIFICATE_REVOKED.event_type not in text

    def test_usable_producer(self):
        assert not self.warnings(
            EVENT_BUS_PRODUCER_CONFIG=producer_config(True, True),
            EVENT_BUS_PRODUCER="openedx_events.event_bus.get_producer",
        )

    def test_disabled_events(self):
        assert not self.warnings(EVENT_BUS_PRODUCER_CONFIG=producer_config(False, False), EVENT_BUS_PRODUCER=None)
        assert not self.warnings(EVENT_BUS_PRODUCER_CONFIG={}, EVENT_BUS_PRODUCER=None)
