"""
An LMS process that does what a site's people do: ``python -m testbed.site.lms``, with the LMS's environment.

It reads one JSON object a line from its standard input, ``{"do": <name>, <arguments>}``, calls the function of that
name below, and answers with one line: ``{"result": ...}`` or ``{"error": ...}``. ``Site.do`` is the other side.
"""

# ruff: noqa: E402 - Django has to be set up before models are imported

import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lms.envs.production")
import lms  # noqa: F401 - its Celery application publishes the tasks

django.setup()

from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sites.models import Site
from django.core.management import CommandError, call_command
from opaque_keys.edx.keys import CourseKey

from common.djangoapps.course_modes.models import CourseMode
from common.djangoapps.student.models import CourseEnrollment, UserProfile
from lms.djangoapps.certificates.data import CertificateStatuses
from lms.djangoapps.certificates.models import GeneratedCertificate
from openedx.core.djangoapps.catalog.models import CatalogIntegration
from openedx.core.djangoapps.content.course_overviews.models import CourseOverview
from openedx.core.djangoapps.credentials.models import CredentialsApiConfig
from openedx.core.djangoapps.credentials.utils import get_credentials
from openedx.core.djangoapps.programs.tasks import award_program_certificates
from openedx.core.djangoapps.signals.signals import COURSE_CERT_DATE_CHANGE
from openedx.core.djangoapps.site_configuration.models import SiteConfiguration
from xmodule.data import CertificatesDisplayBehaviors

F = TypeVar("F", bound=Callable[..., Any])
ACTIONS: dict[str, Callable[..., Any]] = {}


def action(function: F) -> F:
    """Make a function callable from outside."""
    ACTIONS[function.__name__] = function
    return function


def create_tables() -> None:
    """Create all tables straight from the models: the slice has no migrations, and those of others take long."""
    settings.MIGRATION_MODULES = {app.label: None for app in apps.get_app_configs()}
    call_command("migrate", run_syncdb=True, verbosity=0)


@action
def set_up(catalog_url: str) -> None:
    """Do what an operator does once: the database, service users, the site, Credentials and the catalog."""
    create_tables()
    for username in (settings.CREDENTIALS_SERVICE_USERNAME, CatalogIntegration().service_username):
        User.objects.create(username=username, email=f"{username}@example.com", is_staff=True, is_superuser=True)
    SiteConfiguration.objects.create(
        site=Site.objects.get(), enabled=True, site_values={"COURSE_CATALOG_API_URL": catalog_url}
    )
    CredentialsApiConfig(enabled=True, enable_learner_issuance=True).save()
    call_command("cache_programs")


@action
def create_courses(keys: Sequence[str]) -> None:
    for key in map(CourseKey.from_string, keys):
        CourseOverview.objects.get_or_create(id=key)


@action
def set_available_date(course_run: str, mode: str, date: str) -> None:
    """Set the date (ISO 8601) from which the certificates of a course run may be seen, as its team does in Studio."""
    key = CourseKey.from_string(course_run)
    CourseMode.objects.create(course_id=key, mode_slug=mode)
    CourseOverview.objects.filter(id=key).update(
        self_paced=False,
        certificates_display_behavior=CertificatesDisplayBehaviors.END_WITH_DATE,
        certificate_available_date=date,
    )
    COURSE_CERT_DATE_CHANGE.send(sender=None, course_key=key)


@action
def create_learner(
    username: str,
    email: str = "",
    name: str | None = "Name",
    joined: str = "2011-01-01T00:00:00Z",
    enrolled: dict[str, str] | None = None,
    known: bool = True,
) -> None:
    """
    Create a learner.

    Args:
        name: Without one, they have no profile.
        joined: When they registered (ISO 8601).
        enrolled: The course runs that they are in, with the mode of each.
        known: They have looked at their record: only then does Credentials know them.
    """
    email = email or f"{username}@example.com"
    user = User.objects.create(username=username, email=email, date_joined=datetime.fromisoformat(joined))
    if name is not None:
        UserProfile.objects.create(user=user, name=name)
    for course_run, mode in (enrolled or {}).items():
        CourseEnrollment.objects.create(user=user, course_id=CourseKey.from_string(course_run), mode=mode)
    if known:
        get_credentials(user, raise_on_error=True)


@action
def certify(username: str, course_run: str, mode: str = "verified") -> None:
    GeneratedCertificate.objects.create(
        user=_user(username),
        course_id=CourseKey.from_string(course_run),
        mode=mode,
        status=CertificateStatuses.downloadable,
    )


@action
def invalidate(username: str, course_run: str) -> None:
    key = CourseKey.from_string(course_run)
    GeneratedCertificate.objects.get(user=_user(username), course_id=key).invalidate()


@action
def award_again(username: str) -> None:
    """Start the award task by itself, as the platform does when anything about a learner changed."""
    award_program_certificates.delay(username)


@action
def command(name: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Call a management command; return what it printed, the error it ended with, if any, and its exit code."""
    output, error, returncode = io.StringIO(), None, 0
    try:
        call_command(name, *arguments, stdout=output, stderr=output)
    except CommandError as exc:
        error, returncode = str(exc), exc.returncode
    return {"output": output.getvalue(), "error": error, "returncode": returncode}


@action
def register_schemas(event_types: Sequence[str]) -> None:
    """
    Register the schemas of events as Kafka's producer does.

    Workers' first events come at the same moment. Apicurio refuses one of two processes that register a new subject at
    the same moment, and its event is lost.
    """
    from confluent_kafka.schema_registry import Schema
    from edx_event_bus_kafka.internal import config, producer
    from openedx_events.tooling import OpenEdxPublicSignal

    client = config.get_schema_registry_client()
    for event_type in event_types:
        serializer = producer.get_signal_serializer(OpenEdxPublicSignal.get_signal_by_type(event_type))
        for topic, entry in settings.EVENT_BUS_PRODUCER_CONFIG[event_type].items():
            for name, schema in (
                ("string", producer.extract_key_schema(serializer, entry["event_key_field"])),
                (f"{event_type}.{serializer.schema['name']}", serializer.schema_string()),
            ):
                client.register_schema(f"{config.get_full_topic(topic)}-{name}", Schema(schema, "AVRO"))


@action
def rename(username: str, new_username: str) -> None:
    user = _user(username)
    user.username = new_username
    user.save()


@action
def delete(username: str) -> None:
    _user(username).delete()


def _user(username: str) -> User:
    return User.objects.get(username=username)


def main() -> None:
    """Answer line by line, until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": ACTIONS[request.pop("do")](**request)}
        except Exception as exc:  # pylint: disable=broad-except
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
