# The slice: written for this repository, in place of the platform's file of this path.
"""
Reads lists from the REST APIs of other services.
"""

import logging
from urllib.parse import urljoin

log = logging.getLogger(__name__)


def get_api_data(api_config, resource, api_client, base_api_url, querystring=None, raise_on_error=False):
    """
    Read all pages of a resource.

    Args:
        api_config (ConfigurationModel): the service's configuration; nothing is read while it is disabled.
        resource (str): the name of the collection, such as "credentials".
        api_client (requests.Session): an authenticated session.
        base_api_url (str): the API's root.
        querystring (dict): query parameters.
        raise_on_error (bool): pass errors on, instead of logging them and returning nothing.

    Returns:
        list[dict]: the items of all pages.

    Raises:
        Exception: what went wrong, if ``raise_on_error``.
    """
    if not api_config.enabled:
        log.warning(f"{api_config.API_NAME} configuration is disabled.")
        return []
    results = []
    try:
        page = 1
        while page:
            response = api_client.get(
                urljoin(f"{base_api_url}/", f"{resource}/"), params={**(querystring or {}), "page": page}
            )
            response.raise_for_status()
            data = response.json()
            results += data["results"]
            page = page + 1 if data.get("next") else None
    except Exception:  # pylint: disable=broad-except
        log.exception(f"Failed to retrieve data from the {api_config.API_NAME} API.")
        if raise_on_error:
            raise
        return []
    return results
