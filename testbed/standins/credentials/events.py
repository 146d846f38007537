"""The two events that the local stand-in of Credentials publishes, if its settings enable them."""

from django.utils.text import slugify
from openedx_events.learning.data import ProgramCertificateData, ProgramData, UserData, UserPersonalData
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED

from testbed.standins.credentials import settings
from testbed.standins.credentials.models import Credential, User

SIGNALS = {"awarded": PROGRAM_CERTIFICATE_AWARDED, "revoked": PROGRAM_CERTIFICATE_REVOKED}


def announce(credential: Credential) -> None:
    """Send the event about a program certificate as it stands, with the time by this service's own clock."""
    user = User.objects.get(username=credential.username)
    program = settings.PROGRAMS[credential.key]
    SIGNALS[credential.status].send_event(
        time=credential.modified,
        program_certificate=ProgramCertificateData(
            user=UserData(
                pii=UserPersonalData(username=user.username, email=user.email, name=user.get_full_name()),
                id=user.lms_user_id,
                is_active=user.is_active,
            ),
            program=ProgramData(
                uuid=credential.key, title=program.get("title", ""), program_type=slugify(program.get("type") or "")
            ),
            uuid=str(credential.uuid),
            status=credential.status,
            url=f"https://{settings.SITE_DOMAIN}{credential.path}",
        ),
    )
