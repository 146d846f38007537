# The slice, with the change in it: the change is the import of checks.
"""
Django application configuration.
"""

from django.apps import AppConfig


class ProgramsConfig(AppConfig):
    """The application."""

    name = "openedx.core.djangoapps.programs"

    def ready(self):
        """Connect the receivers, register the checks."""
        from . import checks, signals  # noqa: F401  # pylint: disable=unused-import
