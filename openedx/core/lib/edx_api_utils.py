# The slice: written for this repository, in place of the platform's file of this path.
"""Reads lists from the REST APIs of other services."""

import logging
from urllib.parse import urljoin

log = logging.getLogger(__name__)


def get_api_data(
    api_config, resource, api_client, base_api_url, querystring, traverse_pagination=True, raise_on_error=False
):
    """Read a resource. As in the platform, requests have no time-out, and a page without results counts as empty."""
    url = urljoin(f"{base_api_url}/", f"{resource}/")
    try:
        page = _get_page(api_client, url, querystring)
        if not traverse_pagination:
            return page
        results, number = page.get("results", []), 1
        while page.get("next"):
            number += 1
            page = _get_page(api_client, url, {**querystring, "page": number})
            results += page.get("results", [])
    except Exception:  # pylint: disable=broad-except
        log.exception(f"Failed to retrieve data from the {api_config.API_NAME} API.")
        if raise_on_error:
            raise
        return []
    return results


def _get_page(api_client, url, querystring):
    response = api_client.get(url, params=querystring)
    response.raise_for_status()
    return response.json()
