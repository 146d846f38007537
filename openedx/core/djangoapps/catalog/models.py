# The slice: written for this repository, in place of the platform's file of this path.
"""How the LMS reaches the Discovery service."""

from config_models.models import ConfigurationModel
from django.contrib.auth import get_user_model
from django.db import models


class CatalogIntegration(ConfigurationModel):
    """Configuration of the catalog."""

    service_username = models.CharField(max_length=100, default="lms_catalog_service_user")

    def get_service_user(self):
        """Load the user whom the LMS reads the catalog as."""
        return get_user_model().objects.get(username=self.service_username)
