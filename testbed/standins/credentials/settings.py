"""Settings of the local stand-in of Credentials; its ``__main__`` puts the options into the environment."""

import json
import os
import secrets
from uuid import UUID

import yaml

from testbed.run.inputs import AWARDED, REVOKED

SECRET_KEY = secrets.token_hex()  # signs nothing that has to outlive the process
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "testbed.standins.credentials.api"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    "testbed.standins.credentials",
]
MIDDLEWARE = [
    "testbed.standins.credentials.control.faults.FaultGate",
    "django.middleware.common.CommonMiddleware",  # APPEND_SLASH: 301, also for a POST
]
TIME_ZONE = "UTC"
LOGGING_CONFIG = None  # __main__ configures it
OPENEDX_TELEMETRY: list[str] = []
DATA_UPLOAD_MAX_MEMORY_SIZE = None  # tests store many thousand certificates at once

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["CREDENTIALS_STANDIN_DATABASE"],
        "CONN_MAX_AGE": None,  # one connection a thread; the server closes it with the thread's HTTP connection
        # A transaction that begins by reading and then has to write fails with "database is locked" when another one
        # wrote in between, however long the timeout. One that begins by taking the write lock waits for its turn.
        # With a write-ahead log, readers do not wait for a writer.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIGRATION_MODULES = {"auth": None, "contenttypes": None}  # all tables straight from the models
AUTH_USER_MODEL = "credentials.User"

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 20,
    "DATETIME_FORMAT": "%Y-%m-%dT%H:%M:%SZ",
    "DEFAULT_THROTTLE_RATES": {"user": "15/minute"},
}

# The domain of the Site, which certificates are shown under in events.
SITE_DOMAIN = "credentials.example.com"

# Whatever the file lists has an active certificate configuration here, and its course runs are in the catalog.
with open(os.environ["CREDENTIALS_STANDIN_PROGRAMS"], encoding="utf-8") as _file:
    _data = json.load(_file)
PROGRAMS = {str(UUID(program["uuid"])): program for program in _data["programs"]}
RUNS = {
    uuid: {run["key"] for course in program["courses"] for run in course["course_runs"]}
    for uuid, program in PROGRAMS.items()
}
COURSE_RUNS = set(_data["course_runs"]).union(*RUNS.values())

# As in the real one: both events are off, and topics have a prefix.
EVENT_BUS_PRODUCER = "edx_event_bus_redis.create_producer"
EVENT_BUS_CONSUMER = "edx_event_bus_redis.RedisEventConsumer"
EVENT_BUS_TOPIC_PREFIX = "dev"
TOPIC = "learning-program-certificate-lifecycle"
EVENT_BUS_PRODUCER_CONFIG = {
    event_type: {TOPIC: {"event_key_field": "program_certificate.program.uuid", "enabled": False}}
    for event_type in (AWARDED, REVOKED)
}

# An operator's YAML file. As in the real one, a setting in it replaces the whole setting, and nothing is merged.
if _path := os.environ.get("CREDENTIALS_CFG"):
    with open(_path, encoding="utf-8") as _file:
        globals().update(yaml.safe_load(_file))
    # Sends what is enabled to the bus. Its start takes a third of a second, so only where it can be enabled.
    INSTALLED_APPS.append("openedx_events")
