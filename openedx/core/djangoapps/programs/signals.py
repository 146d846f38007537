# The slice: written for this repository, in place of the platform's file of this path.
"""Receivers that turn changes of course certificates into Celery tasks."""

import logging

from django.dispatch import receiver

from openedx.core.djangoapps.content.course_overviews.signals import COURSE_PACING_CHANGED
from openedx.core.djangoapps.credentials.api import is_credentials_enabled
from openedx.core.djangoapps.credentials.helpers import is_learner_records_enabled_for_org
from openedx.core.djangoapps.signals.signals import (
    COURSE_CERT_AWARDED,
    COURSE_CERT_CHANGED,
    COURSE_CERT_DATE_CHANGE,
    COURSE_CERT_REVOKED,
)

LOGGER = logging.getLogger(__name__)

# The tasks are imported where they are used: they need models, which are not loaded yet when this module is.


@receiver(COURSE_CERT_AWARDED)
def handle_course_cert_awarded(sender, user, course_key, mode, status, **kwargs):
    """A course certificate may complete a program."""
    if not is_credentials_enabled():
        return
    from openedx.core.djangoapps.programs.tasks import award_program_certificates

    award_program_certificates.delay(user.username)


@receiver(COURSE_CERT_CHANGED)
def handle_course_cert_changed(sender, user, course_key, mode, status, **kwargs):
    """Credentials keeps a copy of each course certificate."""
    if not is_credentials_enabled():
        return
    if not is_learner_records_enabled_for_org(course_key.org):
        LOGGER.warning(f"Not sending the certificate of user {user.id} in {course_key}: no learner records there")
        return
    from openedx.core.djangoapps.programs.tasks import award_course_certificate

    award_course_certificate.delay(user.username, str(course_key))


@receiver(COURSE_CERT_REVOKED)
def handle_course_cert_revoked(sender, user, course_key, mode, status, **kwargs):
    """A program is no longer complete without one of its course certificates."""
    if not is_credentials_enabled():
        return
    from openedx.core.djangoapps.programs.tasks import revoke_program_certificates

    revoke_program_certificates.delay(user.username, str(course_key))


@receiver(COURSE_CERT_DATE_CHANGE, dispatch_uid="course_certificate_date_change_handler")
def handle_course_cert_date_change(sender, course_key, **kwargs):
    """Credentials keeps the date on which certificates become available."""
    _update_available_date(course_key)


@receiver(COURSE_PACING_CHANGED, dispatch_uid="update_credentials_on_pacing_change")
def handle_course_pacing_change(sender, updated_course_overview, **kwargs):
    """That date depends on the pacing."""
    _update_available_date(updated_course_overview.id)


def _update_available_date(course_key):
    if not is_credentials_enabled():
        return
    from openedx.core.djangoapps.programs.tasks import update_certificate_available_date_on_course_update

    update_certificate_available_date_on_course_update.delay(str(course_key))
