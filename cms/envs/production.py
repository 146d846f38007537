# The slice: written for this repository, in place of the platform's file of this path.
"""Settings of a real Studio: ``common`` plus the YAML file named by the environment variable ``CMS_CFG``."""

from openedx_events.event_bus import merge_producer_configs

from openedx.envs.production import MERGED_SETTINGS, broker_url, read_config

from .common import *  # noqa: F403

_config = read_config("CMS_CFG")

vars().update({name: value for name, value in _config.items() if name not in MERGED_SETTINGS})
JWT_AUTH.update(_config["JWT_AUTH"])
if "BROKER_URL" not in _config:
    BROKER_URL = broker_url(_config)

EVENT_BUS_PRODUCER_CONFIG = merge_producer_configs(
    EVENT_BUS_PRODUCER_CONFIG,
    _config.get("EVENT_BUS_PRODUCER_CONFIG") or {},
)
