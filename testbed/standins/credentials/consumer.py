"""
The local stand-in of Credentials, the day after: it takes certificates from the LMS's events, and is called by nobody.

It keeps the rule of every consumer: for each learner (user id) and program, the event with the latest time counts. A
certificate has its event's time as ``modified``. It stores what the event says through the function that a POST goes
through, which announces each certificate if the settings enable that: here they must not.
"""

import json
from typing import Any
from uuid import UUID

from django.core.management import call_command
from django.db import transaction
from openedx_events.data import EventsMetadata
from openedx_events.learning.data import ProgramCertificateData

from testbed.standins.credentials import settings
from testbed.standins.credentials.api import store
from testbed.standins.credentials.events import SIGNALS
from testbed.standins.credentials.models import Credential, User


def consume(group: str) -> None:
    """Consume as a group, from the topic's start or where it has come, until the process ends or the bus goes away."""
    for event in SIGNALS.values():
        event.connect(_take)
    extra = {"consumer_name": group, "check_backlog": True}
    call_command("consume_events", "--topic", settings.TOPIC, "--group_id", group, "--extra", json.dumps(extra))


@transaction.atomic
def _take(
    metadata: EventsMetadata, program_certificate: ProgramCertificateData, from_event_bus: bool, **kwargs: Any
) -> None:
    if not from_event_bus:
        return
    learner, key = program_certificate.user, str(UUID(program_certificate.program.uuid))
    # The user id is who it is. A POST has the username alone, so a learner who was renamed is somebody else to it.
    user = User.objects.filter(lms_user_id=learner.id).first() or User(lms_user_id=learner.id)
    certificates = Credential.objects.filter(username=user.username)
    if certificates.filter(key=key, modified__gt=metadata.time).exists():
        return
    if user.username != learner.pii.username:
        certificates.update(username=learner.pii.username)
    user.username, user.email = learner.pii.username, learner.pii.email
    user.save()
    identity = {"username": user.username, "type": Credential.PROGRAM, "key": key}
    store(**identity, status=program_certificate.status, modified=metadata.time)
