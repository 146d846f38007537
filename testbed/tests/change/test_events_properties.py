"""
Properties of ``programs.events``: whatever the emitter sends survives the event bus.

The tests are here rather than beside the emitter's other tests because the platform does not have hypothesis.
"""

import logging
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from openedx_events.event_bus.avro.deserializer import deserialize_bytes_to_event_data
from openedx_events.event_bus.avro.serializer import serialize_event_data_to_bytes
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

from common.djangoapps.student.tests.factories import UserFactory
from openedx.core.djangoapps.programs import events

SIGNALS = {"awarded": PROGRAM_CERTIFICATE_AWARDED, "revoked": PROGRAM_CERTIFICATE_REVOKED}
SETTINGS = settings(max_examples=100, deadline=None, print_blob=True)
STATUSES = st.sampled_from(sorted(SIGNALS))
ZONES = st.timezones() | st.just(timezone(timedelta(hours=14))) | st.just(timezone(-timedelta(hours=12)))

# All that a database can hold: no lone surrogates, which are not UTF-8.
CHARACTERS = st.characters(exclude_categories=["Cs"])


def texts(max_size, **kwargs):
    """
    Make texts, some of them only of characters that often break things.

    Args:
        max_size (int): the most characters.

    Returns:
        SearchStrategy: of str.
    """
    odd = st.sampled_from("\0\x1b\r\n\x85\u2028\u200d\u202e\u0627\u05d0\ufeff\uffff\u0301\U0001f469\U0010ffff{}%\"'\\")
    return st.text(CHARACTERS, max_size=max_size, **kwargs) | st.text(odd, max_size=max_size, **kwargs)


def forms_of(uuid):
    """
    Write a uuid in all ways.

    Args:
        uuid (UUID): the uuid.

    Returns:
        SearchStrategy: of what a caller may pass.
    """
    return st.sampled_from([uuid, str(uuid), str(uuid).upper(), uuid.hex, uuid.urn, f"{{{uuid}}}", uuid.int])


class EmitterProperties(TestCase):
    """The emitter with learners, programs, times and answers of all kinds."""

    @classmethod
    def setUpTestData(cls):
        cls.learner = UserFactory()

    def setUp(self):
        super().setUp()
        self.sent = []
        for signal in SIGNALS.values():
            signal.connect(self.receive)
            self.addCleanup(signal.disconnect, self.receive)

    def receive(self, signal, program_certificate, metadata, **kwargs):
        """Keep an event."""
        self.sent.append((signal, program_certificate, metadata))

    def rename(self, username, email, name):
        """Give the learner other names, and read it from the database as a task does."""
        self.sent.clear()
        model = type(self.learner)
        model.objects.filter(pk=self.learner.pk).update(username=username, email=email)
        profile = type(self.learner.profile)
        profile.objects.filter(user=self.learner).update(name=name)
        return model.objects.select_related("profile").get(pk=self.learner.pk)

    def assert_not_sent(self, emit, *args):
        """Check that a call logs one line without personal data, and sends nothing."""
        learner = self.rename("PRIVATE", "PRIVATE@example.com", "PRIVATE")
        with self.assertLogs(events.__name__, logging.DEBUG) as logs:
            assert emit(learner, "1b0b0000-0000-4000-8000-000000000001", *args) is False
        assert not self.sent
        assert len(logs.output) == 1
        assert "PRIVATE" not in logs.output[0]

    @SETTINGS
    @given(
        status=STATUSES,
        username=texts(150, min_size=1),
        email=texts(254),
        name=texts(255),
        program_uuid=st.uuids().flatmap(forms_of),
        time=st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES),
    )
    @example("awarded", "learner", "", "\U0001f393" * 255, 0, datetime(2026, 11, 25, tzinfo=UTC))
    @example("revoked", "learner", "", "\u202eecalevoL adA\u202c \u0622\u062f\u0627", "", datetime(1, 1, 3, tzinfo=UTC))
    def test_what_is_sent_is_received(self, status, username, email, name, program_uuid, time):
        learner = self.rename(username, email, name)

        with self.assertNumQueries(0):
            assert events.emit_program_certificate(learner, program_uuid, status, time) is True

        [(sent_by, certificate, metadata)] = self.sent
        signal = SIGNALS[status]
        event_data = {"program_certificate": certificate}
        received = deserialize_bytes_to_event_data(serialize_event_data_to_bytes(event_data, signal), signal)
        assert sent_by is signal
        assert received == event_data
        assert type(metadata).from_json(metadata.to_json()) == metadata
        assert (metadata.time, metadata.time.utcoffset()) == (time, timedelta(0))
        # What was received is what went in.
        certificate = received["program_certificate"]
        pii = certificate.user.pii
        assert (pii.username, pii.email, pii.name) == (username, email, name)
        assert (certificate.user.id, certificate.user.is_active) == (learner.id, True)
        assert (certificate.program.uuid, certificate.status) == (str(program_uuid), status)
        assert (certificate.program.title, certificate.program.program_type) == ("", "")
        assert (certificate.uuid, certificate.url) == ("", "")

    @SETTINGS
    @given(
        status=STATUSES,
        time=st.datetimes() | st.integers() | st.text() | st.dates() | st.just(datetime.min),
    )
    def test_an_invalid_time_is_logged_and_not_raised(self, status, time):
        self.assert_not_sent(events.emit_program_certificate, status, time)

    @SETTINGS
    @given(
        emit=st.sampled_from([events.emit_program_certificate_awarded, events.emit_program_certificate_revoked]),
        response=st.none()
        | st.dictionaries(st.text(), st.integers())
        | st.builds(SimpleNamespace, status_code=st.integers().filter(lambda code: code != 201) | st.text())
        | st.builds(SimpleNamespace, status_code=st.just(201), elapsed=st.none() | st.floats() | st.text()),
    )
    def test_anything_but_a_201_is_logged_and_not_raised(self, emit, response):
        self.assert_not_sent(emit, response)
