"""
Tests that the slice behaves like the platform where the change, and the platform's own tests, depend on it.
"""

import contextlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from unittest import mock

import httpretty
import pytest
import yaml
from celery.exceptions import MaxRetriesExceededError
from django.contrib.auth.models import User
from django.contrib.sites.models import Site
from django.core.cache import caches
from django.core.management import BaseCommand, CommandError, call_command, load_command_class
from django.test import override_settings
from edx_django_utils.cache import RequestCache
from opaque_keys.edx.keys import CourseKey

from common.djangoapps.course_modes.tests.factories import CourseModeFactory
from common.djangoapps.student.models import anonymous_id_for_user
from common.djangoapps.student.tests.factories import CourseEnrollmentFactory, UserFactory
from lms.djangoapps.certificates.models import GeneratedCertificate
from lms.djangoapps.certificates.tests.factories import CertificateDateOverrideFactory, GeneratedCertificateFactory
from openedx.core.djangoapps.catalog.cache import PROGRAM_CACHE_KEY_TPL, SITE_PROGRAM_UUIDS_CACHE_KEY_TPL
from openedx.core.djangoapps.content.course_overviews.models import CourseOverview
from openedx.core.djangoapps.content.course_overviews.signals import COURSE_PACING_CHANGED
from openedx.core.djangoapps.content.course_overviews.tests.factories import CourseOverviewFactory
from openedx.core.djangoapps.credentials.models import CredentialsApiConfig
from openedx.core.djangoapps.credentials.tests.mixins import CredentialsApiConfigMixin
from openedx.core.djangoapps.credentials.utils import get_credentials, get_credentials_api_base_url
from openedx.core.djangoapps.programs import tasks
from openedx.core.djangoapps.programs.utils import ProgramProgressMeter
from openedx.core.djangoapps.signals.signals import (
    COURSE_CERT_AWARDED,
    COURSE_CERT_CHANGED,
    COURSE_CERT_DATE_CHANGE,
    COURSE_CERT_REVOKED,
)
from openedx.core.djangoapps.site_configuration.models import SiteConfiguration
from openedx.core.djangoapps.site_configuration.tests.factories import SiteConfigurationFactory, SiteFactory
from testbed import ROOT
from testbed.run.inputs import AWARDED, REVOKED
from xmodule.data import CertificatesDisplayBehaviors

pytestmark = pytest.mark.django_db

RUN = CourseKey.from_string("course-v1:OpenX+A+2026")
OTHER_RUN = CourseKey.from_string("course-v1:OpenX+B+2026")
TOPIC = "learning-program-certificate-lifecycle"
NOTIFY_TASK = "openedx.core.djangoapps.credentials.tasks.v1.tasks.handle_notify_credentials"


@pytest.fixture(autouse=True)
def clean_request_cache():
    """Configurations live in the request cache, which a roll-back does not clear."""
    RequestCache.clear_all_namespaces()


@pytest.fixture
def credentials_config():
    """Enable the use of Credentials."""
    return CredentialsApiConfigMixin().create_credentials_config()


# Settings


def settings_of(module, path, *names):
    """Import a settings module in a process of its own; return values, or the last line of the error."""
    code = f"import json, {module} as s; print(json.dumps([getattr(s, name) for name in {names!r}], default=str))"
    env = {name: value for name, value in os.environ.items() if name not in ("DJANGO_SETTINGS_MODULE", "LMS_CFG")}
    if path:
        env |= {"LMS_CFG": str(path), "CMS_CFG": str(path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    return done.stderr.splitlines()[-1] if done.returncode else json.loads(done.stdout)


@pytest.fixture
def config(tmp_path):
    """Write a production configuration, and return its path."""

    def write(**values):
        path = tmp_path / "lms.yml"
        path.write_text(yaml.safe_dump({"SECRET_KEY": "s", "JWT_AUTH": {"JWT_SECRET_KEY": "j"}, **values}))
        return path

    return write


@pytest.mark.parametrize("variant", ["lms", "cms"])
@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"SECRET_KEY": None}, "has no SECRET_KEY"),
        ({"JWT_AUTH": {"JWT_AUDIENCE": "x"}}, "has no JWT_AUTH: JWT_SECRET_KEY"),
        ({"JWT_AUTH": None}, "has no JWT_AUTH: JWT_SECRET_KEY"),
    ],
)
def test_production_needs_its_own_secrets(config, variant, values, problem):
    path = config(**values)

    error = settings_of(f"{variant}.envs.production", path)

    assert error.startswith("django.core.exceptions.ImproperlyConfigured") and error.endswith(f"{path} {problem}")


