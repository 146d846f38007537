# The slice: written for this repository, in place of the platform's file of this path.
"""Test data."""

import factory
from django.contrib.sites.models import Site
from factory.django import DjangoModelFactory

from openedx.core.djangoapps.site_configuration.models import SiteConfiguration


class SiteFactory(DjangoModelFactory):
    """A site."""

    class Meta:
        model = Site
        django_get_or_create = ("domain",)

    domain = factory.Sequence("{}.testserver.fake".format)
    name = factory.LazyAttribute(lambda site: site.domain)


class SiteConfigurationFactory(DjangoModelFactory):
    """An enabled configuration without values."""

    class Meta:
        model = SiteConfiguration

    enabled = True
    site = factory.SubFactory(SiteFactory)
    site_values = factory.LazyFunction(dict)
