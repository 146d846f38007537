# The slice: written for this repository, in place of the platform's file of this path.
"""Test data."""

from datetime import timedelta

import factory
from django.utils.timezone import now
from factory.django import DjangoModelFactory
from opaque_keys.edx.locator import CourseLocator

from openedx.core.djangoapps.content.course_overviews.models import CourseOverview


class CourseOverviewFactory(DjangoModelFactory):
    """A course run that ends in a month."""

    class Meta:
        model = CourseOverview
        django_get_or_create = ("id",)
        exclude = ("org", "run")

    run = factory.Sequence("2012_Fall_{}".format)
    org = "edX"
    id = factory.LazyAttribute(lambda course: CourseLocator(course.org, "toy", course.run))
    end = factory.LazyFunction(lambda: now() + timedelta(days=30))
