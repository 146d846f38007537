# The slice: written for this repository, in place of the platform's file of this path.
from django.apps import AppConfig


class OAuthDispatchAppConfig(AppConfig):
    name = "openedx.core.djangoapps.oauth_dispatch"
