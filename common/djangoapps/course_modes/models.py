# The slice: written for this repository, in place of the platform's file of this path.
"""The modes that a course run is offered in."""

from django.db import models

from openedx.core.djangoapps.content.course_overviews.models import CourseOverview


class CourseMode(models.Model):
    """A mode of a course run, such as audit or verified."""

    course = models.ForeignKey(CourseOverview, db_constraint=False, on_delete=models.DO_NOTHING)
    mode_slug = models.CharField(max_length=100)

    HONOR = "honor"
    PROFESSIONAL = "professional"
    VERIFIED = "verified"
    AUDIT = "audit"
    NO_ID_PROFESSIONAL_MODE = "no-id-professional"
    CREDIT_MODE = "credit"

    @property
    def slug(self):
        """The mode's name."""
        return self.mode_slug

    @classmethod
    def is_eligible_for_certificate(cls, mode_slug):
        """Tell whether a mode leads to a certificate."""
        return mode_slug != cls.AUDIT
