"""The REST API of the local stand-in of Credentials: what the LMS calls, answered as the real service answers."""

from collections import defaultdict
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.views.defaults import server_error
from edx_rest_framework_extensions.permissions import NotJwtRestrictedApplication
from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey
from rest_framework import serializers
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import BasePermission, IsAdminUser, IsAuthenticated
from rest_framework.response import Response
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from testbed.standins.credentials import events
from testbed.standins.credentials.control.clock import CLOCK
from testbed.standins.credentials.models import CourseCertificate, Credential, User

TIMESTAMP = "%Y-%m-%dT%H:%M:%SZ"
STATUSES = ("awarded", "revoked")


class CourseKeyField(serializers.CharField):
    """A course run's key."""

    def to_internal_value(self, data):
        value = super().to_internal_value(data)
        try:
            CourseKey.from_string(value)
        except InvalidKeyError as error:
            raise serializers.ValidationError(f"[{value}] is not a valid course key.") from error
        return value


class ProgramSerializer(serializers.Serializer):
    """``credential`` of a program certificate."""

    program_uuid = serializers.UUIDField()

    def to_internal_value(self, data):
        program_uuid = super().to_internal_value(data)["program_uuid"]
        if program_uuid not in settings.PROGRAMS:
            # From validate() the message would come out as a list.
            raise serializers.ValidationError(
                {"program_uuid": f"No active ProgramCertificate exists for program [{program_uuid}]"}
            )
        return {"type": Credential.PROGRAM, "key": str(program_uuid)}


class CourseRunSerializer(serializers.Serializer):
    """``credential`` of a course certificate."""

    course_run_key = CourseKeyField(max_length=255)
    mode = serializers.CharField(max_length=255)

    def to_internal_value(self, data):
        value = super().to_internal_value(data)
        if value["course_run_key"] not in settings.COURSE_RUNS:
            raise serializers.ValidationError(
                f"CourseCertificate failed to create because the CourseRun {value['course_run_key']} doesn't exist in "
                "the catalog"
            )
        return {"type": Credential.COURSE_RUN, "key": value["course_run_key"], "mode": value["mode"]}


class AnyCredentialSerializer(serializers.Serializer):
    """``credential``, as its ``type`` demands."""

    type = serializers.ChoiceField((Credential.PROGRAM, Credential.COURSE_RUN))

    def to_internal_value(self, data):
        credential_type = super().to_internal_value(data)["type"]
        serializer = ProgramSerializer() if credential_type == Credential.PROGRAM else CourseRunSerializer()
        return serializer.run_validation(data)


class DateOverrideSerializer(serializers.Serializer):
    """``date_override``."""

    date = serializers.DateTimeField()


class CredentialSerializer(serializers.Serializer):
    """The body of a POST; ``lms_user_id`` and whatever else it has is ignored."""

    username = serializers.CharField(max_length=255)
    credential = AnyCredentialSerializer()
    status = serializers.ChoiceField(STATUSES, default="awarded")
    date_override = DateOverrideSerializer(allow_null=True, default=None)

    def to_representation(self, instance):
        # The real one looks up, for each certificate anew, what belongs to it: a page of 20 takes 68 queries, a list of
        # two 14.
        for _ in range(3):
            Credential.objects.get(pk=instance.pk)
        details = {"type": instance.type, "credential_id": 0}
        if instance.type == Credential.PROGRAM:
            details["program_uuid"] = instance.key
            if (program_uuid := UUID(instance.key)) in settings.PROGRAMS:
                details["credential_id"] = list(settings.PROGRAMS).index(program_uuid) + 1
        else:
            configuration = CourseCertificate.objects.get(course_id=instance.key, certificate_type=instance.mode)
            details |= {"credential_id": configuration.id, "course_run_key": instance.key, "mode": instance.mode}
        return {
            "username": instance.username,
            "credential": details,
            "status": instance.status,
            "uuid": str(instance.uuid),
            "attributes": [],
            "date_override": instance.date_override,
            "created": instance.created.strftime(TIMESTAMP),
            "modified": instance.modified.strftime(TIMESTAMP),
            "certificate_url": self.context["request"].build_absolute_uri(instance.path),
        }


class CourseCertificateSerializer(serializers.Serializer):
    """The body of a POST to ``course_certificates/``."""

    id = serializers.IntegerField(read_only=True)
    course_id = CourseKeyField(max_length=255)
    certificate_type = serializers.CharField(max_length=255)
    certificate_available_date = serializers.DateTimeField(allow_null=True, default=None, format=TIMESTAMP)
    is_active = serializers.BooleanField(default=True)


class FilterSerializer(serializers.Serializer):
    """The query of a GET; unknown parameters are ignored, empty ones filter nothing."""

    username = serializers.CharField(required=False)
    type = serializers.ChoiceField((Credential.PROGRAM, Credential.COURSE_RUN), required=False)
    status = serializers.ChoiceField(STATUSES, required=False)
    program_uuid = serializers.UUIDField(required=False)
    only_visible = serializers.BooleanField(default=False)


