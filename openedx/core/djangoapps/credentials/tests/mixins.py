# The slice: written for this repository, in place of the platform's file of this path.
"""Helpers for tests."""

from openedx.core.djangoapps.credentials.models import CredentialsApiConfig


class CredentialsApiConfigMixin:
    """Configures Credentials."""

    def create_credentials_config(self, **kwargs):
        """Configure Credentials."""
        CredentialsApiConfig(**{"enabled": True, "enable_learner_issuance": True, **kwargs}).save()
        return CredentialsApiConfig.current()
