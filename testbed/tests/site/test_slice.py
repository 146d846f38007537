"""
Tests that the slice behaves like the platform where the change, and the platform's own tests, depend on it. What
happens between processes is proved by the runs: ``testbed/tests/run`` and ``testbed/tests/faults``.
"""

import contextlib
import importlib
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import httpretty
import pytest
import yaml
from celery.exceptions import MaxRetriesExceededError
from django.core.management import BaseCommand, CommandError, call_command, load_command_class
from django.dispatch import Signal
from edx_django_utils.cache import RequestCache
from opaque_keys.edx.keys import CourseKey

from common.djangoapps.course_modes.tests.factories import CourseModeFactory
from common.djangoapps.student.tests.factories import UserFactory
from lms.djangoapps.certificates.models import GeneratedCertificate
from lms.djangoapps.certificates.tests.factories import GeneratedCertificateFactory
from openedx.core.djangoapps.content.course_overviews.signals import COURSE_PACING_CHANGED
from openedx.core.djangoapps.content.course_overviews.tests.factories import CourseOverviewFactory
from openedx.core.djangoapps.credentials.models import CredentialsApiConfig
from openedx.core.djangoapps.credentials.tests.mixins import CredentialsApiConfigMixin
from openedx.core.djangoapps.credentials.utils import get_credentials, get_credentials_api_base_url
from openedx.core.djangoapps.programs import tasks
from openedx.core.djangoapps.signals import signals
from openedx.core.djangoapps.site_configuration.tests.factories import SiteConfigurationFactory
from testbed.run.inputs import AWARDED, REVOKED
from xmodule.data import CertificatesDisplayBehaviors

pytestmark = pytest.mark.django_db

RUN = CourseKey.from_string("course-v1:OpenX+A+2026")
TOPIC = "learning-program-certificate-lifecycle"
SECRETS = {"SECRET_KEY": "s", "JWT_AUTH": {"JWT_SECRET_KEY": "j"}}
URL = "https://credentials-internal.example.com/api/v2/"
TASKS = "openedx.core.djangoapps.programs.tasks"
AWARD, AWARD_COURSE, REVOKE = "award_program_certificates", "award_course_certificate", "revoke_program_certificates"
SET_DATE = "update_certificate_available_date_on_course_update"
# What the signals of certificates say.
CHANGE = {"sender": object, "course_key": RUN, "mode": "verified", "status": "downloadable"}


@pytest.fixture(autouse=True)
def config() -> CredentialsApiConfig:
    """Enable the use of Credentials. Configurations live in the request cache, which a roll-back does not clear."""
    RequestCache.clear_all_namespaces()
    return CredentialsApiConfigMixin().create_credentials_config()


# Settings


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., ModuleType]:
    """Import a settings module, and those that it imports, anew, with a production configuration."""

    def load(module: str, content: dict = SECRETS) -> ModuleType:
        for name in [name for name in sys.modules if name.startswith(("lms.envs.", "cms.envs.", "openedx.envs."))]:
            monkeypatch.delitem(sys.modules, name)
        path = tmp_path / "config.yml"
        path.write_text(yaml.safe_dump(content))
        monkeypatch.setenv("LMS_CFG", str(path))
        return importlib.import_module(module)

    return load


def test_production_merges_the_file(load: Callable[..., ModuleType]) -> None:
    broker = {"HOSTNAME": "redis:6379", "USER": "user", "PASSWORD": "secret", "VHOST": "3"}
    producer_config = {"EVENT_BUS_PRODUCER_CONFIG": {AWARDED: {TOPIC: {"enabled": True}}}}
    content = SECRETS | producer_config | {f"CELERY_BROKER_{name}": value for name, value in broker.items()}

    settings = load("lms.envs.production", content)

    key_field = "program_certificate.program.uuid"
    assert settings.EVENT_BUS_PRODUCER_CONFIG == {
        AWARDED: {TOPIC: {"event_key_field": key_field, "enabled": True}},
        REVOKED: {TOPIC: {"event_key_field": key_field, "enabled": False}},
    }
    assert settings.BROKER_URL == "redis://user:secret@redis:6379/3"
    assert (settings.JWT_AUTH["JWT_SECRET_KEY"], settings.JWT_AUTH["JWT_ALGORITHM"]) == ("j", "HS256")
    assert settings.EXPLICIT_QUEUES[f"{TASKS}.award_program_certificates"] == {"queue": "edx.lms.core.default"}
    assert len(settings.EXPLICIT_QUEUES) == 4


