"""
Tests of the system checks of the program certificate events.
"""

import ddt
from django.conf import settings
from django.core.checks import registry, run_checks
from django.test import TestCase, override_settings
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

from openedx.core.djangoapps.programs.checks import KEY_FIELD, TOPIC, check_program_certificate_events
from openedx.core.djangolib.testing.utils import skip_unless_lms

AWARDED, REVOKED = PROGRAM_CERTIFICATE_AWARDED.event_type, PROGRAM_CERTIFICATE_REVOKED.event_type


def entry(enabled=True, topic=TOPIC, key_field=KEY_FIELD):
    """Return the topics of one event."""
    return {topic: {"event_key_field": key_field, "enabled": enabled}}


@skip_unless_lms
@ddt.ddt
class ProgramCertificateEventsCheckTests(TestCase):
    """Both events are enabled, or neither, with the topic and key that consumers expect."""

    def warnings(self, config):
        """Run the check and return its warnings."""
        with override_settings(EVENT_BUS_PRODUCER_CONFIG=config):
            return check_program_certificate_events(app_configs=None)

    def test_is_registered(self):
        assert check_program_certificate_events in registry.registry.get_checks()
        assert "event_bus" in check_program_certificate_events.tags

    def test_the_defaults(self):
        assert not run_checks(tags=["event_bus"])
        assert not self.warnings({AWARDED: entry(False), REVOKED: entry(False)})

    def test_both(self):
        assert not self.warnings({AWARDED: entry(), REVOKED: entry()})

    @ddt.data(
        (AWARDED, REVOKED, "consumers take revoked certificates for valid ones"),
        (REVOKED, AWARDED, "consumers hear of no certificate before it is revoked"),
    )
    @ddt.unpack
    def test_one_alone(self, enabled, missing, consequence):
        for config in ({enabled: entry()}, {enabled: entry(), missing: entry(False)}):
            messages = self.warnings(config)

            assert [message.id for message in messages] == ["programs.W001"]
            assert messages[0].msg == (f"{enabled} is enabled on the event bus, {missing} is not: {consequence}.")
            assert messages[0].hint == (
                f'EVENT_BUS_PRODUCER_CONFIG: {{"{missing}": {{"learning-program-certificate-lifecycle": '
                '{"event_key_field": "program_certificate.program.uuid", "enabled": true}}}'
            )

    def test_another_topic(self):
        messages = self.warnings({AWARDED: entry(topic="other"), REVOKED: entry()})

        assert [message.id for message in messages] == ["programs.W002"]
        assert f"{AWARDED} is sent to other alone" in messages[0].msg

    def test_a_topic_besides(self):
        assert not self.warnings({AWARDED: entry() | entry(topic="analytics"), REVOKED: entry()})

    @ddt.data("program_certificate.uuid", "program_certificate.nope", None)
    def test_another_key(self, key_field):
        messages = self.warnings({AWARDED: entry(), REVOKED: entry(key_field=key_field)})

        assert [message.id for message in messages] == ["programs.W003"]
        assert f"{REVOKED} has the key {key_field!r}" in messages[0].msg

    @ddt.data(
        None,
        [],
        "text",
        {AWARDED: None},
        {AWARDED: []},
        {AWARDED: {TOPIC: None}},
        {AWARDED: {TOPIC: {}}},
        {AWARDED: {TOPIC: {"enabled": True}}},
        {AWARDED: entry("true")},
        {REVOKED: entry(1)},
    )
    def test_a_malformed_configuration_raises_nothing(self, config):
        # openedx-events refuses to start with most of them.
        assert not self.warnings(config)

    def test_topic_and_key_are_those_of_the_settings(self):
        for event_type in (AWARDED, REVOKED):
            assert settings.EVENT_BUS_PRODUCER_CONFIG[event_type] == entry(False)
