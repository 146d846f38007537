"""Settings of the LMS's tests, with the database that the environment variable ``TESTBED_DATABASE`` gives as JSON."""

import json
import os

import testbed.servers.mysql  # noqa: F401 - brings the driver
from lms.envs.test import *  # noqa: F403

DATABASES = {"default": json.loads(os.environ["TESTBED_DATABASE"])}