@pytest.mark.parametrize("module", ["test", "devstack", "production"])
def test_the_lms_has_both_events_disabled_and_studio_has_neither(load: Callable[..., ModuleType], module: str) -> None:
    entry = {TOPIC: {"event_key_field": "program_certificate.program.uuid", "enabled": False}}

    assert load(f"lms.envs.{module}").EVENT_BUS_PRODUCER_CONFIG == {AWARDED: entry, REVOKED: entry}
    assert load("cms.envs.test").EVENT_BUS_PRODUCER_CONFIG == {}


# Signals and tasks


@pytest.mark.parametrize(
    ("signal", "extra", "reads", "task", "arguments"),
    [
        (signals.COURSE_CERT_AWARDED, {}, 1, AWARD, ["learner"]),
        (signals.COURSE_CERT_CHANGED, {}, 2, AWARD_COURSE, ["learner", str(RUN)]),
        (signals.COURSE_CERT_REVOKED, {}, 1, REVOKE, ["learner", str(RUN)]),
        (signals.COURSE_CERT_DATE_CHANGE, {}, 1, SET_DATE, [str(RUN)]),
        (COURSE_PACING_CHANGED, {"updated_course_overview": mock.Mock(id=RUN)}, 1, SET_DATE, [str(RUN)]),
    ],
)
def test_signals_start_tasks_if_credentials_is_enabled(
    signal: Signal, extra: dict, reads: int, task: str, arguments: list
) -> None:
    sent = CHANGE | {"user": UserFactory.build(username="learner"), **extra}
    with mock.patch(f"{TASKS}.{task}.delay") as delay:
        with mock.patch.object(CredentialsApiConfig, "is_learner_issuance_enabled", mock.PropertyMock()) as enabled:
            enabled.return_value = False
            signal.send(**sent)
        assert (enabled.call_count, delay.called) == (reads, False)
        signal.send(**sent)

    delay.assert_called_once_with(*arguments)


@pytest.mark.parametrize("organisations", [["OpenX"], "OpenX"])
def test_values_of_an_organisation(organisations: list[str] | str) -> None:
    url = {"CREDENTIALS_INTERNAL_SERVICE_URL": "https://other.example.com"}
    SiteConfigurationFactory(site_values={"course_org_filter": organisations, "ENABLE_LEARNER_RECORDS": False, **url})

    assert get_credentials_api_base_url() == get_credentials_api_base_url(org="Open") == URL
    assert get_credentials_api_base_url(org="OpenX") == "https://other.example.com/api/v2/"
    with mock.patch(f"{TASKS}.{AWARD_COURSE}.delay") as delay:
        signals.COURSE_CERT_CHANGED.send(**CHANGE, user=UserFactory())
    assert not delay.called


def test_certificate_tells_of_its_changes() -> None:
    names = {getattr(signals, f"COURSE_CERT_{name.upper()}"): name for name in ("changed", "awarded", "revoked")}
    with mock.patch.object(Signal, "send_robust", autospec=True) as send:
        GeneratedCertificateFactory.create(user=UserFactory(), course_id=RUN, status="downloadable").invalidate()

    told = [(names[call.args[0]], call.kwargs["status"]) for call in send.mock_calls if call.args[0] in names]
    issued, invalidated = "downloadable", "unavailable"
    assert told == [("changed", issued), ("awarded", issued), ("changed", invalidated), ("revoked", invalidated)]


def test_failing_task_is_tried_eleven_times_and_delay_returns(config: CredentialsApiConfig) -> None:
    config.enabled = False
    with mock.patch.object(tasks.LOGGER, "warning") as warning:
        result = tasks.award_program_certificates.delay("learner")

    assert warning.call_count == tasks.MAX_RETRIES
    with pytest.raises(MaxRetriesExceededError):
        result.get()
    with pytest.raises(MaxRetriesExceededError):
        tasks.award_program_certificates("learner")


