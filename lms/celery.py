# The slice: written for this repository, in place of the platform's file of this path.
"""The LMS's Celery application: ``celery --app=lms.celery:APP worker``."""

import os

# Before the application reads them.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lms.envs.production")

from openedx.core.lib.celery import APP  # noqa: F401
