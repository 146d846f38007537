# The slice: written for this repository, in place of the platform's file of this path.
"""Settings of a real LMS: ``common`` plus the YAML file named by the environment variable ``LMS_CFG``."""

import os

import yaml
from django.core.exceptions import ImproperlyConfigured
from openedx_events.event_bus import merge_producer_configs

from .common import *  # noqa: F403

if "LMS_CFG" not in os.environ:
    raise ImproperlyConfigured("The environment variable LMS_CFG must name a YAML file")
with open(os.environ["LMS_CFG"], encoding="utf-8") as _file:
    _config = {"CELERY_BROKER_TRANSPORT": "redis", **yaml.safe_load(_file)}

_merged = ("EVENT_BUS_PRODUCER_CONFIG", "JWT_AUTH")
vars().update({name: value for name, value in _config.items() if name not in _merged})
JWT_AUTH.update(_config.get("JWT_AUTH") or {})
INSTALLED_APPS += _config.get("ADDL_INSTALLED_APPS") or []

_parts = ("TRANSPORT", "USER", "PASSWORD", "HOSTNAME", "VHOST")
BROKER_URL = "{}://{}:{}@{}/{}".format(*(_config.get(f"CELERY_BROKER_{part}") or "" for part in _parts))

EXPLICIT_QUEUES = {
    f"openedx.core.djangoapps.programs.tasks.{task}": {"queue": PROGRAM_CERTIFICATES_ROUTING_KEY}
    for task in (
        "award_program_certificates",
        "revoke_program_certificates",
        "update_certificate_available_date_on_course_update",
        "award_course_certificate",
    )
}

# Last, as in the platform: what the file says wins, and must be literal booleans.
EVENT_BUS_PRODUCER_CONFIG = merge_producer_configs(
    EVENT_BUS_PRODUCER_CONFIG,
    _config.get("EVENT_BUS_PRODUCER_CONFIG") or {},
)
