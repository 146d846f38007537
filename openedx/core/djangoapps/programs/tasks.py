# The slice, with the change in it: the import of programs.events, the two calls of its functions, what
# award_program_certificate() and revoke_program_certificate() return, select_related("profile"), and the last task.
"""Celery tasks that keep the Credentials service informed of what learners have earned."""

from contextlib import contextmanager
from urllib.parse import urljoin

from celery import shared_task
from celery.exceptions import MaxRetriesExceededError
from celery.utils.log import get_task_logger
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.sites.models import Site
from django.core.exceptions import ObjectDoesNotExist
from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey
from requests.exceptions import HTTPError

from common.djangoapps.course_modes.models import CourseMode
from lms.djangoapps.certificates.api import get_eligible_certificate
from openedx.core.djangoapps.content.course_overviews.api import get_course_overview_or_none
from openedx.core.djangoapps.credentials.api import is_credentials_enabled
from openedx.core.djangoapps.programs.events import emit_program_certificate_awarded, emit_program_certificate_revoked
from openedx.core.djangoapps.programs.utils import ProgramProgressMeter
from openedx.core.djangoapps.site_configuration import helpers as configuration_helpers
from xmodule.data import CertificatesDisplayBehaviors

from ..credentials.utils import get_credentials, get_credentials_api_base_url, get_credentials_api_client

LOGGER = get_task_logger(__name__)
User = get_user_model()

# Attempts of a task that keeps failing, the first included.
MAX_RETRIES = 11

PROGRAM_CERTIFICATE = "program"
COURSE_CERTIFICATE = "course-run"
DATE_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

# Every exception is retried, up to ten times, after 30 seconds and more each.
TASK_OPTIONS = {
    "bind": True,
    "ignore_result": True,
    "autoretry_for": (Exception,),
    "max_retries": 10,
    "retry_backoff": 30,
    "retry_backoff_max": 600,
    "retry_jitter": True,
}


def get_completed_programs(site, student):
    """Find the programs of a site that a learner has completed."""
    return ProgramProgressMeter(site, student).completed_programs_with_available_dates


def get_inverted_programs(student):
    """Find the programs of each course run that a learner is enrolled in, over all sites."""
    inverted_programs = {}
    for site in Site.objects.all():
        inverted_programs.update(ProgramProgressMeter(site, student).invert_programs())
    return inverted_programs


def get_certified_programs(student, raise_on_error=False):
    """Find the programs that a learner holds a certificate of."""
    credentials = get_credentials(student, credential_type=PROGRAM_CERTIFICATE, raise_on_error=raise_on_error)
    return [item["credential"]["program_uuid"] for item in credentials]


def get_revokable_program_uuids(course_specific_programs, student):
    """Of some programs, find those that a learner holds a certificate of."""
    certified = get_certified_programs(student, raise_on_error=True)
    return [program["uuid"] for program in course_specific_programs if program["uuid"] in certified]


def _post(client, resource, body, org=None):
    return client.post(urljoin(f"{get_credentials_api_base_url(org)}/", resource), json=body)


def award_program_certificate(client, user, program_uuid):
    """
    Ask Credentials to award a program certificate.

    Args:
        client (requests.Session): a session as the service user.
        user (User): the learner.
        program_uuid (str): the program.

    Returns:
        requests.Response: What Credentials answered.

    Raises:
        HTTPError: Credentials refused.
    """
    response = _post(
        client,
        "credentials/",
        {
            "username": user.username,
            "lms_user_id": user.id,
            "credential": {"type": PROGRAM_CERTIFICATE, "program_uuid": program_uuid},
        },
    )
    response.raise_for_status()
    return response


def revoke_program_certificate(client, username, program_uuid):
    """
    Ask Credentials to revoke a program certificate.

    Args:
        client (requests.Session): a session as the service user.
        username (str): the learner.
        program_uuid (str): the program.

    Returns:
        requests.Response: What Credentials answered.

    Raises:
        HTTPError: Credentials refused.
    """
    response = _post(
        client,
        "credentials/",
        {
            "username": username,
            "status": "revoked",
            "credential": {"type": PROGRAM_CERTIFICATE, "program_uuid": program_uuid},
        },
    )
    response.raise_for_status()
    return response


def post_course_certificate(client, username, certificate, date_override=None, org=None):
    """Send the state of a course certificate to Credentials."""
    _post(
        client,
        "credentials/",
        {
            "username": username,
            "status": "awarded" if certificate.is_valid() else "revoked",
            "credential": {
                "course_run_key": str(certificate.course_id),
                "mode": certificate.mode,
                "type": COURSE_CERTIFICATE,
            },
            "date_override": {"date": date_override.strftime(DATE_FORMAT)} if date_override else None,
        },
        org=org,
    ).raise_for_status()


