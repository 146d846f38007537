# The slice: written for this repository, in place of the platform's file of this path.
"""Settings for the LMS's tests."""

from django.core.management.utils import get_random_secret_key

from .common import *  # noqa: F403
from openedx.envs.test import *  # noqa: F403 - after common, which it overrides

# The platform's own tests create applications. Nothing else needs its tables.
INSTALLED_APPS += ["oauth2_provider"]

JWT_AUTH.update({"JWT_SECRET_KEY": get_random_secret_key()})

CREDENTIALS_INTERNAL_SERVICE_URL = "https://credentials-internal.example.com"
