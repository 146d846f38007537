"""URLs of the local stand-in of Credentials."""

from django.urls import path

from testbed.standins.credentials import api
from testbed.standins.credentials.control.api import control

urlpatterns = [
    path("api/v2/credentials/", api.CredentialsView.as_view()),
    path("api/v2/course_certificates/", api.CourseCertificatesView.as_view()),
    path("_standin/", control),
]
