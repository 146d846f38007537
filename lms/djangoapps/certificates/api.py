# The slice: written for this repository, in place of the platform's file of this path.
"""The application's interface to others."""

from edx_toggles.toggles import WaffleSwitch

from lms.djangoapps.certificates.models import GeneratedCertificate
from xmodule.data import CertificatesDisplayBehaviors

# .. toggle_name: certificates.auto_certificate_generation
# .. toggle_implementation: WaffleSwitch
# .. toggle_default: False
# .. toggle_description: Certificates are made as soon as learners pass, and shown on the date the course team chose.
# .. toggle_use_cases: open_edx
# .. toggle_creation_date: 2017-07-24
AUTO_CERTIFICATE_GENERATION = WaffleSwitch("certificates.auto_certificate_generation", __name__)


def auto_certificate_generation_enabled():
    """Tell whether certificates are made as soon as learners pass."""
    return AUTO_CERTIFICATE_GENERATION.is_enabled()


def get_eligible_certificate(user, course_id):
    """Find a learner's certificate of a course run."""
    return GeneratedCertificate.eligible_certificates.filter(user=user, course_id=course_id).first()


def get_eligible_and_available_certificates(user):
    """Find all of a learner's certificates."""
    return GeneratedCertificate.eligible_available_certificates.filter(user=user)


def get_recently_modified_certificates(start_date):
    """Find the certificates that changed since a time."""
    certificates = GeneratedCertificate.objects.filter(modified_date__gte=start_date)
    return certificates.select_related("user").order_by("modified_date")


def available_date_for_certificate(course, certificate):
    """Find the date on which a certificate may be seen."""
    if (
        auto_certificate_generation_enabled()
        and not course.self_paced
        and course.certificates_display_behavior == CertificatesDisplayBehaviors.END_WITH_DATE
        and course.certificate_available_date
    ):
        return course.certificate_available_date
    return certificate.modified_date