def test_production_needs_a_readable_file(tmp_path):
    assert "LMS_CFG must name a YAML file" in settings_of("lms.envs.production", None)
    assert "No such file" in settings_of("lms.envs.production", tmp_path / "missing.yml")
    (tmp_path / "list.yml").write_text("[]")
    assert "holds no YAML mapping" in settings_of("lms.envs.production", tmp_path / "list.yml")


def test_production_merges_the_file(config):
    path = config(
        EVENT_BUS_PRODUCER_CONFIG={AWARDED: {TOPIC: {"enabled": True}}},
        CELERY_BROKER_HOSTNAME="redis:6379",
        CELERY_BROKER_USER="user",
        CELERY_BROKER_PASSWORD="secret",
        CELERY_BROKER_VHOST="3",
    )

    producer_config, broker_url, jwt_auth, queues = settings_of(
        "lms.envs.production", path, "EVENT_BUS_PRODUCER_CONFIG", "BROKER_URL", "JWT_AUTH", "EXPLICIT_QUEUES"
    )

    key_field = "program_certificate.program.uuid"
    assert producer_config == {
        AWARDED: {TOPIC: {"event_key_field": key_field, "enabled": True}},
        REVOKED: {TOPIC: {"event_key_field": key_field, "enabled": False}},
    }
    assert broker_url == "redis://user:secret@redis:6379/3"
    assert jwt_auth["JWT_SECRET_KEY"] == "j"
    assert jwt_auth["JWT_ALGORITHM"] == "HS256"
    assert queues["openedx.core.djangoapps.programs.tasks.award_program_certificates"] == {
        "queue": "edx.lms.core.default"
    }
    assert len(queues) == 4


@pytest.mark.parametrize("module", ["lms.envs.test", "lms.envs.devstack", "lms.envs.production"])
def test_both_events_are_disabled_by_default(config, module):
    [producer_config] = settings_of(module, config(), "EVENT_BUS_PRODUCER_CONFIG")

    entry = {TOPIC: {"event_key_field": "program_certificate.program.uuid", "enabled": False}}
    assert producer_config == {AWARDED: entry, REVOKED: entry}


def test_studio_has_neither_event(config):
    for module in ("cms.envs.devstack", "cms.envs.test", "cms.envs.production"):
        assert settings_of(module, config(), "EVENT_BUS_PRODUCER_CONFIG") == [{}]


@pytest.mark.parametrize("variant", ["lms", "cms"])
def test_check(variant):
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}

    command = [sys.executable, "manage.py", variant, "check"]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


# Configuration, signals and tasks


def test_configuration_is_the_same_object_until_it_is_saved(credentials_config):
    assert CredentialsApiConfig.current() is credentials_config
    credentials_config.enabled = False
    assert not CredentialsApiConfig.current().is_learner_issuance_enabled
    CredentialsApiConfigMixin().create_credentials_config()
    assert CredentialsApiConfig.current().is_learner_issuance_enabled


@pytest.mark.parametrize(
    ("signal", "arguments", "reads"),
    [
        (COURSE_CERT_AWARDED, {}, 1),
        (COURSE_CERT_CHANGED, {}, 2),
        (COURSE_CERT_REVOKED, {}, 1),
        (COURSE_CERT_DATE_CHANGE, {}, 1),
        (COURSE_PACING_CHANGED, {"updated_course_overview": mock.Mock(id=RUN)}, 1),
    ],
)
def test_each_signal_asks_whether_credentials_is_enabled(signal, arguments, reads):
    user = UserFactory.build(username="not-saved")
    with mock.patch.object(
        CredentialsApiConfig, "is_learner_issuance_enabled", new_callable=mock.PropertyMock, return_value=False
    ) as enabled:
        signal.send(sender=object, user=user, course_key=RUN, mode="verified", status="downloadable", **arguments)

    assert enabled.call_count == reads


