"""An LMS without the change, for the measurements to compare with: its tasks announce nothing."""

from django.apps import AppConfig


class WithoutEmitterConfig(AppConfig):
    name = "benchmarks"

    def ready(self) -> None:
        """Have the tasks' two calls do nothing."""
        from openedx.core.djangoapps.programs import tasks

        tasks.emit_program_certificate_awarded = tasks.emit_program_certificate_revoked = lambda *args: True
