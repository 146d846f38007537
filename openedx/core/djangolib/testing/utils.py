# The slice: written for this repository, in place of the platform's file of this path.
"""Helpers for tests."""

from unittest import skipUnless

from django.conf import settings


def skip_unless_lms(test):
    """Skip a test function or class outside of the LMS."""
    return skipUnless(settings.ROOT_URLCONF == "lms.urls", "Test only valid in LMS")(test)