@pytest.mark.parametrize(
    ("signal", "task", "arguments"),
    [
        (COURSE_CERT_AWARDED, "award_program_certificates", ["learner"]),
        (COURSE_CERT_CHANGED, "award_course_certificate", ["learner", str(RUN)]),
        (COURSE_CERT_REVOKED, "revoke_program_certificates", ["learner", str(RUN)]),
        (COURSE_CERT_DATE_CHANGE, "update_certificate_available_date_on_course_update", [str(RUN)]),
    ],
)
def test_signals_start_tasks(credentials_config, signal, task, arguments):
    user = UserFactory.build(username="learner")
    with mock.patch(f"openedx.core.djangoapps.programs.tasks.{task}.delay") as delay:
        signal.send(sender=object, user=user, course_key=RUN, mode="verified", status="downloadable", verbose=True)

    delay.assert_called_once_with(*arguments)


def test_no_records_for_an_organisation(credentials_config):
    SiteConfigurationFactory(site_values={"course_org_filter": ["OpenX"], "ENABLE_LEARNER_RECORDS": False})
    with mock.patch("openedx.core.djangoapps.programs.tasks.award_course_certificate.delay") as delay:
        COURSE_CERT_CHANGED.send(
            sender=object, user=UserFactory(), course_key=RUN, mode="verified", status="downloadable"
        )

    assert not delay.called


def test_certificate_tells_of_its_changes():
    told = []
    receivers = [
        (signal, lambda name=name, **kwargs: told.append((name, kwargs["status"])))
        for name, signal in (
            ("changed", COURSE_CERT_CHANGED),
            ("awarded", COURSE_CERT_AWARDED),
            ("revoked", COURSE_CERT_REVOKED),
        )
    ]
    for signal, receiver in receivers:
        signal.connect(receiver)
    try:
        certificate = GeneratedCertificateFactory(user=UserFactory(), course_id=RUN, status="downloadable")
        certificate.invalidate()
    finally:
        for signal, receiver in receivers:
            signal.disconnect(receiver)

    assert told == [
        ("changed", "downloadable"),
        ("awarded", "downloadable"),
        ("changed", "unavailable"),
        ("revoked", "unavailable"),
    ]


def test_failing_task_is_tried_eleven_times_and_delay_returns(credentials_config):
    credentials_config.enabled = False
    with mock.patch.object(tasks.LOGGER, "warning") as warning:
        result = tasks.award_program_certificates.delay("learner")

    assert warning.call_count == tasks.MAX_RETRIES
    with pytest.raises(MaxRetriesExceededError):
        result.get()
    with pytest.raises(MaxRetriesExceededError):
        tasks.award_program_certificates("learner")


def test_sites(credentials_config):
    SiteFactory()

    assert Site.objects.count() == 2
    configuration = SiteConfigurationFactory(site_values={"course_org_filter": "OpenX", "name": "value"})
    assert configuration.site.configuration == configuration
    assert SiteConfiguration.get_value_for_org("OpenX", "name") == "value"
    assert SiteConfiguration.get_value_for_org("Open", "name", "default") == "default"
    assert SiteConfiguration(site_values={"name": "value"}).get_value("name") is None


def test_base_urls(credentials_config):
    assert get_credentials_api_base_url() == "https://credentials-internal.example.com/api/v2/"
    SiteConfigurationFactory(
        site_values={"course_org_filter": ["OpenX"], "CREDENTIALS_INTERNAL_SERVICE_URL": "https://other.example.com"}
    )
    assert get_credentials_api_base_url(org="OpenX") == "https://other.example.com/api/v2/"


def test_dates_survive_the_database():
    end = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    CourseOverviewFactory(id=RUN, end=end, certificate_available_date="2026-05-06T07:08:09+00:00")

    overview = CourseOverview.get_from_id(str(RUN))

    assert str(overview.end) == str(end)
    assert str(overview.certificate_available_date) == "2026-05-06 07:08:09+00:00"
    with pytest.raises(CourseOverview.DoesNotExist):
        CourseOverview.get_from_id(OTHER_RUN)


def test_anonymous_id_is_stable():
    user = UserFactory()

    assert anonymous_id_for_user(user, None) == anonymous_id_for_user(User.objects.get(id=user.id), None)
    assert anonymous_id_for_user(user, None) != anonymous_id_for_user(user, RUN)


# notify_credentials

