# The slice: written for this repository, in place of the platform's file of this path.
"""Django application configuration."""

from django.apps import AppConfig


class OAuthDispatchAppConfig(AppConfig):
    """The application."""

    name = "openedx.core.djangoapps.oauth_dispatch"
