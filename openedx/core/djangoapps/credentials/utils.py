# The slice: written for this repository, in place of the platform's file of this path.
"""
Calls of the Credentials service.
"""

import requests
from edx_rest_api_client.auth import SuppliedJwtAuth

from openedx.core.djangoapps.credentials.models import CredentialsApiConfig
from openedx.core.djangoapps.oauth_dispatch.jwt import create_jwt_for_user
from openedx.core.lib.edx_api_utils import get_api_data


def get_credentials_api_client(user):
    """
    Open a session with Credentials.

    Args:
        user (User): whom it speaks for.

    Returns:
        requests.Session: the session.
    """
    session = requests.Session()
    session.auth = SuppliedJwtAuth(create_jwt_for_user(user, scopes=["email", "profile", "user_id"]))
    return session


def get_credentials_api_base_url(org=None):
    """
    Find the root of the REST API.

    Args:
        org (str): the organisation whose site is meant. Defaults to the current site.

    Returns:
        str: the URL.
    """
    if org:
        return CredentialsApiConfig.get_internal_api_url_for_org(org)
    return CredentialsApiConfig.current().internal_api_url


def get_credentials(user, program_uuid=None, credential_type=None, raise_on_error=False):
    """
    List what a learner has been awarded, asking as the learner.

    Args:
        user (User): the learner.
        program_uuid (str): only of this program.
        credential_type (str): only of this type, "program" or "course-run".
        raise_on_error (bool): pass errors on, instead of logging them and returning nothing.

    Returns:
        list[dict]: the credentials.

    Raises:
        Exception: what went wrong, if ``raise_on_error``.
    """
    querystring = {"username": user.username, "status": "awarded", "only_visible": "True"}
    if program_uuid:
        querystring["program_uuid"] = program_uuid
    if credential_type:
        querystring["type"] = credential_type
    return get_api_data(
        CredentialsApiConfig.current(),
        "credentials",
        api_client=get_credentials_api_client(user),
        base_api_url=get_credentials_api_base_url(),
        querystring=querystring,
        raise_on_error=raise_on_error,
    )