# The options that it has on releases of 2026.
NOTIFY_OPTIONS = {
    *("--dry-run", "--site", "--courses", "--program_uuids", "--start-date", "--end-date", "--delay", "--page-size"),
    *("--auto", "--args-from-database", "--verbose", "--notify_programs", "--user_ids", "--revoke_program_certs"),
}


def test_notify_credentials_has_no_option_of_its_own():
    parser = load_command_class("openedx.core.djangoapps.credentials", "notify_credentials").create_parser("", "")
    options = {name for name in parser._option_string_actions if name.startswith("--")}

    assert options - {name for name in BaseCommand().create_parser("", "")._option_string_actions} <= NOTIFY_OPTIONS


def test_notify_credentials_refuses_without_a_filter():
    with mock.patch(f"{NOTIFY_TASK}.delay") as delay, pytest.raises(CommandError, match="filter"):
        call_command("notify_credentials", "--notify_programs", "--revoke_program_certs")
    assert not delay.called


def test_notify_credentials_starts_one_task():
    with mock.patch(f"{NOTIFY_TASK}.delay") as delay:
        call_command("notify_credentials", "--notify_programs", "--start-date", "2026-11-23T09:00:00")
    start = datetime(2026, 11, 23, 9, tzinfo=UTC)
    delay.assert_called_once_with({"start_date": start, "notify_programs": True, "revoke_program_certs": False}, [])


@pytest.mark.parametrize(
    ("flags", "programs"),
    [
        ([], []),
        (["--revoke_program_certs"], []),  # alone it does nothing, and says nothing
        (["--notify_programs"], [("award_program_certificates", "passed")]),
        (
            ["--notify_programs", "--revoke_program_certs"],
            [("award_program_certificates", "passed"), ("revoke_program_certificates", "lost", str(RUN))],
        ),
    ],
)
def test_notify_credentials(credentials_config, flags, programs):
    start = datetime.now(UTC)
    names = ("award_course_certificate", "award_program_certificates", "revoke_program_certificates")
    with contextlib.ExitStack() as stack:
        patches = {name: stack.enter_context(mock.patch.object(getattr(tasks, name), "delay")) for name in names}
        for username, status in (("old", "downloadable"), ("passed", "downloadable"), ("lost", "unavailable")):
            GeneratedCertificateFactory(user=UserFactory(username=username), course_id=RUN, status=status)
        GeneratedCertificate.objects.filter(user__username="old").update(modified_date=start - timedelta(seconds=1))
        for delay in patches.values():
            delay.reset_mock()
        call_command("notify_credentials", "--start-date", start.isoformat(), *flags)
        started = [(name, *call.args) for name, delay in patches.items() for call in delay.mock_calls]

    assert started == [("award_course_certificate", name, str(RUN)) for name in ("passed", "lost")] + programs


# The service's API


@httpretty.activate(allow_net_connect=False)
def test_all_pages_are_read(credentials_config):
    pages = [{"results": [{"n": 1}], "next": "http://elsewhere/?page=2"}, {"results": [{"n": 2}], "next": None}]
    httpretty.register_uri(
        httpretty.GET,
        "https://credentials-internal.example.com/api/v2/credentials/",
        responses=[httpretty.Response(json.dumps(page)) for page in pages],
    )

    assert get_credentials(UserFactory(username="learner"), credential_type="program") == [{"n": 1}, {"n": 2}]

    query = httpretty.last_request().querystring
    assert query == {
        "username": ["learner"],
        "status": ["awarded"],
        "only_visible": ["True"],
        "type": ["program"],
        "page": ["2"],
    }
    assert httpretty.last_request().headers["Authorization"].startswith("JWT ")


@httpretty.activate(allow_net_connect=False)
def test_errors_are_swallowed_unless_asked_for(credentials_config):
    httpretty.register_uri(httpretty.GET, "https://credentials-internal.example.com/api/v2/credentials/", status=500)
    user = UserFactory()

    assert get_credentials(user) == []
    with pytest.raises(Exception, match="500"):
        get_credentials(user, raise_on_error=True)


