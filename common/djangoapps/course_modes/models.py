# The slice: written for this repository, in place of the platform's file of this path.
"""The modes that a course run is offered in."""

from django.db import models

from openedx.core.djangoapps.content.course_overviews.models import CourseOverview


class CourseMode(models.Model):
    """A mode of a course run, such as audit or verified."""

    course = models.ForeignKey(
        CourseOverview, db_constraint=False, db_index=True, related_name="modes", on_delete=models.DO_NOTHING
    )
    mode_slug = models.CharField(max_length=100)
    mode_display_name = models.CharField(max_length=255)
    currency = models.CharField(default="usd", max_length=8)

    HONOR = "honor"
    PROFESSIONAL = "professional"
    VERIFIED = "verified"
    AUDIT = "audit"
    NO_ID_PROFESSIONAL_MODE = "no-id-professional"
    CREDIT_MODE = "credit"
    MASTERS = "masters"
    EXECUTIVE_EDUCATION = "executive-education"
    PAID_EXECUTIVE_EDUCATION = "paid-executive-education"
    PAID_BOOTCAMP = "paid-bootcamp"

    # Modes whose certificates count towards a program.
    CERTIFICATE_RELEVANT_MODES = [
        CREDIT_MODE,
        VERIFIED,
        PROFESSIONAL,
        NO_ID_PROFESSIONAL_MODE,
        EXECUTIVE_EDUCATION,
        PAID_EXECUTIVE_EDUCATION,
        PAID_BOOTCAMP,
        MASTERS,
    ]

    class Meta:
        unique_together = ("course", "mode_slug", "currency")

    @property
    def slug(self):
        """The mode's name."""
        return self.mode_slug

    @classmethod
    def is_eligible_for_certificate(cls, mode_slug):
        """Tell whether a mode leads to a certificate."""
        return mode_slug != cls.AUDIT
