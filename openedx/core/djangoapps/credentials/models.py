# The slice: written for this repository, in place of the platform's file of this path.
"""How the LMS reaches the Credentials service."""

from urllib.parse import urljoin

from config_models.models import ConfigurationModel
from django.conf import settings
from django.db import models

from openedx.core.djangoapps.site_configuration import helpers as configuration_helpers


class CredentialsApiConfig(ConfigurationModel):
    """Configuration of Credentials. The addresses come from settings and sites."""

    API_NAME = "credentials"

    enable_learner_issuance = models.BooleanField(default=False)

    @property
    def internal_api_url(self):
        """str: the root of the service's REST API."""
        default = settings.CREDENTIALS_INTERNAL_SERVICE_URL
        return _api_url(configuration_helpers.get_value("CREDENTIALS_INTERNAL_SERVICE_URL", default))

    @staticmethod
    def get_internal_api_url_for_org(org):
        """Find the root of the REST API that an organisation's site uses."""
        default = settings.CREDENTIALS_INTERNAL_SERVICE_URL
        return _api_url(configuration_helpers.get_value_for_org(org, "CREDENTIALS_INTERNAL_SERVICE_URL", default))

    @property
    def is_learner_issuance_enabled(self):
        """bool: whether the LMS asks Credentials for learners' certificates."""
        return self.enabled and self.enable_learner_issuance


def _api_url(root):
    return urljoin(root, "/api/v2/")
