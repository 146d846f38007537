# The slice: written for this repository, in place of the platform's file of this path.
"""Settings for Studio's tests."""

from .common import *  # noqa: F403
from openedx.envs.test import *  # noqa: F403 - after common, which it overrides
