"""
The control endpoint of the local stand-in of Credentials, for tests: without authentication, on loopback only.

The functions are described in ``control.client``.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from testbed.standins.credentials.api import STATUSES
from testbed.standins.credentials.control.faults import CLOCK, FAULTS
from testbed.standins.credentials.models import Credential, User


def set_clock(offset: float) -> None:
    CLOCK.offset = timedelta(seconds=offset)


def credentials() -> list[dict[str, Any]]:
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
    """Store program certificates, and the users they belong to, without the API."""
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
    _select(set(usernames)).update(status=_status(status))


def delete(usernames: Iterable[str]) -> None:
    _select(set(usernames)).delete()


def _select(usernames: set[str]) -> QuerySet[Credential]:
    """Return the program certificates of some learners; each has to have one."""
    selected = Credential.objects.filter(type=Credential.PROGRAM, username__in=usernames)
    missing = usernames - set(selected.values_list("username", flat=True))
    if missing or not usernames:
        raise ValueError(f"usernames without a program certificate: {sorted(missing)}")
    return selected


def _certificate(
    username: str, program_uuid: str, status: str, modified: str, created: str | None = None
) -> Credential:
    """Make a program certificate; of any program, also of one that cannot be awarded."""
    return Credential(
        username=username,
        type=Credential.PROGRAM,
        key=str(UUID(program_uuid)),
        status=_status(status),
        created=datetime.fromisoformat(created or modified),
        modified=datetime.fromisoformat(modified),
    )


def _status(value: str) -> str:
    if value not in STATUSES:
        raise ValueError(f"not a status: {value}")
    return value


OWN = (set_clock, credentials, store, change_status, delete)
ACTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (*OWN, FAULTS.fault, FAULTS.clear, FAULTS.report, FAULTS.requests)
}


class ControlView(APIView):
    """
    Calls the function that a body ``{"do": <name>, <arguments>}`` names.

    It is open to every caller; whoever can reach it is on this machine. Whatever is wrong with a request is an error: a
    misspelt option would make a test pass for nothing.
    """

    authentication_classes: list[type] = []
    permission_classes: list[type] = []

    def post(self, request: Request) -> Response:
        return Response(ACTIONS[request.data.pop("do")](**request.data))

    def handle_exception(self, exc: Exception) -> Response:
        return Response({"detail": repr(exc)}, status=400)