def post_course_certificate_configuration(client, cert_config, certificate_available_date=None):
    """Send the configuration of a course run's certificates to Credentials."""
    response = _post(
        client,
        "course_certificates/",
        {
            "course_id": cert_config["course_id"],
            "certificate_type": cert_config["mode"],
            "certificate_available_date": certificate_available_date,
            "is_active": True,
        },
    )
    if response.status_code != 201:
        LOGGER.error(f"Credentials answered {response.status_code} to the configuration of {cert_config['course_id']}")
    response.raise_for_status()


def _service_client():
    """Open a session with Credentials as the service user."""
    return get_credentials_api_client(User.objects.get(username=settings.CREDENTIALS_SERVICE_USERNAME))


def _check_that_credentials_is_enabled(task):
    if not is_credentials_enabled():
        error = f"Task {task} cannot be executed: the use of Credentials is disabled"
        LOGGER.warning(error)
        raise MaxRetriesExceededError(error)


@contextmanager
def _retrying(action):
    """Log what goes wrong, and have Celery try again."""
    try:
        yield
    except Exception as exc:
        error = f"Failed to {action}: {exc}"
        LOGGER.exception(error)
        raise MaxRetriesExceededError(error) from exc


@shared_task(**TASK_OPTIONS)
def award_program_certificates(self, username):
    """Award the certificates of all programs that a learner has completed."""
    _check_that_credentials_is_enabled("award_program_certificates")
    try:
        student = User.objects.select_related("profile").get(username=username)
    except User.DoesNotExist:
        LOGGER.warning("Task award_program_certificates was called with a username that is unknown")
        return
    excluded = configuration_helpers.get_value("programs_without_certificates", [])
    if excluded and str(excluded[0]).lower() == "all":
        return

    LOGGER.info(f"Running task award_program_certificates for user {student.id}")
    with _retrying(f"determine the program certificates to award to user {student.id}"):
        completed_programs = {}
        for site in Site.objects.all():
            completed_programs.update(get_completed_programs(site, student))
        if not completed_programs:
            LOGGER.warning(f"Task award_program_certificates: user {student.id} has completed no program")
            return
        already_certified = get_certified_programs(student)

    new_program_uuids = sorted(set(completed_programs) - set(already_certified) - set(excluded))
    if not new_program_uuids:
        LOGGER.warning(f"User {student.id} is not eligible for any new program certificate")
    else:
        with _retrying("create a Credentials API client to award program certificates"):
            client = _service_client()

        failed_program_uuids = []
        for program_uuid in new_program_uuids:
            try:
                response = award_program_certificate(client, student, program_uuid)
                LOGGER.info(f"Awarded program certificate to user {student.id} in program {program_uuid}")
                emit_program_certificate_awarded(student, program_uuid, response)
            except HTTPError as exc:
                _handle_refusal(exc, f"award the certificate of program {program_uuid} to user {student.id}")
            except Exception as exc:  # pylint: disable=broad-except
                LOGGER.exception(
                    f"Failed to award program certificate to user {student.id} in program {program_uuid}: {exc}"
                )
                failed_program_uuids.append(program_uuid)
        _retry_if_any(failed_program_uuids, f"award program certificates to user {student.id}")
    LOGGER.info(f"Successfully completed the task award_program_certificates for user {student.id}")


def _handle_refusal(exc, action):
    """Go on to the next program, unless Credentials asks for a pause: then the rest waits for the retry."""
    status = exc.response.status_code
    if status == 429:
        error = f"Rate limited: Credentials refused to {action}"
        LOGGER.warning(error)
        raise MaxRetriesExceededError(error) from exc
    LOGGER.warning(f"Credentials answered {status} to the request to {action}")


def _retry_if_any(failed_program_uuids, action):
    if failed_program_uuids:
        error = f"Failed to {action}: programs {', '.join(str(uuid) for uuid in failed_program_uuids)}"
        LOGGER.info(error)
        raise MaxRetriesExceededError(error)


@shared_task(**TASK_OPTIONS)
def revoke_program_certificates(self, username, course_key):
    """Revoke the certificates of a learner's programs that include a course run."""
    _check_that_credentials_is_enabled("revoke_program_certificates")
    try:
        student = User.objects.select_related("profile").get(username=username)
    except User.DoesNotExist:
        LOGGER.warning("Task revoke_program_certificates was called with a username that is unknown")
        return

    with _retrying(f"determine the program certificates to revoke from user {student.id}"):
        programs = get_inverted_programs(student).get(course_key)
        if not programs:
            LOGGER.warning(f"Course run {course_key} is in no program of user {student.id}")
            return
        program_uuids = get_revokable_program_uuids(programs, student)

    if not program_uuids:
        LOGGER.info(f"User {student.id} holds no certificate of a program with course run {course_key}")
    else:
        with _retrying("create a Credentials API client to revoke program certificates"):
            client = _service_client()

        failed_program_uuids = []
        for program_uuid in program_uuids:
            try:
                response = revoke_program_certificate(client, username, program_uuid)
                LOGGER.info(f"Revoked program certificate from user {student.id} in program {program_uuid}")
                emit_program_certificate_revoked(student, program_uuid, response)
            except HTTPError as exc:
                _handle_refusal(exc, f"revoke the certificate of program {program_uuid} from user {student.id}")
            except Exception as exc:  # pylint: disable=broad-except
                LOGGER.exception(
                    f"Failed to revoke program certificate from user {student.id} in program {program_uuid}: {exc}"
                )
                failed_program_uuids.append(program_uuid)
        _retry_if_any(failed_program_uuids, f"revoke program certificates from user {student.id}")
    LOGGER.info(f"Successfully completed the task revoke_program_certificates for user {student.id}")


