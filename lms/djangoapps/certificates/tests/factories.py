# The slice: written for this repository, in place of the platform's file of this path.
"""Test data."""

from datetime import UTC, datetime

from factory.django import DjangoModelFactory

from common.djangoapps.course_modes.models import CourseMode
from lms.djangoapps.certificates.data import CertificateStatuses
from lms.djangoapps.certificates.models import CertificateDateOverride, GeneratedCertificate


class GeneratedCertificateFactory(DjangoModelFactory):
    """A certificate that nobody holds yet; the caller gives the user and the course run."""

    class Meta:
        model = GeneratedCertificate

    course_id = None
    status = CertificateStatuses.unavailable
    mode = CourseMode.HONOR


class CertificateDateOverrideFactory(DjangoModelFactory):
    """An overridden date; the caller gives the certificate and who did it."""

    class Meta:
        model = CertificateDateOverride

    date = datetime(2021, 5, 11, tzinfo=UTC)
