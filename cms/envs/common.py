# The slice: written for this repository, in place of the platform's file of this path.
"""Settings of Studio. It awards no certificates, so it carries no program-certificate events."""

import os

from openedx.envs.common import *  # noqa: F403

SERVICE_VARIANT = os.environ.get("SERVICE_VARIANT", "cms")

ROOT_URLCONF = "cms.urls"

QUEUE_VARIANT = "cms."
DEFAULT_PRIORITY_QUEUE = f"edx.{QUEUE_VARIANT}core.default"
CELERY_QUEUES = {DEFAULT_PRIORITY_QUEUE: {}}
CELERY_DEFAULT_QUEUE = DEFAULT_PRIORITY_QUEUE
CELERY_DEFAULT_ROUTING_KEY = DEFAULT_PRIORITY_QUEUE
