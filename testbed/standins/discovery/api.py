"""The REST API of the local stand-in of Discovery: what ``./manage.py lms cache_programs`` reads, from a file."""

from uuid import UUID

from django.contrib.auth.models import User
from django.urls import path
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from testbed.standins.discovery import settings
from testbed.standins.tokens import Claims, TokenAuthentication


class AnyUser(TokenAuthentication):
    """It stores no users: there is no database here."""

    jwt = settings.JWT

    def user(self, claims: Claims) -> User:
        return User(username=claims["preferred_username"])


class DiscoveryView(APIView):
    """For whoever has a token."""

    authentication_classes = [AnyUser]
    permission_classes = [IsAuthenticated]


class ProgramsView(DiscoveryView):
    """``programs/?uuids_only=1``, filtered by ``status``, which may be repeated; pages of programs are not there."""

    def get(self, request: Request) -> Response:
        if request.query_params.get("uuids_only") != "1":
            raise ValidationError({"uuids_only": "It has to be 1."})
        statuses = request.query_params.getlist("status")
        programs = settings.PROGRAMS.values()
        return Response([item["uuid"] for item in programs if not statuses or item["status"] in statuses])


class ProgramView(DiscoveryView):
    """``programs/<uuid>/``."""

    def get(self, request: Request, uuid: str) -> Response:
        try:
            return Response(settings.PROGRAMS[UUID(uuid)])
        except (ValueError, KeyError) as error:
            raise NotFound("Not found.") from error


urlpatterns = [
    path("api/v1/programs/", ProgramsView.as_view()),
    path("api/v1/programs/<str:uuid>/", ProgramView.as_view()),
]
