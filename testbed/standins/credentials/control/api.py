"""The control endpoints of the local stand-in of Credentials, for tests: without authentication, on loopback only."""

from datetime import timedelta

from django.db import transaction
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from testbed.standins.credentials.api import STATUSES
from testbed.standins.credentials.control.clock import CLOCK
from testbed.standins.credentials.control.faults import FAULTS, KINDS
from testbed.standins.credentials.models import Credential, User

# Not only refusals: a gateway's page may be 200, and a redirect leads, by a Location among the headers, elsewhere.
FAULT_STATUSES = (200, 301, 302, 307, 308, 400, 403, 404, 429, 500, 503, 504)


class FaultSerializer(serializers.Serializer):
    """A fault, as ``testbed.standins.credentials.control.faults.Fault`` takes it."""

    kind = serializers.ChoiceField(KINDS)
    times = serializers.IntegerField(min_value=1, allow_null=True, required=False)
    method = serializers.CharField(allow_null=True, required=False)
    path = serializers.CharField(allow_null=True, required=False)
    type = serializers.CharField(allow_null=True, required=False)
    status = serializers.ChoiceField(FAULT_STATUSES, required=False)
    headers = serializers.DictField(child=serializers.CharField(), required=False)
    body = serializers.JSONField(required=False)
    seconds = serializers.FloatField(min_value=0, required=False)

    def validate(self, attrs):
        # A misspelt option would make a test pass for nothing.
        if unknown := sorted(set(self.initial_data) - set(self.fields)):
            raise serializers.ValidationError(dict.fromkeys(unknown, "Unknown option."))
        needed = {"status": "status", "status_after": "status", "delay": "seconds"}.get(attrs["kind"])
        if needed and needed not in attrs:
            raise serializers.ValidationError({needed: "This kind of fault needs it."})
        return attrs


class RecordSerializer(serializers.Serializer):
    """A program certificate to be stored as it is; of any program, also of one that cannot be awarded."""

    username = serializers.CharField(max_length=150)
    program_uuid = serializers.UUIDField()
    status = serializers.ChoiceField(STATUSES)
    modified = serializers.DateTimeField()
    created = serializers.DateTimeField(required=False)  # as modified, without it


class SelectionSerializer(serializers.Serializer):
    """The learners whose program certificates are meant; each has to have one."""

    usernames = serializers.ListField(child=serializers.CharField(), allow_empty=False)

    def validate_usernames(self, value):
        # A misspelt username would make a test pass for nothing.
        selected = Credential.objects.filter(type=Credential.PROGRAM, username__in=value)
        if missing := sorted(set(value) - set(selected.values_list("username", flat=True))):
            raise serializers.ValidationError([f"{username} has no program certificate." for username in missing])
        return value


class StatusSerializer(SelectionSerializer):
    """The same, with the status that they get."""

    status = serializers.ChoiceField(STATUSES)


class ClockSerializer(serializers.Serializer):
    """How wrong the clock is, in seconds; below 0 it is behind."""

    offset = serializers.FloatField()


class ControlView(APIView):
    """Open to every caller; whoever can reach it is on this machine."""

    authentication_classes = []
    permission_classes = []


class FaultsView(ControlView):
    """``faults/``."""

    def get(self, request):
        """Tell how often each fault was applied and how many requests are held."""
        return Response(FAULTS.report())

    def post(self, request):
        """Append a fault."""
        serializer = FaultSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return Response({"id": FAULTS.add(**serializer.validated_data)}, status=201)

    def delete(self, request):
        """Clear all faults and release what they hold."""
        FAULTS.clear()
        return Response(status=204)


class ClockView(ControlView):
    """``clock/``."""

    def put(self, request):
        """Set the clock by which certificates are stamped from now on."""
        serializer = ClockSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        CLOCK.offset = timedelta(seconds=serializer.validated_data["offset"])
        return Response(serializer.data)


class RequestsView(ControlView):
    """``requests/``."""

    def get(self, request):
        """List the API requests so far; ``status`` is null where the connection was closed instead of an answer."""
        return Response(FAULTS.requests())


class StoredView(ControlView):
    """``credentials/``."""

    def get(self, request):
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

    def post(self, request):
        """Store program certificates, and the users they belong to, without the API."""
        serializer = RecordSerializer(data=request.data, many=True)
        serializer.is_valid(raise_exception=True)
        records = serializer.validated_data
        with transaction.atomic():
            usernames = {record["username"] for record in records}
            User.objects.bulk_create([User(username=username) for username in usernames], ignore_conflicts=True)
            Credential.objects.bulk_create(
                [
                    Credential(
                        username=record["username"],
                        type=Credential.PROGRAM,
                        key=str(record["program_uuid"]),
                        status=record["status"],
                        created=record.get("created", record["modified"]),
                        modified=record["modified"],
                    )
                    for record in records
                ],
                update_conflicts=True,
                unique_fields=["username", "type", "key"],
                update_fields=["status", "created", "modified"],
            )
        return Response({"stored": len(records)}, status=201)

    def patch(self, request):
        """Change nothing but the status, in bulk, as Credentials' command ``revoke_certificates`` does."""
        selected, data = self._select(StatusSerializer)
        selected.update(status=data["status"])
        return Response(status=204)

    def delete(self, request):
        """Delete program certificates; nothing is left of them."""
        selected, _data = self._select(SelectionSerializer)
        selected.delete()
        return Response(status=204)

    def _select(self, serializer_class):
        """Return the certificates that the body selects, and the body."""
        serializer = serializer_class(data=self.request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        return Credential.objects.filter(type=Credential.PROGRAM, username__in=data["usernames"]), data
