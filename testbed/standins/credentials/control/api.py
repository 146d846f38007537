"""
The control endpoint of the local stand-in of Credentials, for tests: without authentication, on loopback only.

``control.client`` calls its functions, and those of ``control.faults``.
"""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse

from testbed.standins.credentials.control import faults
from testbed.standins.credentials.models import STATUSES, Credential, User


def credentials() -> list[dict[str, Any]]:
    """Return all stored certificates, with the history of each."""
    return [
        {
            "username": credential.username,
            "type": credential.type,
            "program_uuid": credential.key if credential.type == Credential.PROGRAM else None,
            "course_run_key": credential.key if credential.type == Credential.COURSE_RUN else None,
            "status": credential.status,
            "uuid": str(credential.uuid),
            "created": credential.created.isoformat(timespec="microseconds"),
            "modified": credential.modified.isoformat(timespec="microseconds"),
            "posts": len(credential.history),
            "history": credential.history,
        }
        for credential in Credential.objects.order_by("pk")
    ]


def store(records: list[dict[str, str]]) -> None:
    """Store program certificates, and the users they belong to. A record has the arguments of ``_certificate``."""
    made = [_certificate(**record) for record in records]
    with transaction.atomic():
        usernames = {credential.username for credential in made}
        User.objects.bulk_create([User(username=username) for username in usernames], ignore_conflicts=True)
        Credential.objects.bulk_create(
            made,
            update_conflicts=True,
            unique_fields=["username", "type", "key"],
            update_fields=["status", "created", "modified"],
        )


def change_status(usernames: Iterable[str], status: str) -> None:
    """Change the status of all program certificates of some learners, and nothing else: ``modified`` stays."""
    _select(set(usernames)).update(status=_status(status))


def delete(usernames: Iterable[str]) -> None:
    """Delete all program certificates of some learners for good."""
    _select(set(usernames)).delete()


def _select(usernames: set[str]) -> QuerySet[Credential]:
    """Return the program certificates of some learners; each has to have one."""
    selected = Credential.objects.filter(type=Credential.PROGRAM, username__in=usernames)
    missing = usernames - set(selected.values_list("username", flat=True))
    if missing or not usernames:
        raise ValueError(f"usernames without a program certificate: {sorted(missing)}")
    return selected


def _certificate(username: str, program_uuid: str, status: str, modified: str) -> Credential:
    """Make a program certificate; of any program, also of one that cannot be awarded. The time is ISO 8601."""
    return Credential(
        username=username,
        type=Credential.PROGRAM,
        key=str(UUID(program_uuid)),
        status=_status(status),
        created=datetime.fromisoformat(modified),
        modified=datetime.fromisoformat(modified),
    )


def _status(value: str) -> str:
    if value not in STATUSES:
        raise ValueError(f"not a status: {value}")
    return value


OWN = (credentials, store, change_status, delete)
ACTIONS: dict[str, Callable[..., Any]] = {function.__name__: function for function in (*OWN, *faults.ACTIONS)}


def control(request: HttpRequest) -> HttpResponse:
    """
    Call one of ``ACTIONS``, which the body names.

    Whatever is wrong with a request is an error: a misspelt option would make a test pass for nothing.
    """
    try:
        body = json.loads(request.body)
        return JsonResponse(ACTIONS[body["do"]](*body["args"], **body["kwargs"]), safe=False)
    except Exception as error:
        return HttpResponseBadRequest(repr(error))
