"""The REST API of the local stand-in of Discovery: what ``./manage.py lms cache_programs`` reads, from a file."""

from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.urls import path
from edx_rest_framework_extensions.auth.jwt.authentication import JwtAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotFound
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView


class TokenAuthentication(JwtAuthentication):
    """JWT authentication that stores no users: there is no database here."""

    def authenticate_credentials(self, payload):
        if not payload.get("preferred_username"):
            raise AuthenticationFailed("JWT must include a preferred_username or username claim!")
        return User(username=payload["preferred_username"])


class Pagination(PageNumberPagination):
    """Pages of 20, or as large as the caller asks for."""

    page_size = 20
    page_size_query_param = "page_size"


class DiscoveryView(APIView):
    """For whoever has a token."""

    authentication_classes = [TokenAuthentication]
    permission_classes = [IsAuthenticated]


class ListView(DiscoveryView):
    """A list, filtered by ``status`` (which may be repeated), in pages."""

    def items(self):
        """Return everything there is."""
        raise NotImplementedError

    def selected(self, request):
        """Return what the query asks for."""
        statuses = request.query_params.getlist("status")
        return [item for item in self.items() if not statuses or item["status"] in statuses]

    def get(self, request):
        """Answer with one page."""
        paginator = Pagination()
        return paginator.get_paginated_response(paginator.paginate_queryset(self.selected(request), request))


class ProgramsView(ListView):
    """``programs/``; with ``uuids_only=1`` the whole list of UUIDs, without pages."""

    def items(self):
        return settings.PROGRAMS.values()

    def get(self, request):
        if request.query_params.get("uuids_only", "0") in ("", "0"):
            return super().get(request)
        return Response([program["uuid"] for program in self.selected(request)])


class PathwaysView(ListView):
    """``pathways/``; one without a status is a published one."""

    def items(self):
        return [{"status": "published", **pathway} for pathway in settings.PATHWAYS]


class ProgramView(DiscoveryView):
    """``programs/<uuid>/``."""

    def get(self, request, uuid):
        """Answer with the program as the file has it."""
        try:
            return Response(settings.PROGRAMS[UUID(uuid)])
        except (ValueError, KeyError) as error:
            raise NotFound("Not found.") from error


urlpatterns = [
    path("api/v1/programs/", ProgramsView.as_view()),
    path("api/v1/programs/<str:uuid>/", ProgramView.as_view()),
    path("api/v1/pathways/", PathwaysView.as_view()),
]
