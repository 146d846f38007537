"""What the local stand-in of Credentials stores."""

from typing import ClassVar
from uuid import uuid4

from django.contrib.auth.models import AbstractUser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

STATUSES = ("awarded", "revoked")


class User(AbstractUser):
    """Created, and updated on every request, from the token's claims."""

    lms_user_id = models.IntegerField(null=True)


class CourseCertificate(models.Model):
    """The certificate configuration of a course run; those of programs are the programs file."""

    objects: ClassVar[models.Manager["CourseCertificate"]]
    course_id = models.CharField(max_length=255)
    certificate_type = models.CharField(max_length=255)
    certificate_available_date = models.DateTimeField(null=True)

    class Meta:
        unique_together = ("course_id", "certificate_type")


class Credential(models.Model):
    """
    A learner's certificate.

    It names the learner instead of pointing at a user: a user is demanded once, when it is created.
    """

    objects: ClassVar[models.Manager["Credential"]]

    PROGRAM = "program"
    COURSE_RUN = "course-run"

    uuid = models.UUIDField(default=uuid4, unique=True)
    username = models.CharField(max_length=255)
    type = models.CharField(max_length=10)
    key = models.CharField(max_length=255)  # the program's UUID or the course run's key
    mode = models.CharField(max_length=255, blank=True)
    status = models.CharField(max_length=10)
    date_override = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    created = models.DateTimeField()
    modified = models.DateTimeField()
    history = models.JSONField(default=list)  # the status of each POST that was stored

    class Meta:
        unique_together = ("username", "type", "key")

    @property
    def path(self) -> str:
        return f"/credentials/{self.uuid.hex}/"
