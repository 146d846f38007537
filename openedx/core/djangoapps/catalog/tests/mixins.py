# The slice: written for this repository, in place of the platform's file of this path.
"""Helpers for tests."""

from openedx.core.djangoapps.catalog.models import CatalogIntegration


class CatalogIntegrationMixin:
    """Configures the catalog."""

    def create_catalog_integration(self, **kwargs):
        """Configure the catalog."""
        defaults = {
            "enabled": True,
            "internal_api_url": "https://catalog-internal.example.com/api/v1/",
            "service_username": "lms_catalog_service_user",
        }
        CatalogIntegration(**{**defaults, **kwargs}).save()
        return CatalogIntegration.current()
