# The slice: written for this repository, in place of the platform's file of this path.
"""Settings that the LMS and Studio share."""

from pathlib import Path

REPO_ROOT = Path(__file__).resolve().parents[2]

# Each of test, devstack and production brings its own.
SECRET_KEY = None

DEBUG = False
USE_TZ = True
TIME_ZONE = "UTC"
SITE_ID = 1
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sites",
    "config_models",
    "django_celery_results",
    "openedx_events",
    "common.djangoapps.student",
    "openedx.core.djangoapps.content.course_overviews",
    "openedx.core.djangoapps.site_configuration",
]

JWT_AUTH = {
    "JWT_ALGORITHM": "HS256",
    "JWT_AUDIENCE": "change-me",
    "JWT_ISSUER": "http://127.0.0.1:8000/oauth2",
    "JWT_SECRET_KEY": None,
    "JWT_SUPPORTED_VERSION": "1.2.0",
}

# Celery reads the Django settings without a namespace, so these are its upper-case names.
CELERY_ROUTES = "openedx.core.lib.celery.routers.route_task"
CELERYD_HIJACK_ROOT_LOGGER = False
EXPLICIT_QUEUES = {}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"standard": {"format": "%(asctime)s %(levelname)s %(process)d [%(name)s] %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "standard"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}

# Event type -> topic -> {"event_key_field": str, "enabled": bool}.
EVENT_BUS_PRODUCER_CONFIG = {}
