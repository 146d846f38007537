# The slice: written for this repository, in place of the platform's file of this path.
"""Learners and their enrolments."""

from django.contrib.auth.models import User
from django.db import models

from openedx.core.djangoapps.content.course_overviews.models import CourseOverview


class UserProfile(models.Model):
    """What a learner says of themselves. The learner's name is here and not in ``User``."""

    user = models.OneToOneField(User, related_name="profile", on_delete=models.CASCADE)
    name = models.CharField(max_length=255)

    class Meta:
        db_table = "auth_userprofile"


class CourseEnrollment(models.Model):
    """A learner in a course run."""

    user = models.ForeignKey(User, on_delete=models.CASCADE)
    course = models.ForeignKey(CourseOverview, db_constraint=False, on_delete=models.DO_NOTHING)
    is_active = models.BooleanField(default=True)
    mode = models.CharField(default="audit", max_length=100)

    class Meta:
        unique_together = (("user", "course"),)

    @classmethod
    def enrollments_for_user(cls, user):
        """Find a learner's active enrolments."""
        return cls.objects.filter(user=user, is_active=True)