class MayListOrAward(BasePermission):
    """Staff may POST; a superuser may list everything, anybody else their own."""

    def has_permission(self, request, view):
        if request.method == "POST":
            return request.user.is_staff
        return request.user.is_superuser or request.query_params.get("username") == request.user.username


class LearnerThrottle(UserRateThrottle):
    """15 requests a minute for each user; staff are exempt."""

    rate = "15/minute"

    def get_cache_key(self, request, view):
        return None if request.user.is_staff else super().get_cache_key(request, view)


class Pagination(PageNumberPagination):
    """20 a page, whatever the caller would like."""

    page_size = 20


class CredentialsView(APIView):
    """``credentials/``."""

    permission_classes = [IsAuthenticated, NotJwtRestrictedApplication, MayListOrAward]
    throttle_classes = [LearnerThrottle]

    def get(self, request):
        """List certificates, a page at a time."""
        query = FilterSerializer(data={name: value for name, value in request.query_params.items() if value})
        query.is_valid(raise_exception=True)
        filters = query.validated_data
        only_visible = filters.pop("only_visible")
        program_uuid = filters.pop("program_uuid", None)
        credentials = Credential.objects.filter(**filters)
        if program_uuid:
            credentials = credentials.filter(type=Credential.PROGRAM, key=str(program_uuid))
        if only_visible:
            credentials = credentials.exclude(pk__in=_hidden(credentials))
        paginator = Pagination()
        # The API guarantees no order: one by a random value lets nobody rely on another, and still pages well.
        page = paginator.paginate_queryset(credentials.order_by("uuid"), request)
        serializer = CredentialSerializer(page, many=True, context={"request": request})
        return paginator.get_paginated_response(serializer.data)

    def post(self, request):
        """Store a certificate, or the new status of one that is there."""
        serializer = CredentialSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        credential = store(
            {"username": data["username"], "type": data["credential"]["type"], "key": data["credential"]["key"]},
            status=data["status"],
            mode=data["credential"].get("mode", ""),
            date_override=request.data.get("date_override"),
        )
        if credential is None:
            return server_error(request)
        return Response(CredentialSerializer(credential, context={"request": request}).data, status=201)


def store(identity, *, status, mode="", date_override=None):
    """
    Store a certificate, or the new status of one that is there, and announce it if it is of a program.

    Args:
        identity (dict): its ``username``, ``type`` and ``key``.
        status (str): one of ``STATUSES``.
        mode (str): of a course certificate.
        date_override (dict): as it came.

    Returns:
        Credential: what is stored; None if it would be new and the learner is unknown.
    """
    with transaction.atomic():
        now = CLOCK.now()  # not before it is this transaction's turn: the later one has the later time
        credential = Credential.objects.filter(**identity).first()
        if credential is None:
            if not User.objects.filter(username=identity["username"]).exists():
                return None
            credential = Credential(**identity, created=now)
        credential.mode = mode
        credential.status = status
        credential.date_override = date_override
        credential.modified = now
        credential.history.append(credential.status)
        credential.save()
        if credential.type == Credential.COURSE_RUN:
            CourseCertificate.objects.get_or_create(course_id=credential.key, certificate_type=credential.mode)
        else:
            events.announce(credential)  # as in the real one, before the transaction ends
    return credential


def _hidden(credentials):
    """Find program certificates whose learner has no course certificate of the program, or one with a date to come."""
    programs = credentials.filter(type=Credential.PROGRAM)
    dated = CourseCertificate.objects.filter(certificate_available_date__gt=CLOCK.now())
    to_come = set(dated.values_list("course_id", "certificate_type"))
    held = defaultdict(set)  # username -> course run and mode of each course certificate
    course_certificates = Credential.objects.filter(
        type=Credential.COURSE_RUN, username__in=programs.values("username")
    )
    for username, *run in course_certificates.values_list("username", "key", "mode"):
        held[username].add(tuple(run))
    for pk, username, key in programs.values_list("pk", "username", "key"):
        courses = settings.PROGRAMS.get(UUID(key), {}).get("courses", [])
        keys = {run["key"] for course in courses for run in course["course_runs"]}
        runs = {run for run in held[username] if run[0] in keys}
        if not runs or runs & to_come:
            yield pk


class CourseCertificatesView(APIView):
    """``course_certificates/``."""

    permission_classes = [IsAuthenticated, NotJwtRestrictedApplication, IsAdminUser]

    def post(self, request):
        """Store the certificate configuration of a course run."""
        serializer = CourseCertificateSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = dict(serializer.validated_data)
        identity = {name: data.pop(name) for name in ("course_id", "certificate_type")}
        configuration, _ = CourseCertificate.objects.update_or_create(**identity, defaults=data)
        return Response(CourseCertificateSerializer(configuration).data, status=201)
