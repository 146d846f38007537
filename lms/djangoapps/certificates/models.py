# The slice: written for this repository, in place of the platform's file of this path.
"""Course certificates."""

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from opaque_keys.edx.django.models import CourseKeyField

from common.djangoapps.course_modes.models import CourseMode
from lms.djangoapps.certificates.data import CertificateStatuses
from openedx.core.djangoapps.signals.signals import COURSE_CERT_AWARDED, COURSE_CERT_CHANGED, COURSE_CERT_REVOKED


class EligibleCertificateManager(models.Manager):
    """Certificates that count: those of audit learners do not."""

    def get_queryset(self):
        """Leave out audit certificates."""
        audit = (CertificateStatuses.audit_passing, CertificateStatuses.audit_notpassing)
        return super().get_queryset().exclude(status__in=audit)


class GeneratedCertificate(models.Model):
    """A learner's certificate of a course run."""

    user = models.ForeignKey(User, on_delete=models.CASCADE)
    course_id = CourseKeyField(max_length=255, blank=True, default=None)
    status = models.CharField(max_length=32, default=CertificateStatuses.unavailable)
    mode = models.CharField(max_length=32, default=CourseMode.HONOR)
    modified_date = models.DateTimeField(auto_now=True)

    objects = models.Manager()
    eligible_certificates = EligibleCertificateManager()

    class Meta:
        unique_together = (("user", "course_id"),)

    def is_valid(self):
        """Tell whether the learner holds the certificate now."""
        return self.status == CertificateStatuses.downloadable

    def save(self, *args, **kwargs):
        """Save, and tell everyone who wants to know."""
        super().save(*args, **kwargs)
        self._tell(COURSE_CERT_CHANGED)
        if CertificateStatuses.is_passing_status(self.status):
            self._tell(COURSE_CERT_AWARDED)

    def invalidate(self):
        """Take the certificate back."""
        self.status = CertificateStatuses.unavailable
        self.save()
        self._tell(COURSE_CERT_REVOKED)

    def _tell(self, signal):
        # Robustly: a receiver that raises must not undo the certificate.
        signal.send_robust(
            sender=type(self), user=self.user, course_key=self.course_id, mode=self.mode, status=self.status
        )


class CertificateDateOverride(models.Model):
    """A date that a certificate shows in place of its own."""

    generated_certificate = models.OneToOneField(
        GeneratedCertificate, on_delete=models.CASCADE, related_name="date_override"
    )
    date = models.DateTimeField()
    overridden_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.DO_NOTHING)
