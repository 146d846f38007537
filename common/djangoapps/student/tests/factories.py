# The slice: written for this repository, in place of the platform's file of this path.
"""Test data."""

from datetime import UTC, datetime

import factory
from django.contrib.auth.models import User
from factory.django import DjangoModelFactory

from common.djangoapps.student.models import CourseEnrollment, UserProfile


class UserFactory(DjangoModelFactory):
    """An active learner, with a profile once they are in the database."""

    class Meta:
        model = User
        django_get_or_create = ("email", "username")
        skip_postgeneration_save = True

    username = factory.Sequence("robot{}".format)
    email = factory.Sequence("robot+test+{}@edx.org".format)
    first_name = factory.Sequence("Robot{}".format)
    last_name = "Test"
    is_active = True
    date_joined = datetime(2011, 1, 1, tzinfo=UTC)

    @factory.post_generation
    def profile(self, create, extracted, **kwargs):
        """Give the learner a profile with their name."""
        if create:
            defaults = {"name": f"{self.first_name} {self.last_name}", **kwargs}
            UserProfile.objects.get_or_create(user=self, defaults=defaults)


class CourseEnrollmentFactory(DjangoModelFactory):
    """An enrolment; the caller gives the course run."""

    class Meta:
        model = CourseEnrollment

    user = factory.SubFactory(UserFactory)
