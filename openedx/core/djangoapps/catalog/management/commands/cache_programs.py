# The slice: written for this repository, in place of the platform's file of this path.
"""Management command ``cache_programs``."""

from urllib.parse import urljoin

from django.core.cache import cache
from django.core.management import BaseCommand

from openedx.core.djangoapps.catalog.cache import PROGRAM_CACHE_KEY_TPL, SITE_PROGRAM_UUIDS_CACHE_KEY_TPL
from openedx.core.djangoapps.catalog.models import CatalogIntegration
from openedx.core.djangoapps.catalog.utils import get_catalog_api_client
from openedx.core.djangoapps.site_configuration.models import SiteConfiguration


class Command(BaseCommand):
    """Copies the programs of each site from the catalog into the cache, where they stay until the next run."""

    help = "Rebuild the LMS's cache of programs."

    def handle(self, *args, **options):
        """Cache the programs of all sites."""
        client = get_catalog_api_client(CatalogIntegration.current().get_service_user())
        for configuration in SiteConfiguration.objects.filter(site_values__contains="COURSE_CATALOG_API_URL"):
            url = urljoin(f"{configuration.get_value('COURSE_CATALOG_API_URL')}/", "programs/")
            uuids = self._read(client, url, {"exclude_utm": 1, "status": ("active", "retired"), "uuids_only": 1})
            programs = {uuid: self._read(client, urljoin(url, f"{uuid}/"), {"exclude_utm": 1}) for uuid in uuids}
            cache.set_many({PROGRAM_CACHE_KEY_TPL.format(uuid=uuid): programs[uuid] for uuid in uuids}, None)
            cache.set(SITE_PROGRAM_UUIDS_CACHE_KEY_TPL.format(domain=configuration.site.domain), uuids, None)

    @staticmethod
    def _read(client, url, params):
        response = client.get(url, params=params)
        response.raise_for_status()
        return response.json()
