# The slice: written for this repository, in place of the platform's file of this path.
"""Test settings that the LMS and Studio share."""

from django.core.management.utils import get_random_secret_key

SECRET_KEY = get_random_secret_key()

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

CELERY_ALWAYS_EAGER = True
CELERY_RESULT_BACKEND = "django-cache"
