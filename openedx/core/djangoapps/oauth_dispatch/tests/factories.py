# The slice: written for this repository, in place of the platform's file of this path.
"""Test data."""

import factory
from factory.django import DjangoModelFactory
from oauth2_provider.models import Application

from common.djangoapps.student.tests.factories import UserFactory


class ApplicationFactory(DjangoModelFactory):
    """A service that the LMS knows as an OAuth client."""

    class Meta:
        model = Application

    user = factory.SubFactory(UserFactory)
    client_id = factory.Sequence("client_{}".format)
    client_secret = "some_secret"
    client_type = Application.CLIENT_CONFIDENTIAL
    authorization_grant_type = Application.GRANT_CLIENT_CREDENTIALS
    name = factory.Sequence("application {}".format)
