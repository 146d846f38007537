"""Settings of the local stand-in of Discovery; its ``__main__`` puts the options into the environment."""

import os
import secrets

from testbed.standins import serving

SECRET_KEY = secrets.token_hex()  # signs nothing that has to outlive the process
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "testbed.standins.discovery.api"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
LOGGING = serving.LOGGING
REST_FRAMEWORK = {"DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"]}

JWT = serving.jwt_settings("DISCOVERY")
PROGRAMS, _ = serving.read_programs(os.environ["DISCOVERY_STANDIN_PROGRAMS"])
