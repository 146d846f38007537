"""The REST API of the local stand-in of Credentials: what the LMS calls, answered as the real service answers."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.urls import path
from jwt import InvalidTokenError
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied
from rest_framework.generics import CreateAPIView, ListCreateAPIView
from rest_framework.permissions import BasePermission, IsAdminUser
from rest_framework.request import Request
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from testbed.standins.credentials import events, settings
from testbed.standins.credentials.control.api import control
from testbed.standins.credentials.control.faults import CLOCK
from testbed.standins.credentials.models import STATUSES, CourseCertificate, Credential, User
from testbed.standins.serving import CHALLENGE, read_token

# Seconds that the real one takes longer for each certificate of an answer: a page of 20 takes 68 queries, a list of two
# 14. To sleep leaves the processor to those who are measured.
LOOK_UP = 0.001
# Of a user, what follows from the token's claims; whether somebody is a superuser does not.
CLAIMS = {"administrator": "is_staff", "email": "email", "user_id": "lms_user_id"}


class StoredUser(BaseAuthentication):
    """The user is created, and updated on every request, from the token, without which nobody is answered."""

    def authenticate(self, request: Request) -> tuple[User, None]:
        try:
            claims = read_token(request.headers.get("Authorization", ""), "CREDENTIALS")
        except InvalidTokenError as error:
            raise AuthenticationFailed("Invalid token.") from error
        if claims is None:
            raise NotAuthenticated
        if claims.get("is_restricted"):
            raise PermissionDenied
        if not claims.get("preferred_username"):
            raise AuthenticationFailed("JWT must include a preferred_username or username claim!")
        user, _ = User.objects.get_or_create(username=claims["preferred_username"])
        told = {name: claims[claim] for claim, name in CLAIMS.items() if claims.get(claim) is not None}
        if any(getattr(user, name) != value for name, value in told.items()):
            vars(user).update(told)
            user.save(update_fields=told)
        return user, None

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
        key = str(value["program_uuid" if of_program else "course_run_key"])
        if of_program and key not in settings.PROGRAMS:
            message = f"No active ProgramCertificate exists for program [{key}]"
            raise serializers.ValidationError({"program_uuid": message})
        if not of_program and key not in settings.COURSE_RUNS:
            raise serializers.ValidationError(
                f"CourseCertificate failed to create because the CourseRun {key} doesn't exist in the catalog"
            )
        return {"type": value["type"], "key": key, "mode": value.get("mode", "")}

    def to_representation(self, instance: Credential) -> dict[str, Any]:
        if instance.type == Credential.COURSE_RUN:
            configuration = CourseCertificate.objects.get(course_id=instance.key, certificate_type=instance.mode)
            details = {"credential_id": configuration.pk, "course_run_key": instance.key, "mode": instance.mode}
        else:
            number = [*settings.PROGRAMS].index(instance.key) + 1 if instance.key in settings.PROGRAMS else 0
            details = {"credential_id": number, "program_uuid": instance.key}
        return {"type": instance.type, **details}


class CredentialSerializer(serializers.Serializer):
    """A certificate. What else a POST has, such as ``lms_user_id``, is ignored."""

    username = serializers.CharField(max_length=255)
    credential = DetailsSerializer(source="*")
    status = serializers.ChoiceField(STATUSES, default="awarded")
    uuid = serializers.UUIDField(read_only=True)
    date_override = serializers.DictField(child=serializers.DateTimeField(), allow_null=True, default=None)
    created = serializers.DateTimeField(read_only=True)
    modified = serializers.DateTimeField(read_only=True)

    def create(self, validated_data: dict[str, Any]) -> Credential:
        return store(**validated_data)

    def to_representation(self, instance: Credential) -> dict[str, Any]:
        time.sleep(LOOK_UP)
        url = self.context["request"].build_absolute_uri(instance.path)
        return super().to_representation(instance) | {"attributes": [], "certificate_url": url}


class CourseCertificateSerializer(serializers.Serializer):
    course_id = serializers.CharField(max_length=255)
    certificate_type = serializers.CharField(max_length=255)
    certificate_available_date = serializers.DateTimeField(allow_null=True, default=None)

    def create(self, validated_data: dict[str, Any]) -> CourseCertificate:
        date = {"certificate_available_date": validated_data.pop("certificate_available_date")}
        return CourseCertificate.objects.update_or_create(**validated_data, defaults=date)[0]


class FilterSerializer(serializers.Serializer):
    """The query of a GET; unknown parameters are ignored, empty ones filter nothing."""

    username = serializers.CharField(required=False)
    type = serializers.ChoiceField((Credential.PROGRAM, Credential.COURSE_RUN), required=False)
    status = serializers.ChoiceField(STATUSES, required=False)
    program_uuid = serializers.UUIDField(required=False, source="key")
    only_visible = serializers.BooleanField(default=False)


class MayListOrAward(BasePermission):
    """Staff may POST; a superuser may list everything, anybody else their own."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.method == "POST":
            return request.user.is_staff
        return request.user.is_superuser or request.query_params.get("username") == request.user.username


