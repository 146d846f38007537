# The slice: written for this repository, in place of the platform's file of this path.
"""Settings for working on Studio: no configuration file, and a secret that everyone knows."""

from .common import *  # noqa: F403

DEBUG = True
SECRET_KEY = "devstack-only-secret-key"

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": REPO_ROOT / "lms.sqlite3"}}
