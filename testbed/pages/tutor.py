"""
Tutor, which runs most sites: installs its releases, renders a site's settings and evaluates them, for test_tutor.py.
"""

import importlib
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import django
import yaml
from django.conf import settings
from django.core.checks import run_checks
from django.utils import deprecation
from openedx_events.event_bus import get_producer

from testbed import ROOT
from testbed.run.inputs import AWARDED, REVOKED
from testbed.site.site import TOPIC

# uv keeps each release here, in a virtual environment of its own, from one run to the next.
INSTALLED = ROOT / ".tutor"

# The last release of each line, and of its plugin for Credentials.
RELEASES = {
    "18": ("18.2.2", "18.0.0"),
    "19": ("19.0.5", "19.0.0"),
    "20": ("20.0.5", "20.0.0"),
    "21": ("21.0.9", "21.0.3"),
    "22": ("22.0.3", "22.0.0"),
}

# What a Credentials has enabled: our two events, and another one.
CREDENTIALS_EVENTS = {
    AWARDED: {TOPIC: {"event_key_field": "program_certificate.program.uuid", "enabled": True}},
    REVOKED: {TOPIC: {"event_key_field": "program_certificate.program.uuid", "enabled": True}},
    "org.openedx.learning.badge.awarded.v1": {
        "learning-badges-lifecycle": {"event_key_field": "badge.uuid", "enabled": True}
    },
}

CONNECTION = ("host", "port", "db", "username", "password", "socket_timeout", "socket_connect_timeout")

# What Tutor's files change in the platform's settings, without need for the event bus.
PLATFORM = (
    *("CSRF_TRUSTED_ORIGINS", "DATABASE_ROUTERS", "ENV_TOKENS", "IDA_LOGOUT_URI_LIST", "INSTALLED_APPS", "LOGGING"),
    *("MODULESTORE", "PROFILE_IMAGE_BACKEND", "REGISTRATION_EXTRA_FIELDS", "SYSTEM_WIDE_ROLE_CLASSES"),
    *("VIDEO_IMAGE_SETTINGS", "VIDEO_TRANSCRIPTS_SETTINGS"),
)


class TutorError(Exception):
    """A release could not be installed, or its settings could not be rendered."""


def _run(*command: str | Path, env: dict[str, str]) -> str:
    """Run a command, and return what it printed. Variables that would change what it does are not passed on."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("TUTOR_", "DJANGO_"))}
    done = subprocess.run(
        command, cwd=ROOT, env={**others, **env}, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise TutorError(f"{' '.join(map(str, command))}: {done.stderr or done.stdout}")
    return done.stdout.strip()


@cache
def install(line: str) -> Path:
    """Install the release of a line, unless an earlier run has, and return its program."""
    release, credentials = RELEASES[line]
    uv = Path(sys.executable).with_name("uv")
    options = ("--quiet", "--python", sys.executable)
    requirements = ("--from", f"tutor=={release}", "--with", f"tutor-credentials=={credentials}")
    env = {"UV_CACHE_DIR": str(INSTALLED)}
    return Path(_run(uv, "tool", "run", *options, *requirements, "which", "tutor", env=env))


def render(tutor: Path, directory: Path, plugins: Iterable[str], **config: str | int) -> Path:
    """
    Render a site with Credentials, with the commands that its operator would give.

    Args:
        tutor: Tutor's program.
        directory: where to; it does not exist yet.
        plugins: the YAML of plugins to enable.
        **config: Tutor's settings.

    Returns:
        The directory that Tutor calls ``env``.
    """
    own = directory / "plugins"
    own.mkdir(parents=True)
    names = ["credentials"]
    for text in plugins:
        names.append(yaml.safe_load(text)["name"])
        (own / f"{names[-1]}.yml").write_text(text, encoding="utf-8")
    env = {"TUTOR_ROOT": str(directory / "root"), "TUTOR_PLUGINS_ROOT": str(own)}
    _run(tutor, "plugins", "enable", *names, env=env)
    # Only from here on, plugins have the order of their names.
    _run(tutor, "config", "save", *(f"--set={name}={value}" for name, value in config.items()), env=env)
    return directory / "root/env"


def evaluate(service: Callable[[str, Path], dict[str, Any]], module: str, env: Path) -> dict[str, Any]:
    """
    Evaluate rendered settings, in a process of their own: they have fixed names, and Django is configured only once.

    Args:
        service: ``evaluate_lms`` or ``evaluate_credentials``.
        module: ``production`` or ``development``.
        env: what Tutor rendered.

    Returns:
        The settings whose name begins with ``EVENT_BUS_``. Those of the LMS come with what the libraries make of them:
        ``checks`` has the ids of the system checks' messages, ``connection`` where and how the producer connects.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(service, module, env).result()


def evaluate_lms(module: str, env: Path) -> dict[str, Any]:
    """Evaluate rendered settings of the LMS, on the slice's production settings and the rendered YAML file."""
    rendered = env / "apps/openedx"
    os.environ["LMS_CFG"] = str(rendered / "config/lms.env.yml")
    production = importlib.import_module("lms.envs.production")
    vars(production).update({name: mock.MagicMock() for name in PLATFORM}, STATIC_ROOT="/openedx/staticfiles")
    # The platform's devstack settings are its production settings, and more. The slice's read no file.
    sys.modules["lms.envs.devstack"] = production
    for name in ("codejail", "codejail.jail_code", "xmodule.modulestore", "xmodule.modulestore.modulestore_settings"):
        sys.modules[name] = mock.MagicMock()
    # Warnings of the Django that a release has, which it filters out.
    for version in ("50", "51", "60"):
        vars(deprecation).setdefault(f"RemovedInDjango{version}Warning", DeprecationWarning)
    with mock.patch("os.makedirs"):  # in the root directory
        values = _start_events(runpy.run_path(str(rendered / f"settings/lms/{module}.py")))

    for name in ("openedx.core.djangoapps.programs.checks", "openedx.core.lib.event_bus_checks"):
        importlib.import_module(name)
    messages = run_checks(tags=["event_bus"], include_deployment_checks=True)
    connection = get_producer().client.connection_pool.make_connection()
    values["connection"] = {name: getattr(connection, name) for name in CONNECTION}
    return {**values, "checks": [message.id for message in messages]}


def _start_events(values: dict[str, Any]) -> dict[str, Any]:
    """Start openedx-events as a service with these settings does, which it refuses if they are malformed."""
    values = {name: value for name, value in values.items() if name.startswith("EVENT_BUS_")}
    settings.configure(INSTALLED_APPS=["openedx_events"], **values)
    django.setup()
    return values


def evaluate_credentials(module: str, env: Path) -> dict[str, Any]:
    """Evaluate rendered settings of Credentials, on a stand-in of its own."""
    base: Any = ModuleType("base")
    vars(base).update(CORS_ORIGIN_WHITELIST=[], JWT_AUTH={}, EVENT_BUS_PRODUCER_CONFIG=CREDENTIALS_EVENTS)
    for name in ("credentials", "credentials.settings", "credentials.settings.utils"):
        sys.modules[name] = mock.MagicMock()
    sys.modules["credentials.settings.production"] = sys.modules["credentials.settings.devstack"] = base
    return _start_events(runpy.run_path(str(env / f"plugins/credentials/apps/credentials/settings/{module}.py")))
