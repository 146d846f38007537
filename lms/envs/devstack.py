# The slice: written for this repository, in place of the platform's file of this path.
"""Settings for working on the LMS: no configuration file, and secrets that everyone knows."""

from .common import *  # noqa: F403

DEBUG = True
SECRET_KEY = "devstack-only-secret-key"
JWT_AUTH.update({"JWT_SECRET_KEY": "devstack-only-jwt-secret-of-32-bytes-or-more"})

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": REPO_ROOT / "lms.sqlite3"}}
