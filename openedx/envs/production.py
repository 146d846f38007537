# The slice: written for this repository, in place of the platform's file of this path.
"""Reads the YAML file that configures a production site."""

import os

import yaml
from django.core.exceptions import ImproperlyConfigured

# Merged into what the settings module has already, instead of replacing it.
MERGED_SETTINGS = ("CELERY_QUEUES", "EVENT_BUS_PRODUCER_CONFIG", "JWT_AUTH")


def read_config(variable):
    """Read the configuration file that an environment variable names."""
    path = os.environ.get(variable)
    if not path:
        raise ImproperlyConfigured(f"The environment variable {variable} must name a YAML file")
    try:
        with open(path, encoding="utf-8") as file:
            config = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise ImproperlyConfigured(f"{variable}: cannot read {path}: {exc}") from exc
    if not isinstance(config, dict):
        raise ImproperlyConfigured(f"{variable}: {path} holds no YAML mapping")
    if not config.get("SECRET_KEY"):
        raise ImproperlyConfigured(f"{variable}: {path} has no SECRET_KEY")
    if not (config.get("JWT_AUTH") or {}).get("JWT_SECRET_KEY"):
        raise ImproperlyConfigured(f"{variable}: {path} has no JWT_AUTH: JWT_SECRET_KEY")
    return config


def broker_url(config):
    """Put the broker's URL together, as the platform does, from its parts."""
    user, password = config.get("CELERY_BROKER_USER") or "", config.get("CELERY_BROKER_PASSWORD") or ""
    return "{transport}://{credentials}{host}/{vhost}".format(
        transport=config.get("CELERY_BROKER_TRANSPORT") or "redis",
        credentials=f"{user}:{password}@" if user or password else "",
        host=config.get("CELERY_BROKER_HOSTNAME") or "localhost:6379",
        vhost=config.get("CELERY_BROKER_VHOST") or "",
    )
