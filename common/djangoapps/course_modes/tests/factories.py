# The slice: written for this repository, in place of the platform's file of this path.
"""Test data."""

from factory.django import DjangoModelFactory

from common.djangoapps.course_modes.models import CourseMode
from openedx.core.djangoapps.content.course_overviews.tests.factories import CourseOverviewFactory


class CourseModeFactory(DjangoModelFactory):
    """A mode; ``course_id`` may name a course run that is not there yet."""

    class Meta:
        model = CourseMode

    mode_slug = CourseMode.AUDIT

    @classmethod
    def _create(cls, model_class, *args, **kwargs):
        if "course_id" in kwargs:
            CourseOverviewFactory(id=kwargs["course_id"])
        return super()._create(model_class, *args, **kwargs)
