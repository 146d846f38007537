"""
Tests of the system checks of the program certificate events.
"""

import ddt
from django.core.checks import Warning as CheckWarning
from django.core.checks import registry, run_checks
from django.test import TestCase, override_settings
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

from openedx.core.djangoapps.programs.checks import KEY_FIELD, TOPIC, check_program_certificate_events
from openedx.core.djangolib.testing.utils import skip_unless_lms

AWARDED, REVOKED = PROGRAM_CERTIFICATE_AWARDED.event_type, PROGRAM_CERTIFICATE_REVOKED.event_type
BROKEN: list = [None, "text", 3, [], {}]


def entry(enabled: object = True, topic: object = TOPIC, key_field: str | None = KEY_FIELD) -> dict[object, dict]:
    """Return the topics of one event."""
    return {topic: {"event_key_field": key_field, "enabled": enabled}}


@skip_unless_lms
@ddt.ddt
class ProgramCertificateEventsCheckTests(TestCase):
    """Both events are enabled, or neither, with the topic and key that consumers expect."""

    def warnings(self, config: object, bus: str = "redis") -> list[CheckWarning]:
        """Run the check and return its warnings."""
        producer = f"edx_event_bus_{bus}.create_producer"
        with override_settings(EVENT_BUS_PRODUCER_CONFIG=config, EVENT_BUS_PRODUCER=producer):
            return check_program_certificate_events(app_configs=None)

    def test_is_a_deployment_check(self) -> None:
        assert check_program_certificate_events in registry.registry.get_checks(include_deployment_checks=True)
        assert check_program_certificate_events not in registry.registry.get_checks()
        assert check_program_certificate_events.tags == ("event_bus",)

    def test_the_defaults(self) -> None:
        assert not run_checks(tags=["event_bus"], include_deployment_checks=True)
        assert not self.warnings({AWARDED: entry(False), REVOKED: entry(False)})

    @ddt.data("redis", "kafka")
    def test_both(self, bus: str) -> None:
        assert not self.warnings({AWARDED: entry(), REVOKED: entry()}, bus)

    @ddt.data(
        (AWARDED, REVOKED, "consumers keep revoked certificates as valid ones"),
        (REVOKED, AWARDED, "consumers receive revocations of certificates they never received"),
    )
    @ddt.unpack
    def test_one_alone(self, enabled: str, missing: str, consequence: str) -> None:
        for config in ({enabled: entry()}, {enabled: entry(), missing: entry(False)}):
            messages = self.warnings(config)

            assert [message.id for message in messages] == ["programs.W001"]
            assert messages[0].msg == f"{missing} is not enabled, but the other event is: {consequence}."
            assert messages[0].hint == (
                f'EVENT_BUS_PRODUCER_CONFIG: {{"{missing}": {{"learning-program-certificate-lifecycle": '
                '{"event_key_field": "program_certificate.program.uuid", "enabled": true}}}'
            )

    @ddt.data("other", 3, None)
    def test_another_topic(self, topic: object) -> None:
        messages = self.warnings({AWARDED: entry(topic=topic), REVOKED: entry()})

        assert [message.id for message in messages] == ["programs.W002"]
        assert messages[0].msg == f"{AWARDED} is not sent to {TOPIC}, where consumers expect it, but to {topic}."

    @ddt.data("redis", "kafka")
    def test_a_second_topic_with_another_key(self, bus: str) -> None:
        assert not self.warnings({AWARDED: entry() | entry(topic="other", key_field="x"), REVOKED: entry()}, bus)

    @ddt.data("program_certificate.uuid", "program_certificate.nope", None)
    def test_another_key(self, key_field: str | None) -> None:
        config = {AWARDED: entry(), REVOKED: entry(key_field=key_field)}
        messages = self.warnings(config, "kafka")

        assert [message.id for message in messages] == ["programs.W003"]
        assert messages[0].msg.startswith(f"{REVOKED} has the key {key_field!r}, so Kafka may lose it")
        # A stream of Redis has no key.
        assert not self.warnings(config, "redis")

    @ddt.data(
        *[config for bad in BROKEN for config in (bad, {AWARDED: bad}, {AWARDED: {TOPIC: bad}})],
        {AWARDED: {TOPIC: {"enabled": True}}},
        {AWARDED: entry("true")},
        {REVOKED: entry(1)},
    )
    def test_a_malformed_configuration_raises_nothing(self, config: object) -> None:
        # openedx-events refuses to start with most of them.
        assert not self.warnings(config)
