# The slice: written for this repository, in place of the platform's file of this path.
"""
Look-ups of settings that differ from site to site.
"""

from crum import get_current_request

from openedx.core.djangoapps.site_configuration.models import SiteConfiguration


def get_current_site_configuration():
    """
    Find the configuration of the request's site.

    Returns:
        SiteConfiguration: the configuration; None without one, and outside of requests, as in Celery workers.
    """
    return getattr(getattr(get_current_request(), "site", None), "configuration", None)


def get_value(val_name, default=None):
    """
    Look a value up in the current site's configuration.

    Args:
        val_name (str): the setting.
        default (object): what to return if the site has no value.

    Returns:
        object: the site's value or the default.
    """
    configuration = get_current_site_configuration()
    return configuration.get_value(val_name, default) if configuration else default


def get_value_for_org(org, val_name, default=None):
    """
    Look a value up in the configuration of the site that lists an organisation.

    Args:
        org (str): the organisation.
        val_name (str): the setting.
        default (object): what to return if no site lists the organisation, or it has no value.

    Returns:
        object: the site's value or the default.
    """
    return SiteConfiguration.get_value_for_org(org, val_name, default)
