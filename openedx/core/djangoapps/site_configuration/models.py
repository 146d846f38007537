# The slice: written for this repository, in place of the platform's file of this path.
"""Settings that differ from site to site."""

from django.contrib.sites.models import Site
from django.db import models
from jsonfield.fields import JSONField


class SiteConfiguration(models.Model):
    """The values of a site. They count only while the configuration is enabled."""

    site = models.OneToOneField(Site, related_name="configuration", on_delete=models.CASCADE)
    enabled = models.BooleanField(default=False)
    # Text-backed, so that every database can search in it.
    site_values = JSONField(null=False, blank=True, default=dict)

    def get_value(self, name, default=None):
        """Look a value up."""
        return self.site_values.get(name, default) if self.enabled else default

    @classmethod
    def get_value_for_org(cls, org, name, default=None):
        """Look a value up in the enabled configuration that lists an organisation."""
        for configuration in cls.objects.filter(site_values__contains=org, enabled=True):
            orgs = configuration.get_value("course_org_filter", [])
            if org in ([orgs] if isinstance(orgs, str) else orgs):
                return configuration.get_value(name, default)
        return default
