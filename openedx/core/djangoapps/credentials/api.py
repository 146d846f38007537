# The slice: written for this repository, in place of the platform's file of this path.
"""The application's interface to others."""

from openedx.core.djangoapps.credentials.models import CredentialsApiConfig


def is_credentials_enabled():
    """Tell whether the LMS asks Credentials for learners' certificates."""
    return CredentialsApiConfig.current().is_learner_issuance_enabled
