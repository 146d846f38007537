# The slice: written for this repository, in place of the platform's file of this path.
"""Look-ups of settings that differ from site to site."""

from crum import get_current_request

from openedx.core.djangoapps.site_configuration.models import SiteConfiguration


def get_current_site_configuration():
    """Find the configuration of the request's site."""
    return getattr(getattr(get_current_request(), "site", None), "configuration", None)


def get_value(val_name, default=None):
    """Look a value up in the current site's configuration."""
    configuration = get_current_site_configuration()
    return configuration.get_value(val_name, default) if configuration else default


def get_value_for_org(org, val_name, default=None):
    """Look a value up in the configuration of the site that lists an organisation."""
    return SiteConfiguration.get_value_for_org(org, val_name, default)
