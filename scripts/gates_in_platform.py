"""
The gates of a checkout of openedx-platform, for ``verify_in_platform.py``: how each is run, and what it complains of.
"""

import os
import random
import re
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from apply_to_platform import APPS, SETTINGS

APP = APPS.rpartition("/")[0]
# Seconds for one run of one gate.
PATIENCE = 3600
SEED = random.randrange(1_000_000)
# The settings of the platform's tests name no database: pytest does.
OWN_DATABASES = """
from {service}.envs.test import *
DATABASES = {{name: {{"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/{{name}}"}} for name in DATABASES}}
"""


class NotRun(Exception):
    """Why a gate cannot run."""


@dataclass
class Bench:
    """A worktree, the Python that runs its gates, the change's Python files, and the tests that are left out."""

    root: Path
    python: str
    files: list[str]
    left_out: list[str] = field(default_factory=list)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the virtual environment's Python; return what it printed, without colours and the worktree's path."""
        unwanted = ("DJANGO_", "EDX_PLATFORM_", "PYTEST_", "VIRTUAL_")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
        environment |= {"PYTHONPATH": str(self.root), "PATH": f"{Path(self.python).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            [self.python, *arguments],
            cwd=self.root,
            env=environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        for stream in ("stdout", "stderr"):
            printed = re.sub(r"\x1b\[[\d;]*m", "", getattr(done, stream))
            setattr(done, stream, printed.replace(f"{self.root}/", ""))
        return done

    def script(self, name: str) -> str:
        """Return the path of a command of the virtual environment."""
        return str(Path(self.python).parent / name)

    def present(self) -> list[str]:
        """Return which of the files there are."""
        return [path for path in self.files if (self.root / path).is_file()]


@dataclass(frozen=True)
class Gate:
    """Something that may complain: its name, and of what, as lines."""

    name: str
    complain: Callable[..., Counter[str]]
    # What ``complain`` is given besides the bench.
    arguments: tuple[str, ...] = ()
    # A section of setup.cfg, tox.ini or pyproject.toml, and files of its own; nothing if each checkout has this gate.
    configured_in: tuple[str, ...] = ()
    runs_tests: bool = False

    def is_configured(self, root: Path) -> bool:
        """Tell whether a checkout configures it."""
        if not self.configured_in or any((root / name).is_file() for name in self.configured_in[1:]):
            return True
        heading = re.compile(rf"^\[\[?(tool[:.])?{self.configured_in[0]}[]:.]", re.MULTILINE)
        shared = [root / name for name in ("setup.cfg", "tox.ini", "pyproject.toml")]
        return any(heading.search(path.read_text("utf-8")) for path in shared if path.is_file())


# What the gates complain of


def lines(text: str) -> Counter[str]:
    """Return a tool's lines about files, without what moves when others are added: lines, columns."""
    found = re.findall(r"^(?:ERROR: )?(\S+\.py)(?::+\d+)*:? *(.+)$", text, re.MULTILINE)
    return Counter(f"{path}: {re.sub(r'(?i)line[s]? [0-9]+', 'line', message)}" for path, message in found)


def find_reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return the exception that ended a tool, or else what it said last."""
    text = done.stdout + done.stderr
    said = (
        re.findall(r"^Traceback \(most recent call last\):\n(?:[ \t].*\n|\n)*(\S+: .*)", text, re.MULTILINE)
        or re.findall(r"^(?:E +)?\w*(?:Error|Exception): .*", text, re.MULTILINE)
        or [line for line in text.splitlines() if line.strip()]
        or [f"exit code {done.returncode}"]
    )
    return said[-1].strip()[:300]


def messages_of(bench: Bench, tool: str, *arguments: str) -> Counter[str]:
    """Have a tool complain about the change's files."""
    return messages_in(bench.run("-m", tool, *arguments, *bench.present()))


