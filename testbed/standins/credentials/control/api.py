"""The control endpoints of the local stand-in of Credentials, for tests: without authentication, on loopback only."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from testbed.standins.credentials.api import STATUSES
from testbed.standins.credentials.control.faults import CLOCK, FAULTS
from testbed.standins.credentials.models import Credential, User


class ControlView(APIView):
    """
    Open to every caller; whoever can reach it is on this machine.

    Whatever is wrong with a request is an error: a misspelt option would make a test pass for nothing.
    """

    authentication_classes: list[type] = []
    permission_classes: list[type] = []

    def handle_exception(self, exc: Exception) -> Response:
        return Response({"detail": repr(exc)}, status=400)


class FaultsView(ControlView):
    """``faults/``."""

    def get(self, request: Request) -> Response:
        """Tell how often each fault was applied and how many requests are held."""
        return Response(FAULTS.report())

    def post(self, request: Request) -> Response:
        """Append a fault."""
        return Response({"id": FAULTS.add(**request.data)}, status=201)

    def delete(self, request: Request) -> Response:
        """Clear all faults and release what they hold."""
        FAULTS.clear()
        return Response(status=204)


class ClockView(ControlView):
    """``clock/``."""

    def put(self, request: Request) -> Response:
        """Set the clock by which certificates are stamped from now on, in seconds; below 0 it is behind."""
        CLOCK.offset = timedelta(seconds=request.data["offset"])
        return Response(status=204)


class RequestsView(ControlView):
    """``requests/``."""

    def get(self, request: Request) -> Response:
        """List the API requests so far; ``status`` is null where the connection was closed instead of an answer."""
        return Response(FAULTS.requests())


class StoredView(ControlView):
    """``credentials/``."""

    def get(self, request: Request) -> Response:
        """List all certificates with their whole history."""
        return Response(
            [
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
        )

    def post(self, request: Request) -> Response:
        """Store program certificates, and the users they belong to, without the API."""
        credentials = [_certificate(**record) for record in request.data]
        with transaction.atomic():
            usernames = {credential.username for credential in credentials}
            User.objects.bulk_create([User(username=username) for username in usernames], ignore_conflicts=True)
            Credential.objects.bulk_create(
                credentials,
                update_conflicts=True,
                unique_fields=["username", "type", "key"],
                update_fields=["status", "created", "modified"],
            )
        return Response(status=201)

    def patch(self, request: Request) -> Response:
        """Change nothing but the status, in bulk, as Credentials' command ``revoke_certificates`` does."""
        self._select().update(status=_status(request.data["status"]))
        return Response(status=204)

    def delete(self, request: Request) -> Response:
        """Delete program certificates; nothing is left of them."""
        self._select().delete()
        return Response(status=204)

    def _select(self) -> QuerySet[Credential]:
        """Return the program certificates of the learners whom the body names; each has to have one."""
        usernames = set(self.request.data["usernames"])
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
