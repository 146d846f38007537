# The slice: written for this repository, in place of the platform's file of this path.
"""What Credentials is told again."""

from celery import shared_task

from lms.djangoapps.certificates.api import get_recently_modified_certificates
from lms.djangoapps.certificates.data import CertificateStatuses
from openedx.core.djangoapps.programs.signals import (
    handle_course_cert_awarded,
    handle_course_cert_changed,
    handle_course_cert_revoked,
)


@shared_task(ignore_result=True)
def handle_notify_credentials(options, course_keys):
    """Send course certificates to Credentials again, and start the tasks that award and revoke program certificates."""
    for certificate in get_recently_modified_certificates(start_date=options["start_date"]):
        changed = (None, certificate.user, certificate.course_id, certificate.mode, certificate.status)
        handle_course_cert_changed(*changed)
        if options["notify_programs"]:
            if CertificateStatuses.is_passing_status(certificate.status):
                handle_course_cert_awarded(*changed)
            elif options["revoke_program_certs"]:
                handle_course_cert_revoked(*changed)
