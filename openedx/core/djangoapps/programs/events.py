"""
Sends ``PROGRAM_CERTIFICATE_AWARDED`` and ``PROGRAM_CERTIFICATE_REVOKED``. The tasks of ``programs.tasks`` use it.

None of the public functions raises an ``Exception``: an event that fails must not make an award look failed. See
docs/decisions/0002-program-certificate-events.rst.
"""

import contextlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

from django.contrib.auth.models import User  # pylint: disable=imported-auth-user
from django.core.exceptions import ObjectDoesNotExist
from django.utils.timezone import localtime, now
from edx_django_utils.monitoring import record_exception
from openedx_events.learning.data import ProgramCertificateData, ProgramData, UserData, UserPersonalData
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED
from requests import Response

LOGGER = logging.getLogger(__name__)

EVENTS = {
    # .. event_implemented_name: PROGRAM_CERTIFICATE_AWARDED
    # .. event_type: org.openedx.learning.program.certificate.awarded.v1
    "awarded": PROGRAM_CERTIFICATE_AWARDED,
    # .. event_implemented_name: PROGRAM_CERTIFICATE_REVOKED
    # .. event_type: org.openedx.learning.program.certificate.revoked.v1
    "revoked": PROGRAM_CERTIFICATE_REVOKED,
}


def emit_program_certificate_awarded(user: User, program_uuid: UUID | str, response: Response) -> bool:
    """
    Send ``PROGRAM_CERTIFICATE_AWARDED`` if Credentials has accepted an award.

    The event's time is the moment of the request to Credentials, on the LMS's clock.

    Args:
        user: The learner, fetched with ``select_related("profile")``. Then the event needs no database query.
        response: The answer to the award. Only a 201 shows that Credentials has stored it: a redirected POST becomes a
            GET, and a gateway answers with a page of its own. Both are a 200.

    Returns:
        True if the event was sent and no receiver failed. The producer of the event bus does not report its failures.
    """
    return _emit_if_accepted(user, program_uuid, "awarded", response)


def emit_program_certificate_revoked(user: User, program_uuid: UUID | str, response: Response) -> bool:
    """Do the same for a revocation and ``PROGRAM_CERTIFICATE_REVOKED``."""
    return _emit_if_accepted(user, program_uuid, "revoked", response)


def _emit_if_accepted(user: User, program_uuid: UUID | str, status: str, response: Response) -> bool:
    """Send the event if the response is a 201, and log what it is otherwise."""
    with _errors_logged(user, program_uuid, status):
        answer = getattr(response, "status_code", type(response).__name__)
        if answer == 201:
            return emit_program_certificate(user, program_uuid, status, now() - response.elapsed)
        problem = f"the answer was {answer} instead of 201. Check CREDENTIALS_INTERNAL_SERVICE_URL for a redirect"
        _log_failure(user, program_uuid, status, problem)
    return False


def emit_program_certificate(user: User, program_uuid: UUID | str, status: str, time: datetime) -> bool:
    """
    Send the event for a certificate whose state was read from Credentials.

    If the caller is in a transaction, a database error in a receiver breaks that transaction.

    Args:
        user: The learner, as for ``emit_program_certificate_awarded``.
        status: ``awarded`` or ``revoked``.
        time: The moment of the request to Credentials, on the LMS's clock, in any time zone.

    Returns:
        True if the event was sent and no receiver failed. The producer of the event bus does not report its failures.
    """
    with _errors_logged(user, program_uuid, status):
        certificate = ProgramCertificateData(
            user=UserData(
                pii=UserPersonalData(username=user.username, email=user.email, name=_get_full_name(user)),
                id=user.id,
                is_active=user.is_active,
            ),
            # The LMS does not own title and type, nor the certificate's uuid and URL. Consumers look them up.
            program=ProgramData(uuid=str(program_uuid), title="", program_type=""),
            uuid="",
            url="",
            status=status,
        )
        results = EVENTS[status].send_event(time=localtime(time, UTC), program_certificate=certificate)
        failures = [result for _receiver, result in results if isinstance(result, Exception)]
        for failure in failures:  # Django has logged the traceback.
            _log_failure(user, program_uuid, status, type(failure).__name__)
        return not failures
    return False


def _get_full_name(user: User) -> str:
    try:
        return user.profile.name or ""  # Avro does not accept None.
    except ObjectDoesNotExist:
        return ""


@contextlib.contextmanager
def _errors_logged(user: User, program_uuid: UUID | str, status: str) -> Iterator[None]:
    """Log and record an exception instead of raising it."""
    try:
        yield
    except Exception as exc:  # pylint: disable=broad-except
        _log_failure(user, program_uuid, status, type(exc).__name__)
        with contextlib.suppress(Exception):
            record_exception()


def _log_failure(user: User, program_uuid: UUID | str, status: str, problem: str) -> None:
    """Log one line without personal data. The user, the uuid or the logger may be what is broken."""
    user_id = program = "unknown"
    with contextlib.suppress(Exception):
        user_id = str(user.id)
    with contextlib.suppress(Exception):
        program = str(program_uuid)
    with contextlib.suppress(Exception):
        event_type = f"org.openedx.learning.program.certificate.{status}.v1"
        LOGGER.error(f"Failed to send {event_type} for user {user_id} in program {program}: {problem}")
