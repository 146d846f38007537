# The slice: written for this repository, in place of the platform's file of this path.
"""Helpers for tests."""

from openedx.core.djangoapps.credentials.models import CredentialsApiConfig


class CredentialsApiConfigMixin:
    """Configures Credentials."""

    def create_credentials_config(self, **kwargs):
        """Configure Credentials."""
        defaults = {
            "enabled": True,
            "internal_service_url": "http://internal.credentials.org/",
            "public_service_url": "http://public.credentials.org/",
            "enable_learner_issuance": True,
        }
        CredentialsApiConfig(**{**defaults, **kwargs}).save()
        return CredentialsApiConfig.current()
