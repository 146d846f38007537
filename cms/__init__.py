# The slice: written for this repository, in place of the platform's file of this path.
"""Studio. Importing it makes its Celery application the current one."""

from .celery import APP as CELERY_APP  # noqa: F401