def messages_in(done: subprocess.CompletedProcess[str]) -> Counter[str]:
    """Return what a tool said about files; raise NotRun if it failed without a word about them."""
    found = lines(done.stdout + done.stderr)
    # An F message of pylint: it could not check that file. (Those of ruff have three digits, and no colon.)
    if fatal := next(filter(None, (re.match(r"\S+\.py: F\d{4}: ", line) for line in found)), None):
        raise NotRun(f"{fatal[0]}{find_reason(done)}")
    if done.returncode and not found:
        raise NotRun(find_reason(done))
    return found


def missing_migrations(bench: Bench, service: str) -> Counter[str]:
    """Have Django complain about migrations that the app lacks in a service."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "verify_settings.py").write_text(OWN_DATABASES.format(service=service, folder=folder))
        path = os.pathsep.join([str(bench.root), folder])
        command = ("manage.py", service, "makemigrations", "programs", "--check", "--dry-run", "--no-input")
        done = bench.run(*command, DJANGO_SETTINGS_MODULE="verify_settings", PYTHONPATH=path)
    _, heading, missing = done.stdout.partition("Migrations for ")
    if done.returncode and not heading:
        raise NotRun(find_reason(done))
    return Counter(filter(str.strip, f"{heading}{missing}".splitlines()))


def broken_contracts(bench: Bench) -> Counter[str]:
    """Have import-linter complain. Its module can be run, too, but does nothing then."""
    done = bench.run(bench.script("lint-imports"), "--no-cache")
    if not re.search(r"^Contracts: ", done.stdout, re.MULTILINE):
        raise NotRun(find_reason(done))
    # The contracts, and the imports that break them, without their lines.
    return Counter(re.sub(r" \(l\..*", "", line) for line in done.stdout.splitlines() if re.search("BROKEN|->", line))


def bad_annotations(bench: Bench) -> Counter[str]:
    """Have code-annotations complain about the settings, with the configurations that it ships, as in the platform."""
    package = bench.run("-c", "import code_annotations; print(*code_annotations.__path__)").stdout.strip()
    found: Counter[str] = Counter()
    for kind in ("feature_toggle", "setting"):
        config = f"{package}/contrib/config/{kind}_annotations.yaml"
        arguments = ("static_find_annotations", "--config_file", config, "--source_path", SETTINGS, "--lint")
        found.update(messages_in(bench.run(bench.script("code_annotations"), *arguments, "--no_report")))
    return found


def failing_tests(bench: Bench, *options: str) -> Counter[str]:
    """Have the tests of the programs app complain, and those that the change has elsewhere, with options of pytest."""
    elsewhere = [path for path in bench.present() if "/tests/" in path and not path.startswith(APP)]
    ignored = [f"--ignore={path}" for path in bench.left_out]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = bench.run("-m", "pytest", "-q", f"--junitxml={report}", *options, *ignored, APP, *elsewhere)
        if not report.is_file():
            raise NotRun(find_reason(done))
        cases = list(ElementTree.parse(report).iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    if not cases or len(failed) == len(cases):
        raise NotRun(f"no test passes: {find_reason(done)}")
    return Counter(f"{case.get('classname')}.{case.get('name')}" for case in failed)


# What takes longest comes last.
GATES = (
    Gate("pycodestyle", messages_of, ("pycodestyle",), ("pycodestyle",)),
    Gate("ruff", messages_of, ("ruff", "check", "--output-format=concise"), ("ruff", "ruff.toml", ".ruff.toml")),
    Gate("isort", messages_of, ("isort", "--check-only"), ("isort", ".isort.cfg")),
    Gate("annotations", bad_annotations),
    Gate("import-linter", broken_contracts, configured_in=("importlinter", ".importlinter")),
    Gate("migrations, LMS", missing_migrations, ("lms",)),
    Gate("migrations, Studio", missing_migrations, ("cms",)),
    Gate("pylint", messages_of, ("pylint", "--score=n"), ("pylint", "pylintrc", ".pylintrc")),
    Gate("tests", failing_tests, ("-p", "no:randomly"), runs_tests=True),
    Gate("tests, random order", failing_tests, ("-p", "randomly", f"--randomly-seed={SEED}"), runs_tests=True),
)