class CredentialsView(ListCreateAPIView):
    """``credentials/``."""

    authentication_classes = [StoredUser]
    permission_classes = [MayListOrAward]
    serializer_class = CredentialSerializer

    def get_throttles(self) -> list[UserRateThrottle]:
        return [] if self.request.user.is_staff else [UserRateThrottle()]

    def get_queryset(self) -> QuerySet[Credential]:
        query = FilterSerializer(data={name: value for name, value in self.request.query_params.items() if value})
        query.is_valid(raise_exception=True)
        filters = query.validated_data
        only_visible = filters.pop("only_visible")
        credentials = Credential.objects.filter(**filters)
        if only_visible:
            credentials = credentials.exclude(pk__in=_hidden(credentials))
        # The API guarantees no order: one by a random value lets nobody rely on another, and still pages well.
        return credentials.order_by("uuid")


def store(*, username: str, type: str, key: str, modified: datetime | None = None, **fields: Any) -> Credential:
    """
    Store a certificate, or the new status of one that is there, and announce it if it is of a program.

    Args:
        modified: now, by this service's clock, if it is not given.
        **fields: its ``status``; of a course certificate also ``mode`` and ``date_override``.

    Raises:
        User.DoesNotExist: it would be new, and the learner is unknown.
    """
    identity = {"username": username, "type": type, "key": key}
    with transaction.atomic():
        modified = modified or CLOCK.now()  # not before it is this transaction's turn: the later has the later time
        credential = Credential.objects.filter(**identity).first()
        if credential is None:
            User.objects.get(username=username)
            credential = Credential(**identity, created=modified)
        vars(credential).update(fields, modified=modified)
        credential.history.append(credential.status)
        credential.save()
        if credential.type == Credential.COURSE_RUN:
            CourseCertificate.objects.get_or_create(course_id=credential.key, certificate_type=credential.mode)
        else:
            events.announce(credential)  # as in the real one, before the transaction ends
    return credential


def _hidden(credentials: QuerySet[Credential]) -> Iterator[int]:
    """Find program certificates whose learner has no course certificate of the program, or one with a date to come."""
    dated = CourseCertificate.objects.filter(certificate_available_date__gt=CLOCK.now())
    to_come = set(dated.values_list("course_id", "certificate_type"))
    for certificate in credentials.filter(type=Credential.PROGRAM):
        runs = settings.RUNS.get(certificate.key, set())
        of_runs = Credential.objects.filter(username=certificate.username, type=Credential.COURSE_RUN, key__in=runs)
        held = set(of_runs.values_list("key", "mode"))
        if not held or held & to_come:
            yield certificate.pk


class CourseCertificatesView(CreateAPIView):
    authentication_classes = [StoredUser]
    permission_classes = [IsAdminUser]
    serializer_class = CourseCertificateSerializer


urlpatterns = [
    path("api/v2/credentials/", CredentialsView.as_view()),
    path("api/v2/course_certificates/", CourseCertificatesView.as_view()),
    path("_standin/", control),
]
