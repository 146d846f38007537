# The slice: written for this repository, in place of the platform's file of this path.
"""Management command ``cache_programs``."""

import logging
import sys
from urllib.parse import urljoin

from django.contrib.sites.models import Site
from django.core.cache import cache
from django.core.management import BaseCommand

from openedx.core.djangoapps.catalog.cache import PROGRAM_CACHE_KEY_TPL, SITE_PROGRAM_UUIDS_CACHE_KEY_TPL
from openedx.core.djangoapps.catalog.models import CatalogIntegration
from openedx.core.djangoapps.catalog.utils import get_catalog_api_client

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    """Copies the programs of each site from the catalog into the cache, where they stay until the next run."""

    help = "Rebuild the LMS's cache of programs."

    def handle(self, *args, **options):
        """Cache the programs of all sites; exit with 1 if any could not be read."""
        client = get_catalog_api_client(CatalogIntegration.current().get_service_user())
        failed = False
        for site in Site.objects.all():
            configuration = getattr(site, "configuration", None)
            api_url = configuration and configuration.get_value("COURSE_CATALOG_API_URL")
            uuids, programs = [], {}
            if api_url:
                url = urljoin(f"{api_url}/", "programs/")
                try:
                    uuids = self._read(
                        client, url, {"exclude_utm": 1, "status": ("active", "retired"), "uuids_only": 1}
                    )
                    for uuid in uuids:
                        program = self._read(client, urljoin(url, f"{uuid}/"), {"exclude_utm": 1})
                        programs[PROGRAM_CACHE_KEY_TPL.format(uuid=uuid)] = program
                except Exception:  # pylint: disable=broad-except
                    logger.exception(f"Failed to read the programs of site {site.domain}.")
                    failed = True
                    continue
            cache.set_many(programs, None)
            cache.set(SITE_PROGRAM_UUIDS_CACHE_KEY_TPL.format(domain=site.domain), uuids, None)
            logger.info(f"Cached {len(uuids)} programs of site {site.domain}.")
        if failed:
            sys.exit(1)

    @staticmethod
    def _read(client, url, params):
        response = client.get(url, params=params)
        response.raise_for_status()
        return response.json()
