# The slice, with the change in it: the change is the two program-certificate entries of EVENT_BUS_PRODUCER_CONFIG.
"""Settings of the LMS, shared by its test, devstack and production settings."""

import os

from openedx.envs.common import *  # noqa: F403  # pylint: disable=wildcard-import

SERVICE_VARIANT = os.environ.get("SERVICE_VARIANT", "lms")

ROOT_URLCONF = "lms.urls"

INSTALLED_APPS += [
    "common.djangoapps.course_modes",
    "lms.djangoapps.certificates",
    "openedx.core.djangoapps.catalog",
    "openedx.core.djangoapps.credentials.apps.CredentialsConfig",
    "openedx.core.djangoapps.programs.apps.ProgramsConfig",
]

# Seconds.
OAUTH_ID_TOKEN_EXPIRATION = 60 * 60

CREDENTIALS_INTERNAL_SERVICE_URL = "http://localhost:8005"
CREDENTIALS_SERVICE_USERNAME = "credentials_service_user"

DEFAULT_PRIORITY_QUEUE = "edx.lms.core.default"
CELERY_DEFAULT_QUEUE = DEFAULT_PRIORITY_QUEUE
PROGRAM_CERTIFICATES_ROUTING_KEY = DEFAULT_PRIORITY_QUEUE

#### Event bus producing ####

EVENT_BUS_PRODUCER_CONFIG.update({
    "org.openedx.learning.program.certificate.awarded.v1": {
        "learning-program-certificate-lifecycle": {
            "event_key_field": "program_certificate.program.uuid",
            # .. toggle_name: EVENT_BUS_PRODUCER_CONFIG['org.openedx.learning.program.certificate.awarded.v1']
            #    ['learning-program-certificate-lifecycle']['enabled']
            # .. toggle_implementation: DjangoSetting
            # .. toggle_default: False
            # .. toggle_description: Publishes an event on the event bus whenever Credentials has accepted the
            #    award of a program certificate.
            # .. toggle_use_cases: opt_in
            # .. toggle_creation_date: 2026-11-23
            # .. toggle_warning: The Credentials service can publish the same event (off by default). While both
            #    publish it, consumers receive it twice. Enable it here first, then disable it in Credentials.
            "enabled": False,
        },
    },
    "org.openedx.learning.program.certificate.revoked.v1": {
        "learning-program-certificate-lifecycle": {
            "event_key_field": "program_certificate.program.uuid",
            # .. toggle_name: EVENT_BUS_PRODUCER_CONFIG['org.openedx.learning.program.certificate.revoked.v1']
            #    ['learning-program-certificate-lifecycle']['enabled']
            # .. toggle_implementation: DjangoSetting
            # .. toggle_default: False
            # .. toggle_description: Publishes an event on the event bus whenever Credentials has accepted the
            #    revocation of a program certificate.
            # .. toggle_use_cases: opt_in
            # .. toggle_creation_date: 2026-11-23
            # .. toggle_warning: The Credentials service can publish the same event (off by default). While both
            #    publish it, consumers receive it twice. Enable it here first, then disable it in Credentials.
            "enabled": False,
        },
    },
})
