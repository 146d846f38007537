# The slice: written for this repository, in place of the platform's file of this path.
from django.apps import AppConfig


class CredentialsConfig(AppConfig):
    name = "openedx.core.djangoapps.credentials"

    def ready(self):
        """Import the tasks, which Celery does not find by itself, and connect the receivers."""
        from openedx.core.djangoapps.credentials.signals import handle_cert_change
        from openedx.core.djangoapps.credentials.tasks.v1 import tasks  # noqa: F401
        from openedx.core.djangoapps.signals.signals import COURSE_CERT_CHANGED

        COURSE_CERT_CHANGED.connect(handle_cert_change)
