"""
Tutor, by which most sites are run: installs its releases, renders a site's settings, and evaluates what was rendered.

``python -m testbed.pages.tutor SERVICE MODULE ENV`` is the process that evaluates: rendered settings import
each other under fixed names, and configure Django, which is possible once in a process.
"""

import fcntl
import importlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from unittest import mock

import yaml
from django.utils import deprecation

from testbed import ROOT

# Kept from one run to the next. Each release has a virtual environment of its own: what it pins is not what we pin.
INSTALLED = ROOT / ".tutor"

# The last release of each line, and of its plugin for Credentials.
RELEASES = {
    "18": ("18.2.2", "18.0.0"),
    "19": ("19.0.5", "19.0.0"),
    "20": ("20.0.5", "20.0.0"),
    "21": ("21.0.9", "21.0.3"),
    "22": ("22.0.3", "22.0.0"),
}

TOPIC = "learning-program-certificate-lifecycle"
CONNECTION = ("host", "port", "db", "username", "password", "socket_timeout", "socket_connect_timeout")


class TutorError(Exception):
    """A release could not be installed, or what it rendered could not be evaluated."""


def install(line):
    """
    Install a release, unless an earlier run has.

    Two runs may do so at once, and an earlier one may have been broken off.

    Args:
        line (str): a key of ``RELEASES``.

    Returns:
        Path: its program.

    Raises:
        TutorError: no Python at hand takes it; with pip's own reasons.
    """
    version, credentials = RELEASES[line]
    requirements = [f"tutor=={version}", f"tutor-credentials=={credentials}"]
    directory = INSTALLED / version
    complete = directory / ".installed"
    INSTALLED.mkdir(exist_ok=True)
    (INSTALLED / ".gitignore").write_text("*\n")
    with open(INSTALLED / f"{version}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.exists() and complete.read_text().split() == requirements and _runs(directory / "bin/tutor"):
            return directory / "bin/tutor"
        reasons = []
        for python, name in _pythons():
            shutil.rmtree(directory, ignore_errors=True)
            if not (reason := _install_with(python, directory, requirements, lock)):
                complete.write_text("\n".join(requirements))
                return directory / "bin/tutor"
            reasons.append(f"Python {name}: {reason}")
            if "from versions: none" in reason:  # the index was not reached: another Python does not reach it either
                break
        shutil.rmtree(directory, ignore_errors=True)
    raise TutorError(f"Tutor {version} cannot be installed: {'; '.join(reasons)}")


def _runs(program):
    """Tell whether a program starts: the Python that it was installed with may have gone."""
    try:
        return not subprocess.run([program, "--version"], capture_output=True).returncode
    except OSError:
        return False


def _pythons():
    """Yield one Python of each version at hand, with its version; the one that runs this first."""
    others = sorted((Path.home() / ".pyenv/versions").glob("3.1*/bin/python"), reverse=True)
    seen = set()
    for python in (sys.executable, "python3.12", "python3.11", "python3.10", "python3.13", *others):
        try:
            command = [python, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError:
            continue
        # A name on the PATH may be a shim with nothing behind it.
        if not done.returncode and (name := done.stdout.strip()) not in seen:
            seen.add(name)
            yield python, name


def _install_with(python, directory, requirements, lock):
    """Install with one Python; return why that was not possible, or an empty string."""
    for command in (
        [python, "-m", "venv", "--without-pip", directory],
        [sys.executable, "-m", "pip", "--python", directory / "bin/python", "install", *requirements]
        + ["--quiet", "--no-compile", "--no-input", "--disable-pip-version-check"],
        [directory / "bin/tutor", "--version"],
    ):
        # Who outlives a run that was broken off keeps the lock.
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=[lock.fileno()],
        )
        if done.returncode:
            lines = done.stdout.strip().splitlines() or [f"exit code {done.returncode}"]
            errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
            return " ".join(errors or lines[-1:])
    return ""


def render(tutor, directory, plugins, **config):
    """
    Render a site, with the commands that its operator would give.

    Args:
        tutor (Path): Tutor's program.
        directory (Path): where to; it does not exist yet.
        plugins (list[str]): the YAML of plugins to enable. Those that Tutor's installation brings are named alone.
        **config: settings of Tutor's.

    Returns:
        Path: the directory that Tutor calls ``env``.

    Raises:
        TutorError: Tutor refused.
    """
    own = directory / "plugins"
    own.mkdir(parents=True)
    names = []
    for text in plugins:
        names.append(text)
        if isinstance(parsed := yaml.safe_load(text), dict):
            names[-1] = parsed["name"]
            (own / f"{names[-1]}.yml").write_text(text, encoding="utf-8")
    # Each variable TUTOR_… is a setting of Tutor's.
    env = {name: value for name, value in os.environ.items() if not name.startswith("TUTOR_")}
    env |= {"TUTOR_ROOT": str(directory / "root"), "TUTOR_PLUGINS_ROOT": str(own)}
    for arguments in (
        ["plugins", "enable", *names],
        # Only from here on, plugins have the order of their names.
        ["config", "save", *(f"--set={name}={value}" for name, value in config.items())],
    ):
        done = subprocess.run(
            [tutor, *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise TutorError(f"tutor {' '.join(arguments)}: {done.stdout}")
    return directory / "root/env"


def evaluate(service, module, env):
    """
    Evaluate rendered settings, in a process of their own.

    Args:
        service (str): ``lms`` or ``credentials``.
        module (str): ``production`` or ``development``.
        env (Path): what Tutor rendered.

    Returns:
        dict: see ``evaluate_lms()`` and ``evaluate_credentials()``.

    Raises:
        TutorError: the settings cannot be evaluated.
    """
    done = subprocess.run(
        [sys.executable, "-m", "testbed.pages.tutor", service, module, str(env)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise TutorError(f"{service}, {module}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def evaluate_lms(module, env):
    """
    Evaluate rendered settings of the LMS, on the slice's production settings and the rendered YAML file.

    Args:
        module (str): ``production`` or ``development``.
        env (Path): what Tutor rendered.

    Returns:
        dict: ``settings`` is those whose name begins with ``EVENT_BUS_``; the other keys are what the libraries make of
            them: ``checks`` has the ids of the system checks' messages, ``connection`` where the producer connects and
            how long it waits (None without a producer), ``poll_timeout`` how many seconds a consumer waits for an
            event, ``stream`` the name of the events' stream.
    """
    rendered = env / "apps/openedx"
    text = (rendered / "config/lms.env.yml").read_text(encoding="utf-8")
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        # The slice wants the secret in the file, while Tutor sets it in Python.
        file.write(f"{text}\nJWT_AUTH: {{JWT_SECRET_KEY: {'x' * 32}}}\n")
        file.flush()
        os.environ["LMS_CFG"] = file.name
        production = importlib.import_module("lms.envs.production")
    _add_platform(production, yaml.safe_load(text))
    with mock.patch("os.makedirs"):  # in the root directory
        values = runpy.run_path(str(rendered / f"settings/lms/{module}.py"))

    values = _start_events(values)
    for name in ("openedx.core.djangoapps.programs.checks", "openedx.core.lib.event_bus_checks"):
        importlib.import_module(name)
    from django.core.checks import run_checks
    from edx_event_bus_redis.internal import config, consumer
    from openedx_events.event_bus import get_producer

    client = getattr(get_producer(), "client", None)
    return {
        "settings": values,
        "checks": [message.id for message in run_checks(tags=["event_bus"], include_deployment_checks=True)],
        "connection": client and {name: getattr(client.connection_pool.make_connection(), name) for name in CONNECTION},
        "poll_timeout": consumer.CONSUMER_POLL_TIMEOUT,
        "stream": config.get_full_topic(TOPIC),
    }


def _add_platform(production, config):
    """Add to the slice's settings what the platform's have, and any of Tutor's rendered files asks for."""
    defaults = {
        "CSRF_TRUSTED_ORIGINS": [],
        "DATABASE_ROUTERS": ["openedx.core.lib.django_courseware_routers.StudentModuleHistoryExtendedRouter"],
        "ENV_TOKENS": config,
        "IDA_LOGOUT_URI_LIST": [],
        "MODULESTORE": {"default": {"OPTIONS": {"stores": []}}},
        "PROFILE_IMAGE_BACKEND": {"options": {}},
        "REGISTRATION_EXTRA_FIELDS": {},
        "STATIC_ROOT": "/openedx/staticfiles",
        "SYSTEM_WIDE_ROLE_CLASSES": ["enterprise.SystemWideEnterpriseUserRoleAssignment"],
        "VIDEO_IMAGE_SETTINGS": {"STORAGE_KWARGS": {}},
        "VIDEO_TRANSCRIPTS_SETTINGS": {"STORAGE_KWARGS": {}},
    }
    for name, value in defaults.items():
        vars(production).setdefault(name, value)
    production.INSTALLED_APPS.append("lms.djangoapps.coursewarehistoryextended")
    production.LOGGING.setdefault("loggers", {}).setdefault("tracking", {})
    # The platform's devstack settings are its production settings, and more. The slice's read no file.
    sys.modules["lms.envs.devstack"] = production
    # Warnings of the Django that a release has, which it filters out.
    for version in ("50", "51", "60"):
        vars(deprecation).setdefault(f"RemovedInDjango{version}Warning", type("Removed", (DeprecationWarning,), {}))
    # Functions that are called, with nothing that the event bus needs.
    for name in ("codejail", "codejail.jail_code", "xmodule.modulestore", "xmodule.modulestore.modulestore_settings"):
        sys.modules[name] = mock.MagicMock()


def _start_events(values):
    """Start openedx-events as a service with these settings does, which it refuses if they are malformed."""
    import django
    from django.conf import settings

    values = {name: value for name, value in values.items() if name.startswith("EVENT_BUS_")}
    settings.configure(INSTALLED_APPS=["openedx_events"], **values)
    django.setup()
    return values


def evaluate_credentials(module, env):
    """
    Evaluate rendered settings of Credentials, on a stand-in of its own, with all of its events enabled.

    Args:
        module (str): ``production`` or ``development``.
        env (Path): what Tutor rendered.

    Returns:
        dict: ``settings`` is those whose name begins with ``EVENT_BUS_``.
    """
    base = ModuleType("base")
    base.CORS_ORIGIN_WHITELIST = []
    base.JWT_AUTH = {}
    base.EVENT_BUS_PRODUCER_CONFIG = credentials_producer_config()
    for name in ("credentials", "credentials.settings", "credentials.settings.utils"):
        sys.modules[name] = mock.MagicMock()
    sys.modules["credentials.settings.production"] = sys.modules["credentials.settings.devstack"] = base
    values = runpy.run_path(str(env / f"plugins/credentials/apps/credentials/settings/{module}.py"))
    return {"settings": _start_events(values)}


def credentials_producer_config():
    """
    Make what the settings of Credentials have, on a site that has enabled its events, and one more.

    Returns:
        dict: an ``EVENT_BUS_PRODUCER_CONFIG``.
    """
    own = {"event_key_field": "program_certificate.program.uuid", "enabled": True}
    return {
        "org.openedx.learning.program.certificate.awarded.v1": {TOPIC: dict(own)},
        "org.openedx.learning.program.certificate.revoked.v1": {TOPIC: dict(own)},
        "org.openedx.learning.badge.awarded.v1": {
            "learning-badges-lifecycle": {"event_key_field": "badge.uuid", "enabled": True},
        },
    }


def main(argv):
    """Evaluate settings, and print the result as one line of JSON."""
    service, module, env = argv
    evaluators = {"lms": evaluate_lms, "credentials": evaluate_credentials}
    print(json.dumps(evaluators[service](module, Path(env))))


if __name__ == "__main__":
    main(sys.argv[1:])
