# The slice: written for this repository, in place of the platform's file of this path.
"""Calls of the Credentials service."""

import requests
from edx_rest_api_client.auth import SuppliedJwtAuth

from openedx.core.djangoapps.credentials.models import CredentialsApiConfig
from openedx.core.djangoapps.oauth_dispatch.jwt import create_jwt_for_user
from openedx.core.lib.edx_api_utils import get_api_data


def get_credentials_api_client(user):
    """Open a session with Credentials."""
    session = requests.Session()
    session.auth = SuppliedJwtAuth(create_jwt_for_user(user, scopes=["email", "profile", "user_id"]))
    return session


def get_credentials_api_base_url(org=None):
    """Find the root of the REST API."""
    if org:
        return CredentialsApiConfig.get_internal_api_url_for_org(org)
    return CredentialsApiConfig.current().internal_api_url


def get_credentials(user, credential_type=None, raise_on_error=False):
    """List what a learner has been awarded, asking as the learner."""
    querystring = {"username": user.username, "status": "awarded", "only_visible": "True", "type": credential_type}
    return get_api_data(
        CredentialsApiConfig.current(),
        "credentials",
        api_client=get_credentials_api_client(user),
        base_api_url=get_credentials_api_base_url(),
        querystring=querystring,
        raise_on_error=raise_on_error,
    )
