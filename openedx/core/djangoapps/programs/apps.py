# The slice, with the change in it: the change is the import of two modules with checks.
"""Django application configuration."""

from django.apps import AppConfig


class ProgramsConfig(AppConfig):
    """The application."""

    name = "openedx.core.djangoapps.programs"

    def ready(self):
        """Connect the receivers, register the checks."""
        from openedx.core.lib import event_bus_checks  # noqa: F401  # pylint: disable=unused-import

        from . import checks, signals  # noqa: F401  # pylint: disable=unused-import
