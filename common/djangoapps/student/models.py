# The slice: written for this repository, in place of the platform's file of this path.
"""Learners and their enrolments."""

import hashlib

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from opaque_keys.edx.django.models import CourseKeyField

from openedx.core.djangoapps.content.course_overviews.models import CourseOverview


class UserProfile(models.Model):
    """What a learner says of themselves. The learner's name is here and not in ``User``."""

    user = models.OneToOneField(User, unique=True, db_index=True, related_name="profile", on_delete=models.CASCADE)
    name = models.CharField(blank=True, max_length=255, db_index=True)

    class Meta:
        db_table = "auth_userprofile"


class AnonymousUserId(models.Model):
    """The id by which a learner is known to others who must not learn who it is."""

    user = models.ForeignKey(User, db_index=True, on_delete=models.CASCADE)
    anonymous_user_id = models.CharField(unique=True, max_length=32)
    course_id = CourseKeyField(db_index=True, max_length=255, blank=True)


def anonymous_id_for_user(user, course_id):
    """Give the learner's anonymous id; it is stored the first time."""
    hasher = hashlib.shake_128()
    hasher.update(settings.SECRET_KEY.encode("utf8"))
    hasher.update(str(user.id).encode("utf8"))
    if course_id:
        hasher.update(str(course_id).encode("utf8"))
    anonymous_id = hasher.hexdigest(16)
    AnonymousUserId.objects.get_or_create(
        anonymous_user_id=anonymous_id, defaults={"user": user, "course_id": course_id}
    )
    return anonymous_id


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
