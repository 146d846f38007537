# The slice: written for this repository, in place of the platform's file of this path.
"""Settings of Studio. It awards no certificates, so it carries no program-certificate events."""

from openedx.envs.common import *  # noqa: F403

ROOT_URLCONF = "cms.urls"
