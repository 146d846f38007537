"""
Announces program certificates as Open edX events.

The Credentials service stores program certificates; ``programs.tasks`` asks it to award and revoke them, and hands its
answer to one of the two functions below. They announce what it has accepted.

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

# In place of a response: the certificate was read in Credentials, so nothing has to be accepted any more.
ALREADY_STORED = object()


def emit_program_certificate_awarded(
    user: User, program_uuid: UUID | str, response: object = ALREADY_STORED, *, time: datetime | None = None
) -> bool:
    """
    Send ``PROGRAM_CERTIFICATE_AWARDED`` for a certificate that Credentials has stored.

    Args:
        user: The learner who holds the certificate.
        program_uuid: The program; the event carries it as text.
        response: The ``requests.Response`` to the award. Only a 201 is an acceptance: a POST that was redirected became
            a GET, and a gateway's own page is a 200, too.
        time: When the certificate stood so, by the LMS's clock, in UTC. Defaults to now.

    Returns:
        True if every receiver took the event, False if anything failed. A bus that is down does not count: its producer
        keeps that to itself.
    """
    # .. event_implemented_name: PROGRAM_CERTIFICATE_AWARDED
    # .. event_type: org.openedx.learning.program.certificate.awarded.v1
    return _emit(PROGRAM_CERTIFICATE_AWARDED, "awarded", user, program_uuid, response, time)


def emit_program_certificate_revoked(
    user: User, program_uuid: UUID | str, response: object = ALREADY_STORED, *, time: datetime | None = None
) -> bool:
    """
    Send ``PROGRAM_CERTIFICATE_REVOKED`` for a certificate that Credentials has revoked.

    Args:
        user: The learner who held the certificate.
        program_uuid: The program; the event carries it as text.
        response: The ``requests.Response`` to the revocation, as in ``emit_program_certificate_awarded``.
        time: When the certificate stood so, by the LMS's clock, in UTC. Defaults to now.

    Returns:
        As ``emit_program_certificate_awarded``.
    """
    # .. event_implemented_name: PROGRAM_CERTIFICATE_REVOKED
    # .. event_type: org.openedx.learning.program.certificate.revoked.v1
    return _emit(PROGRAM_CERTIFICATE_REVOKED, "revoked", user, program_uuid, response, time)


def _emit(
    signal: OpenEdxPublicSignal,
    status: str,
    user: User,
    program_uuid: UUID | str,
    response: object,
    time: datetime | None,
) -> bool:
    """
    Build and send one event; report any failure instead of raising it.
    """
    try:
        if response is not ALREADY_STORED:
            answer = getattr(response, "status_code", type(response).__name__)
            if answer != 201:
                LOGGER.error(
                    f"Not sending {signal.event_type} for user {user.id} in program {program_uuid}: the answer was "
                    f"{answer} instead of 201, so nothing shows that Credentials has accepted. Does "
                    "CREDENTIALS_INTERNAL_SERVICE_URL lead to it without a redirect?"
                )
                return False
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
        # Outside of DEBUG, send_event() returns what receivers raised.
        failures = [result for _receiver, result in responses if isinstance(result, Exception)]
    except Exception as exc:  # pylint: disable=broad-except
        failures = [exc]
    for failure in failures:
        _report(signal, user, program_uuid, failure)
    return not failures


def _full_name(user: User) -> str:
    """
    Return the name in the learner's profile, or "" without one. Django remembers the profile, or its lack, on ``user``.
    """
    try:
        # A missing name may be None, which Avro does not take for text.
        return user.profile.name or ""
    except ObjectDoesNotExist:
        return ""


def _report(signal: OpenEdxPublicSignal, user: User, program_uuid: UUID | str, failure: Exception) -> None:
    """
    Log and record a failure. Either may be what is broken, and so may ``user``: the rest is still done.
    """
    user_id = "unknown"
    with contextlib.suppress(Exception):
        user_id = user.id
    with contextlib.suppress(Exception):
        # Neither the message nor the traceback: both may quote the learner's name or e-mail.
        LOGGER.error(
            f"Failed to send {signal.event_type} for user {user_id} in program {program_uuid}: {type(failure).__name__}"
        )
    with contextlib.suppress(Exception):
        try:
            raise failure
        except Exception:  # pylint: disable=broad-except
            record_exception()  # of what is being handled
