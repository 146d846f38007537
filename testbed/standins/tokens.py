"""
Authentication for the stand-ins of Credentials and of Discovery: the tokens that the LMS signs with the shared secret.

It answers as edx-drf-extensions does, which decodes a token eight times: a quarter of a request's processor time.
"""

from typing import Any

import jwt
from django.contrib.auth.models import AbstractBaseUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

Claims = dict[str, Any]


class TokenAuthentication(BaseAuthentication):
    """``Authorization: JWT <token>``; the request's ``auth`` is the token's claims."""

    jwt: dict[str, str]  # as ``jwt_settings`` reads it

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, Claims] | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "jwt":
            return None
        try:
            claims = jwt.decode(
                token,
                self.jwt["SECRET_KEY"],
                ["HS256"],
                audience=self.jwt["AUDIENCE"],
                issuer=self.jwt["ISSUER"],
                options={"require": ["exp", "iat"]},
            )
            if int(claims.get("version", "1").partition(".")[0]) > 1:
                raise jwt.InvalidTokenError("unsupported version")
        except (jwt.InvalidTokenError, ValueError) as error:
            raise AuthenticationFailed("Invalid token.") from error
        if not claims.get("preferred_username"):
            raise AuthenticationFailed("JWT must include a preferred_username or username claim!")
        return self.user(claims), claims

    def authenticate_header(self, request: Request) -> str:
        return 'JWT realm="api"'

    def user(self, claims: Claims) -> AbstractBaseUser:
        """Return the user whom a valid token is about."""
        raise NotImplementedError


class NotRestricted(BasePermission):
    """For tokens that are not those of a restricted application."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return not request.auth.get("is_restricted")
