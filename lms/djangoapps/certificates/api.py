# The slice: written for this repository, in place of the platform's file of this path.
"""The application's interface to others."""

from lms.djangoapps.certificates.models import GeneratedCertificate


def auto_certificate_generation_enabled():
    """Tell whether certificates are made as soon as learners pass. The platform's tests replace it."""
    return False


def get_eligible_certificate(user, course_id):
    """Find a learner's certificate of a course run."""
    return GeneratedCertificate.eligible_certificates.filter(user=user, course_id=course_id).first()


def get_eligible_and_available_certificates(user):
    """Find all of a learner's certificates."""
    return GeneratedCertificate.eligible_certificates.filter(user=user)


def get_recently_modified_certificates(start_date):
    """Find the certificates that changed since a time."""
    certificates = GeneratedCertificate.objects.filter(modified_date__gte=start_date)
    return certificates.select_related("user").order_by("modified_date")
