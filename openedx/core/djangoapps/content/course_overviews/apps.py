# The slice: written for this repository, in place of the platform's file of this path.
from django.apps import AppConfig


class CourseOverviewsConfig(AppConfig):
    name = "openedx.core.djangoapps.content.course_overviews"