# notify_credentials

# The options that it has on releases of 2026.
NOTIFY_OPTIONS = {
    *("--dry-run", "--site", "--courses", "--program_uuids", "--start-date", "--end-date", "--delay", "--page-size"),
    *("--auto", "--args-from-database", "--verbose", "--notify_programs", "--user_ids", "--revoke_program_certs"),
}


def test_options_of_notify_credentials() -> None:
    ours, djangos = (
        {name for action in command.create_parser("", "")._actions for name in action.option_strings}
        for command in (load_command_class("openedx.core.djangoapps.credentials", "notify_credentials"), BaseCommand())
    )
    assert ours - djangos <= NOTIFY_OPTIONS
    with pytest.raises(CommandError, match="--start-date"):
        call_command("notify_credentials", "--notify_programs", "--revoke_program_certs")


@pytest.mark.parametrize(
    ("flags", "programs"),
    [
        ([], []),
        (["--revoke_program_certs"], []),  # alone it does nothing, and says nothing
        (["--notify_programs"], [(AWARD, "passed")]),
        (["--notify_programs", "--revoke_program_certs"], [(AWARD, "passed"), (REVOKE, "lost", str(RUN))]),
    ],
)
def test_notify_credentials(flags: list[str], programs: list[tuple]) -> None:
    start = datetime.now(UTC)
    with contextlib.ExitStack() as stack:
        names = (AWARD_COURSE, AWARD, REVOKE)
        patches = {name: stack.enter_context(mock.patch(f"{TASKS}.{name}.delay")) for name in names}
        for username, status in (("old", "downloadable"), ("passed", "downloadable"), ("lost", "unavailable")):
            GeneratedCertificateFactory(user=UserFactory(username=username), course_id=RUN, status=status)
        GeneratedCertificate.objects.filter(user__username="old").update(modified_date=start - timedelta(seconds=1))
        for delay in patches.values():
            delay.reset_mock()
        call_command("notify_credentials", "--start-date", start.isoformat(), *flags)
        started = [(name, *call.args) for name, delay in patches.items() for call in delay.mock_calls]

    assert started == [(AWARD_COURSE, name, str(RUN)) for name in ("passed", "lost")] + programs


# The service's API


@httpretty.activate(allow_net_connect=False)
def test_all_pages_are_read_and_errors_swallowed_unless_asked_for() -> None:
    pages = [{"results": [{"n": 1}], "next": "http://elsewhere/?page=2"}, {"results": [{"n": 2}], "next": None}]
    responses = [*(httpretty.Response(json.dumps(page)) for page in pages), httpretty.Response("", status=500)]
    httpretty.register_uri(httpretty.GET, f"{URL}credentials/", responses=responses)
    user = UserFactory(username="learner")

    assert get_credentials(user, credential_type="program") == [{"n": 1}, {"n": 2}]

    asked = {"username": "learner", "status": "awarded", "only_visible": "True", "type": "program", "page": "2"}
    assert httpretty.last_request().querystring == {name: [value] for name, value in asked.items()}
    assert httpretty.last_request().headers["Authorization"].startswith("JWT ")
    assert get_credentials(user) == []
    with pytest.raises(Exception, match="500"):
        get_credentials(user, raise_on_error=True)


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
def test_available_date_is_sent(
    settings: Any, self_paced: bool, behavior: CertificatesDisplayBehaviors, sent: str | None
) -> None:
    httpretty.register_uri(httpretty.POST, f"{URL}course_certificates/", body="{}", status=201)
    UserFactory(username=settings.CREDENTIALS_SERVICE_USERNAME)
    end, available = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4))
    dates = {"self_paced": self_paced, "certificates_display_behavior": behavior}
    CourseOverviewFactory(id=RUN, end=end, certificate_available_date=available, **dates)
    for mode in ("verified", "audit"):
        CourseModeFactory(course_id=RUN, mode_slug=mode)

    tasks.update_certificate_available_date_on_course_update.delay(str(RUN)).get()

    assert json.loads(httpretty.last_request().body) == {
        "course_id": str(RUN),
        "certificate_type": "verified",
        "certificate_available_date": sent,
        "is_active": True,
    }
