"""The REST API of the local stand-in of Credentials: what the LMS calls, answered as the real service answers."""

import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.views.defaults import server_error
from jwt import InvalidTokenError
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import BasePermission, IsAdminUser, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from testbed.standins.credentials import events, settings
from testbed.standins.credentials.control.faults import CLOCK
from testbed.standins.credentials.models import CourseCertificate, Credential, User
from testbed.standins.serving import CHALLENGE, Claims, read_token

TIMESTAMP = "%Y-%m-%dT%H:%M:%SZ"
STATUSES = ("awarded", "revoked")
# Seconds that the real one takes longer for each certificate of an answer: a page of 20 takes 68 queries, a list of two
# 14. To sleep leaves the processor to those who are measured.
LOOK_UP = 0.001
# Of a user, what follows from the token's claims; whether somebody is a superuser does not.
CLAIMS = {"administrator": "is_staff", "email": "email", "user_id": "lms_user_id"}


class StoredUser(BaseAuthentication):
    """The user is created, and updated on every request, from the token; the request's ``auth`` is its claims."""

    def authenticate(self, request: Request) -> tuple[User, Claims] | None:
        try:
            claims = read_token(request.headers.get("Authorization", ""), "CREDENTIALS")
        except InvalidTokenError as error:
            raise AuthenticationFailed("Invalid token.") from error
        if claims is None:
            return None
        if not claims.get("preferred_username"):
            raise AuthenticationFailed("JWT must include a preferred_username or username claim!")
        user, _ = User.objects.get_or_create(username=claims["preferred_username"])
        told = {name: claims[claim] for claim, name in CLAIMS.items() if claims.get(claim) is not None}
        if any(getattr(user, name) != value for name, value in told.items()):
            vars(user).update(told)
            user.save(update_fields=told)
        return user, claims

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class DetailsSerializer(serializers.Serializer):
    """``credential``: of a program or of a course run, as its ``type`` demands."""

    type = serializers.ChoiceField((Credential.PROGRAM, Credential.COURSE_RUN))
    program_uuid = serializers.UUIDField(required=False)
    course_run_key = serializers.CharField(max_length=255, required=False)
    mode = serializers.CharField(max_length=255, required=False)

    def to_internal_value(self, data: Any) -> dict[str, str]:
        # From validate() the messages would come out as lists.
        value = super().to_internal_value(data)
        of_program = value["type"] == Credential.PROGRAM
        for name in ("program_uuid",) if of_program else ("course_run_key", "mode"):
            if name not in value:
                raise serializers.ValidationError({name: ["This field is required."]})
        if of_program and value["program_uuid"] not in settings.PROGRAMS:
            message = f"No active ProgramCertificate exists for program [{value['program_uuid']}]"
            raise serializers.ValidationError({"program_uuid": message})
        if not of_program and value["course_run_key"] not in settings.COURSE_RUNS:
            raise serializers.ValidationError(
                f"CourseCertificate failed to create because the CourseRun {value['course_run_key']} doesn't exist in "
                "the catalog"
            )
        return value


class DateOverrideSerializer(serializers.Serializer):
    date = serializers.DateTimeField()


class CredentialSerializer(serializers.Serializer):
    """The body of a POST; ``lms_user_id`` and whatever else it has is ignored."""

    username = serializers.CharField(max_length=255)
    credential = DetailsSerializer()
    status = serializers.ChoiceField(STATUSES, default="awarded")
    date_override = DateOverrideSerializer(allow_null=True, default=None)

    def to_representation(self, instance: Credential) -> dict[str, Any]:
        time.sleep(LOOK_UP)
        details: dict[str, Any] = {"type": instance.type, "credential_id": 0}
        if instance.type == Credential.PROGRAM:
            details["program_uuid"] = instance.key
            if (program_uuid := UUID(instance.key)) in settings.PROGRAMS:
                details["credential_id"] = list(settings.PROGRAMS).index(program_uuid) + 1
        else:
            configuration = CourseCertificate.objects.get(course_id=instance.key, certificate_type=instance.mode)
            details |= {"credential_id": configuration.pk, "course_run_key": instance.key, "mode": instance.mode}
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
    id = serializers.IntegerField(read_only=True)
    course_id = serializers.CharField(max_length=255)
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


