# The slice: written for this repository, in place of the platform's file of this path.
"""Tells the LMS from Studio."""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


def ensure_lms(message="This code may only be called by LMS, but it was called by CMS"):
    """Refuse to go on outside of the LMS."""
    if settings.ROOT_URLCONF != "lms.urls":
        raise ImproperlyConfigured(message)