@httpretty.activate(allow_net_connect=False)
def test_course_certificate_is_sent(credentials_config, settings):
    httpretty.register_uri(
        httpretty.POST, "https://credentials-internal.example.com/api/v2/credentials/", body="{}", status=201
    )
    UserFactory(username=settings.CREDENTIALS_SERVICE_USERNAME)
    user = UserFactory(username="learner")
    CourseOverviewFactory(id=RUN)
    certificate = GeneratedCertificate(user=user, course_id=RUN, mode="verified", status="downloadable")
    certificate.save_base()
    CertificateDateOverrideFactory(generated_certificate=certificate, overridden_by=UserFactory())

    tasks.award_course_certificate.delay("learner", str(RUN)).get()

    assert json.loads(httpretty.last_request().body) == {
        "username": "learner",
        "status": "awarded",
        "credential": {"course_run_key": str(RUN), "mode": "verified", "type": "course-run"},
        "date_override": {"date": "2021-05-11T00:00:00Z"},
    }


@pytest.mark.parametrize(
    ("self_paced", "behavior", "sent"),
    [
        (True, CertificatesDisplayBehaviors.END, None),
        (False, CertificatesDisplayBehaviors.END, "2026-03-01 00:00:00+00:00"),
        (False, CertificatesDisplayBehaviors.END_WITH_DATE, "2026-04-01 00:00:00+00:00"),
        (False, CertificatesDisplayBehaviors.EARLY_NO_INFO, None),
    ],
)
@httpretty.activate(allow_net_connect=False)
def test_available_date_is_sent(credentials_config, settings, self_paced, behavior, sent):
    httpretty.register_uri(
        httpretty.POST, "https://credentials-internal.example.com/api/v2/course_certificates/", body="{}", status=201
    )
    UserFactory(username=settings.CREDENTIALS_SERVICE_USERNAME)
    CourseOverviewFactory(
        id=RUN,
        self_paced=self_paced,
        certificates_display_behavior=behavior,
        end=datetime(2026, 3, 1, tzinfo=UTC),
        certificate_available_date=datetime(2026, 4, 1, tzinfo=UTC),
    )
    CourseModeFactory(course_id=RUN, mode_slug="verified")
    CourseModeFactory(course_id=RUN, mode_slug="audit")

    tasks.update_certificate_available_date_on_course_update.delay(str(RUN)).get()

    assert json.loads(httpretty.last_request().body) == {
        "course_id": str(RUN),
        "certificate_type": "verified",
        "certificate_available_date": sent,
        "is_active": True,
    }


# Programs


@pytest.fixture
def program():
    """Cache a program with two courses for the default site."""
    program = {
        "uuid": "p",
        "title": "P",
        "courses": [
            {"course_runs": [{"key": str(RUN), "type": "verified"}]},
            {"course_runs": [{"key": str(OTHER_RUN), "type": "credit"}]},
        ],
    }
    site = Site.objects.get()
    SiteConfigurationFactory(site=site, site_values={"COURSE_CATALOG_API_URL": "https://catalog.example.com"})
    for key in (RUN, OTHER_RUN):
        CourseOverviewFactory(id=key)
    with override_settings(CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}):
        cache = caches["default"]
        cache.set(SITE_PROGRAM_UUIDS_CACHE_KEY_TPL.format(domain=site.domain), ["p", "not-cached"])
        cache.set(PROGRAM_CACHE_KEY_TPL.format(uuid="p"), program)
        yield program
        cache.clear()


@pytest.mark.parametrize(
    ("mode", "status", "complete"),
    [("verified", "downloadable", True), ("honor", "downloadable", False), ("verified", "unavailable", False)],
)
def test_completed_programs(program, mode, status, complete):
    user = UserFactory()
    GeneratedCertificateFactory(user=user, course_id=RUN, mode="verified", status="downloadable")
    last = GeneratedCertificateFactory(user=user, course_id=OTHER_RUN, mode=mode, status=status)

    completed = ProgramProgressMeter(Site.objects.get(), user).completed_programs_with_available_dates

    assert completed == ({"p": last.modified_date} if complete else {})


def test_inverted_programs(program):
    user = UserFactory()
    CourseEnrollmentFactory(user=user, course_id=RUN)
    CourseEnrollmentFactory(user=user, course_id=OTHER_RUN, is_active=False)

    assert tasks.get_inverted_programs(user) == {str(RUN): [program]}


def test_programs_of_a_site_without_catalog():
    assert ProgramProgressMeter(SiteFactory(), UserFactory()).programs == []