class NotRestricted(BasePermission):
    """For tokens that are not those of a restricted application."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return not request.auth.get("is_restricted")


class MayListOrAward(BasePermission):
    """Staff may POST; a superuser may list everything, anybody else their own."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.method == "POST":
            return request.user.is_staff
        return request.user.is_superuser or request.query_params.get("username") == request.user.username


class LearnerThrottle(UserRateThrottle):
    """15 requests a minute for each user; staff are exempt."""

    rate = "15/minute"

    def get_cache_key(self, request: Request, view: APIView) -> str | None:
        return None if request.user.is_staff else super().get_cache_key(request, view)


class Pagination(PageNumberPagination):
    """20 a page, whatever the caller would like."""

    page_size = 20


class CredentialsView(APIView):
    """``credentials/``."""

    authentication_classes = [StoredUser]
    permission_classes = [IsAuthenticated, NotRestricted, MayListOrAward]
    throttle_classes = [LearnerThrottle]

    def get(self, request: Request) -> Response:
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

    def post(self, request: Request) -> HttpResponseBase:
        """Store a certificate, or the new status of one that is there."""
        serializer = CredentialSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        details = data["credential"]
        key = str(details["program_uuid"]) if details["type"] == Credential.PROGRAM else details["course_run_key"]
        credential = store(
            {"username": data["username"], "type": details["type"], "key": key},
            status=data["status"],
            mode=details.get("mode", ""),
            date_override=request.data.get("date_override"),
        )
        if credential is None:
            return server_error(request)
        return Response(CredentialSerializer(credential, context={"request": request}).data, status=201)


def store(
    identity: dict[str, str], *, status: str, mode: str = "", date_override: dict[str, str] | None = None
) -> Credential | None:
    """
    Store a certificate, or the new status of one that is there, and announce it if it is of a program.

    Args:
        identity: its ``username``, ``type`` and ``key``.
        status: one of ``STATUSES``.
        mode: of a course certificate.
        date_override: as it came.

    Returns:
        What is stored; None if it would be new and the learner is unknown.
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


def _hidden(credentials: QuerySet[Credential]) -> Iterator[int]:
    """Find program certificates whose learner has no course certificate of the program, or one with a date to come."""
    programs = credentials.filter(type=Credential.PROGRAM)
    dated = CourseCertificate.objects.filter(certificate_available_date__gt=CLOCK.now())
    to_come = set(dated.values_list("course_id", "certificate_type"))
    held: dict[str, set[tuple[str, str]]] = defaultdict(set)  # username -> run and mode of each course certificate
    course_certificates = Credential.objects.filter(
        type=Credential.COURSE_RUN, username__in=programs.values("username")
    )
    for username, key, mode in course_certificates.values_list("username", "key", "mode"):
        held[username].add((key, mode))
    for pk, username, key in programs.values_list("pk", "username", "key"):
        courses = settings.PROGRAMS.get(UUID(key), {}).get("courses", [])
        keys = {run["key"] for course in courses for run in course["course_runs"]}
        runs = {run for run in held[username] if run[0] in keys}
        if not runs or runs & to_come:
            yield pk


class CourseCertificatesView(APIView):
    authentication_classes = [StoredUser]
    permission_classes = [IsAuthenticated, NotRestricted, IsAdminUser]

    def post(self, request: Request) -> Response:
        serializer = CourseCertificateSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = dict(serializer.validated_data)
        identity = {name: data.pop(name) for name in ("course_id", "certificate_type")}
        configuration, _ = CourseCertificate.objects.update_or_create(**identity, defaults=data)
        return Response(CourseCertificateSerializer(configuration).data, status=201)
