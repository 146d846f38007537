# The slice: written for this repository, in place of the platform's file of this path.
"""The Celery application. Only ``lms.celery`` imports it."""

from celery import Celery

APP = Celery("proj")
APP.config_from_object("django.conf:settings")
APP.autodiscover_tasks()
