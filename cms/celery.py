# The slice: written for this repository, in place of the platform's file of this path.
"""Studio's Celery application."""

import os

# Before the application reads them.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cms.envs.production")

from openedx.core.lib.celery import APP  # noqa: F401
