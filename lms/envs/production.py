# The slice: written for this repository, in place of the platform's file of this path.
"""Settings of a real LMS: ``common`` plus the YAML file named by the environment variable ``LMS_CFG``."""

from openedx_events.event_bus import merge_producer_configs

from openedx.core.lib.derived import derive_settings
from openedx.envs.production import MERGED_SETTINGS, broker_url, read_config

from .common import *  # noqa: F403

_config = read_config("LMS_CFG")

vars().update({name: value for name, value in _config.items() if name not in MERGED_SETTINGS})
JWT_AUTH.update(_config["JWT_AUTH"])
if _config.get("CELERY_QUEUES"):
    CELERY_QUEUES = {queue: {} for queue in _config["CELERY_QUEUES"]}
if "BROKER_URL" not in _config:
    BROKER_URL = broker_url(_config)
INSTALLED_APPS += _config.get("ADDL_INSTALLED_APPS") or []

derive_settings(__name__)

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
