"""
Announces program certificates as Open edX events.

The Credentials service stores program certificates; ``programs.tasks`` asks it to award and revoke them. Once it has
accepted, the tasks call one of the two functions below.

Both are bystanders: whatever goes wrong in them is reported and returned, never raised, so that it can neither fail nor
repeat what Credentials has already stored. See docs/decisions/0002-program-certificate-events.rst.
"""

import contextlib
import logging
from datetime import datetime
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist
from edx_django_utils.monitoring import record_exception
from openedx_events.learning.data import ProgramCertificateData, ProgramData, UserData, UserPersonalData
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED
from openedx_events.tooling import OpenEdxPublicSignal

LOGGER = logging.getLogger(__name__)
User = get_user_model()


def emit_program_certificate_awarded(user: User, program_uuid: UUID | str, *, time: datetime | None = None) -> bool:
    """
    Send ``PROGRAM_CERTIFICATE_AWARDED`` for a certificate that Credentials has stored.

    Args:
        user: The learner who holds the certificate.
        program_uuid: The program; the event carries it as text.
        time: When the certificate was awarded, in UTC. Defaults to now.

    Returns:
        True if every receiver took the event, False if anything failed. A bus that is down does not count: its producer
        keeps that to itself.
    """
    # .. event_implemented_name: PROGRAM_CERTIFICATE_AWARDED
    # .. event_type: org.openedx.learning.program.certificate.awarded.v1
    return _emit(PROGRAM_CERTIFICATE_AWARDED, "awarded", user, program_uuid, time)


def emit_program_certificate_revoked(user: User, program_uuid: UUID | str, *, time: datetime | None = None) -> bool:
    """
    Send ``PROGRAM_CERTIFICATE_REVOKED`` for a certificate that Credentials has revoked.

    Args:
        user: The learner who held the certificate.
        program_uuid: The program; the event carries it as text.
        time: When the certificate was revoked, in UTC. Defaults to now.

    Returns:
        As ``emit_program_certificate_awarded``.
    """
    # .. event_implemented_name: PROGRAM_CERTIFICATE_REVOKED
    # .. event_type: org.openedx.learning.program.certificate.revoked.v1
    return _emit(PROGRAM_CERTIFICATE_REVOKED, "revoked", user, program_uuid, time)


def _emit(
    signal: OpenEdxPublicSignal, status: str, user: User, program_uuid: UUID | str, time: datetime | None
) -> bool:
    """
    Build and send one event; report any failure instead of raising it.
    """
    try:
        responses = signal.send_event(
            time=time,
            program_certificate=ProgramCertificateData(
                user=UserData(
                    pii=UserPersonalData(username=user.username, email=user.email, name=_full_name(user)),
                    id=user.id,
                    is_active=user.is_active,
                ),
                # Empty on purpose: the LMS has no authority over these; consumers look them up by the program's uuid.
                program=ProgramData(uuid=str(program_uuid), title="", program_type=""),
                uuid="",
                url="",
                status=status,
            ),
        )
        # Outside of DEBUG, send_event() returns what a receiver raised.
        for _receiver, response in responses:
            if isinstance(response, Exception):
                raise response
    except Exception as exc:  # pylint: disable=broad-except
        # Logging and monitoring may be what is broken.
        with contextlib.suppress(Exception):
            # Neither the message nor the traceback: both may quote the learner's name or e-mail.
            LOGGER.error(
                f"Failed to send {signal.event_type} for user {user.id} in program {program_uuid}: {type(exc).__name__}"
            )
            record_exception()
        return False
    return True


def _full_name(user: User) -> str:
    """
    Return the name in the learner's profile, or "" without a profile. Django remembers either on ``user``.
    """
    try:
        return user.profile.name
    except ObjectDoesNotExist:
        return ""