@shared_task(**TASK_OPTIONS)
def award_course_certificate(self, username, course_run_key):
    """Send the state of a learner's course certificate to Credentials, be it awarded or revoked."""
    _check_that_credentials_is_enabled("award_course_certificate")
    try:
        user = User.objects.get(username=username)
    except User.DoesNotExist:
        LOGGER.warning("Task award_course_certificate was called with a username that is unknown")
        return

    skipped = f"Failed to award course certificate for user {user.id} for course {course_run_key}. Reason:"
    try:
        course_key = CourseKey.from_string(course_run_key)
    except InvalidKeyError:
        LOGGER.warning(f"{skipped} Failed to determine course key")
        return
    with _retrying(f"award course certificate for user {user.id} in course run {course_run_key}"):
        certificate = get_eligible_certificate(user, course_key)
        if not certificate:
            LOGGER.warning(f"{skipped} The learner has no eligible certificate")
            return
        if not CourseMode.is_eligible_for_certificate(certificate.mode):
            LOGGER.warning(f"{skipped} Its mode, {certificate.mode}, leads to no certificate")
            return
        if not get_course_overview_or_none(course_key):
            LOGGER.warning(f"{skipped} The course overview could not be found")
            return
        try:
            date_override = certificate.date_override.date
        except ObjectDoesNotExist:
            date_override = None
        post_course_certificate(_service_client(), username, certificate, date_override, org=course_key.org)
    LOGGER.info(f"Sent the certificate of user {user.id} in course run {course_run_key}")


@shared_task(**TASK_OPTIONS)
def update_credentials_course_certificate_configuration_available_date(
    self, course_key, certificate_available_date=None
):
    """Send the date on which a course run's certificates become available to Credentials."""
    course_key = str(course_key)
    modes = [
        mode.slug
        for mode in CourseMode.objects.filter(course_id=CourseKey.from_string(course_key))
        if CourseMode.is_eligible_for_certificate(mode.slug)
    ]
    if len(modes) != 1:
        LOGGER.exception(f"Course run {course_key} has {len(modes)} modes with certificates instead of one")
        return
    post_course_certificate_configuration(
        _service_client(), {"course_id": course_key, "mode": modes[0]}, certificate_available_date
    )


@shared_task(**TASK_OPTIONS)
def update_certificate_available_date_on_course_update(self, course_key):
    """Find the date on which a course run's certificates become available, and have it sent to Credentials."""
    _check_that_credentials_is_enabled("update_certificate_available_date_on_course_update")
    course_overview = get_course_overview_or_none(course_key)
    if not course_overview:
        LOGGER.warning(
            f"Unable to send the updated certificate available date of course run [{course_key}] to Credentials. "
            "A course overview for this course run could not be found"
        )
        return
    date = None
    if not course_overview.self_paced:
        if course_overview.certificates_display_behavior == CertificatesDisplayBehaviors.END_WITH_DATE:
            date = str(course_overview.certificate_available_date)
        elif course_overview.certificates_display_behavior == CertificatesDisplayBehaviors.END:
            date = str(course_overview.end)
    update_credentials_course_certificate_configuration_available_date.delay(str(course_key), date)


@shared_task(**TASK_OPTIONS, acks_late=True, reject_on_worker_lost=True)
def republish_program_certificates(self, user_id: int, named: bool = False) -> dict[str, int]:
    """
    Send the events of a learner's program certificates again, as Credentials has them now.

    Args:
        named: An operator named the learner: include certificates that are older than the account.

    Returns:
        How many certificates are ``awarded``, ``revoked``, ``skipped`` and ``failed``.

    Raises:
        Exception: Credentials could not be read. Celery tries again.
    """
    from openedx.core.djangoapps.programs.republish import republish, wait_for_producer

    if not is_credentials_enabled():
        error = "Task republish_program_certificates cannot be executed: the use of Credentials is disabled"
        LOGGER.warning(error)
        raise MaxRetriesExceededError(error)
    user = User.objects.select_related("profile").filter(id=user_id).first()
    if not user:
        LOGGER.warning(f"Task republish_program_certificates was called with user id {user_id}, which does not exist")
        return {}
    counts = republish(user, named)
    if not self.request.called_directly:
        wait_for_producer(5)
    return counts
