# The slice: written for this repository, in place of the platform's file of this path.
"""
Django application configuration.
"""

from django.apps import AppConfig


class ProgramsConfig(AppConfig):
    """The application."""

    name = "openedx.core.djangoapps.programs"

    def ready(self):
        """Connect the receivers."""
        from . import signals  # noqa: F401  # pylint: disable=unused-import
