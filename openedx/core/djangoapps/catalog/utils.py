# The slice: written for this repository, in place of the platform's file of this path.
"""Programs, as ``cache_programs`` left them in the cache."""

import logging

import requests
from django.core.cache import cache
from edx_rest_api_client.auth import SuppliedJwtAuth

from openedx.core.djangoapps.catalog.cache import PROGRAM_CACHE_KEY_TPL, SITE_PROGRAM_UUIDS_CACHE_KEY_TPL
from openedx.core.djangoapps.oauth_dispatch.jwt import create_jwt_for_user

log = logging.getLogger(__name__)


def get_catalog_api_client(user):
    """Open a session with the catalog."""
    session = requests.Session()
    session.auth = SuppliedJwtAuth(create_jwt_for_user(user))
    return session


def get_programs(site=None, uuid=None):
    """Find a site's programs, or one program."""
    if uuid:
        program = cache.get(PROGRAM_CACHE_KEY_TPL.format(uuid=uuid))
        if not program:
            log.warning(f"Failed to get program {uuid} from the cache.")
        return program
    configuration = getattr(site, "configuration", None)
    if not (configuration and configuration.get_value("COURSE_CATALOG_API_URL")):
        return []
    uuids = cache.get(SITE_PROGRAM_UUIDS_CACHE_KEY_TPL.format(domain=site.domain), [])
    if not uuids:
        log.warning(f"Failed to get program UUIDs from the cache for site {site.domain}.")
    return get_programs_by_uuids(uuids)


def get_programs_by_uuids(uuids):
    """List the programs with these uuids."""
    keys = [PROGRAM_CACHE_KEY_TPL.format(uuid=uuid) for uuid in uuids]
    programs = cache.get_many(keys)
    for uuid, key in zip(uuids, keys, strict=True):
        if key not in programs:
            log.warning(f"Failed to get program {uuid} from the cache.")
    return [programs[key] for key in keys if key in programs]
