# The slice: written for this repository, in place of the platform's file of this path.
"""Helpers for tests."""

from openedx.core.djangoapps.catalog.models import CatalogIntegration


class CatalogIntegrationMixin:
    """Configures the catalog."""

    def create_catalog_integration(self, **kwargs):
        """Configure the catalog."""
        CatalogIntegration(**{"enabled": True, **kwargs}).save()
        return CatalogIntegration.current()
