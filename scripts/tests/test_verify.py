"""
``make verify`` on a checkout that behaves as a real one: it finds a fault of each kind, and none where there is none.
"""

import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from textwrap import dedent

import apply_to_platform
import gates_in_platform
import pytest
import verify_in_platform
from apply_to_platform import REPOSITORY
from gates_in_platform import Bench, Gate, NotRun
from verify_in_platform import Result, find_tests_without_server, judge, summarize

from testbed.checks import platform_gates
from tests.conftest import commit, git, tree, write_file

PROGRAMS = "openedx/core/djangoapps/programs"
TESTS_WITH_MONGO = f"{PROGRAMS}/tests/test_utils.py"
# What is in a checkout of the platform, and not in the slice, as files or at the end of files.
FILES = {
    ".gitignore": "test_root/\n",
    "setup.cfg": """
        [isort]
        multi_line_output=3
        line_length=120
        [pycodestyle]
        max_line_length=120
        ignore=E266,W503,W504
        """,
    ".importlinter": """
        [importlinter]
        root_package = openedx
        include_external_packages = True
        [importlinter:contract:sounds]
        name = Nothing plays sounds
        type = forbidden
        source_modules = openedx
        forbidden_modules = wave
        """,
    # Its pytest hooks, and a plug-in of pylint that runs them.
    "openedx/core/pytest_hooks.py": """
        from pathlib import Path
        def pytest_configure():
            for folder in ("log", "uploads"):
                (Path("test_root") / folder / "hooks").touch()
        """,
    "openedx/core/pylint_hooks.py": """
        from pylint.checkers import BaseChecker
        from openedx.core.pytest_hooks import pytest_configure
        class Hooks(BaseChecker):
            name = "hooks"
            msgs = {"I9901": ("Hooks", "hooks", "Without a message, pylint leaves a checker out.")}
            def visit_module(self, _node):
                pytest_configure()
        def register(linter):
            linter.register_checker(Hooks(linter))
        """,
    # Tests that need MongoDB. Nothing answers at its address.
    "xmodule/modulestore/tests/django_utils.py": """
        import pymongo
        from django.conf import settings
        from django.test import TestCase
        class ModuleStoreTestCase(TestCase):
            def setUp(self):
                store = settings.CONTENTSTORE["DOC_STORE_CONFIG"]
                pymongo.MongoClient(store["host"], store["port"]).server_info()
        """,
    TESTS_WITH_MONGO: """
        from xmodule.modulestore.tests.django_utils import ModuleStoreTestCase
        class MeterTestCase(ModuleStoreTestCase):
            def test_meter(self):
                pass
        """,
    # In Studio, migrations of all applications cannot be checked without the tables.
    "openedx/core/djangoapps/content/course_overviews/management/commands/makemigrations.py": """
        from django.conf import settings
        from django.core.management.commands import makemigrations
        from openedx.core.djangoapps.content.course_overviews.models import CourseOverview
        class Command(makemigrations.Command):
            def handle(self, *labels, **options):
                if settings.ROOT_URLCONF == "cms.urls" and not labels:
                    CourseOverview.objects.exists()
                super().handle(*labels, **options)
        """,
    # The database has no name outside of pytest.
    "openedx/envs/test.py": """
        DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3"}}
        CONTENTSTORE = {"DOC_STORE_CONFIG": {"host": "127.0.0.1", "port": 1}}
        """,
    # Studio has the application.
    "cms/envs/common.py": """
        INSTALLED_APPS += [
            "oauth2_provider",
            "common.djangoapps.course_modes",
            "lms.djangoapps.certificates",
            "openedx.core.djangoapps.catalog",
            "openedx.core.djangoapps.credentials.apps.CredentialsConfig",
            "openedx.core.djangoapps.programs.apps.ProgramsConfig",
        ]
        """,
}
GATES = [gate.name for gate in gates_in_platform.GATES]
WITHOUT = ", without 1 file(s) of tests that need MongoDB"


@pytest.fixture
def platform(copy: Path) -> Path:
    """Make a checkout that configures each gate, and has the traps of a real one."""
    for path in (".annotations.yml", ".importlinter"):
        (copy / path).unlink()
    for path, text in FILES.items():
        plant(copy, path, dedent(text))
    shutil.copy(platform_gates.TWEAKS, copy)
    subprocess.run([sys.executable, "-m", "edx_lint", "write", "pylintrc"], cwd=copy, check=True, capture_output=True)
    pylintrc = (copy / "pylintrc").read_text()
    (copy / "pylintrc").write_text(pylintrc.replace("load-plugins = ", "load-plugins = openedx.core.pylint_hooks,"))
    commit(copy)
    return copy


def plant(root: Path, path: str, text: str) -> None:
    """Add lines to a file, which may be new."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    with (root / path).open("a") as file:
        file.write(text)


def verify(capsys: pytest.CaptureFixture[str], checkout: Path) -> tuple[int, list[str], dict[str, list[str]], str]:
    """Run the command; return its exit code, the first lines, each gate's verdict and messages, and the last line."""
    code = verify_in_platform.main([str(checkout), "--venv", sys.prefix])
    printed = capsys.readouterr().out
    print(printed)
    first, *gates = re.split(rf"^({'|'.join(map(re.escape, GATES))})  +", printed, flags=re.MULTILINE)
    gates[-1], last = gates[-1].rstrip("\n").rsplit("\n", maxsplit=1)
    return code, first.splitlines(), dict(zip(gates[::2], map(str.splitlines, gates[1::2]), strict=True)), last


@pytest.mark.parts
def test_the_change_holds(platform: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(platform), git(platform, "status", "--porcelain"), git(platform, "worktree", "list")

    code, first, verdicts, last = verify(capsys, platform)

    assert first[1:] == [f"MongoDB does not answer at 127.0.0.1:1. Left out: {TESTS_WITH_MONGO}"]
    assert list(verdicts) == GATES
    clean = re.compile(r"ok( \(\d+ as before\))?(,|$)")
    assert {name: text for name, text in verdicts.items() if not clean.match(text[0])} == {}
    assert [name for name, text in verdicts.items() if text[0].endswith(WITHOUT)] == ["tests", "tests, random order"]
    assert last == "2 of 10 gates did not run, or not in full; what ran is clean."
    assert code == 3
    assert (tree(platform), git(platform, "status", "--porcelain"), git(platform, "worktree", "list")) == before


ORDERED = "\n\nSTEPS = []\n" + "".join(
    f"\n\ndef test_{number}():\n    STEPS.append({number})\n    assert STEPS == list(range({number + 1}))\n"
    for number in range(9)
)
MODEL = """
from django.db import models


class Planted(models.Model):
    class Meta:
        app_label = "programs"
"""
FOUND = {
    "pycodestyle": r"event_bus_checks\.py: E251 ",
    "ruff": r"event_bus_checks\.py: F401 ",
    "isort": r"event_bus_checks\.py: Imports are incorrectly sorted",
    "annotations": r"common\.py: missing non-optional annotation: '.. toggle_default:'",
    "import-linter": r"event_bus_checks -> wave",
    "migrations, LMS": r"Create model Planted",
    "migrations, Studio": r"Create model Planted",
    "pylint": r"events\.py: C0104: .* \(disallowed-name\)",
    "tests": r"programs\.tests\.test_events\.test_planted",
    "tests, random order": r"programs\.tests\.test_checks\.test_\d",
}


@pytest.mark.parts
def test_a_fault_of_each_kind_is_found(
    platform: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "ours"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "_build")
    shutil.copytree(REPOSITORY, ours, ignore=ignored, ignore_dangling_symlinks=True)
    monkeypatch.setattr(apply_to_platform, "REPOSITORY", ours)
    plant(ours, f"{PROGRAMS}/tests/test_events.py", "\n\ndef test_planted():\n    raise AssertionError\n")
    plant(ours, f"{PROGRAMS}/tests/test_checks.py", ORDERED)
    plant(ours, f"{PROGRAMS}/events.py", "\n\ndef planted():\n    bar = 1\n    return bar\n")
    plant(ours, "openedx/core/lib/event_bus_checks.py", "\n\nimport wave\nimport abc\n\nPLANTED = dict(a = 1)\n")
    plant(ours, f"{PROGRAMS}/checks.py", MODEL)
    settings = ours / "lms/envs/common.py"
    settings.write_text(re.sub(r"^ +# \.\. toggle_default: .*\n", "", settings.read_text(), flags=re.MULTILINE))

    code, _, verdicts, last = verify(capsys, platform)

    assert list(verdicts) == list(FOUND) == GATES
    for name, (verdict, *messages) in verdicts.items():
        assert verdict.startswith("FAILED: "), name
        assert any(re.search(FOUND[name], message) for message in messages), name
    assert len([message for message in verdicts["tests, random order"] if "test_checks" in message]) > 1
    assert not [message for message in verdicts["tests"] if "test_checks" in message]
    assert last == "2 of 10 gates did not run, or not in full; 10 failed."
    assert code == 1


@pytest.mark.parametrize(
    ("before", "after", "verdict", "in_full"),
    [
        ("a", "", "ok", True),
        ("a", "a", "ok (1 as before)", True),
        ("a", "ab", "FAILED: 1 new", True),
        ("a", "aa", "FAILED: 1 new", True),
        (None, None, "not run: no test passes", False),
        (None, "a", "FAILED: 1 new", True),
        # The change has broken the gate itself.
        ("", None, "FAILED: no test passes", False),
    ],
)
def test_verdicts(before: str | None, after: str | None, verdict: str, in_full: bool) -> None:
    said = {"before": before, "after": after}

    def complain(bench: Bench) -> Counter[str]:
        text = said[bench.root.name]
        if text is None:
            raise NotRun("no test passes")
        return Counter(text)

    result = judge(Gate("gate", complain), *(Bench(Path(name), sys.executable, []) for name in said))
    assert (result.verdict, result.in_full) == (verdict, in_full)


OK, BAD, NOT_RUN = Result("ok"), Result("FAILED: 1 new", ["message"]), Result("not run: no such module", in_full=False)


@pytest.mark.parametrize(
    ("results", "last", "code"),
    [
        ([OK, OK], "All 2 gates ran; the change is clean.", 0),
        ([OK, NOT_RUN], "1 of 2 gates did not run, or not in full; what ran is clean.", 3),
        ([BAD, OK], "All 2 gates ran; 1 failed.", 1),
        ([BAD, NOT_RUN], "1 of 2 gates did not run, or not in full; 1 failed.", 1),
    ],
)
def test_the_last_line_and_the_exit_code(results: list[Result], last: str, code: int) -> None:
    assert summarize(results) == (last, code)


def test_verdicts_are_printed_when_they_are_known(
    stripped: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = []

    def complain(_bench: Bench) -> Counter[str]:
        printed.append(capsys.readouterr().out)
        return Counter()

    gates = (Gate("a", complain), Gate("b", complain, configured_in=("b",)), Gate("c", complain))
    monkeypatch.setattr(verify_in_platform, "GATES", gates)
    assert verify_in_platform.main([str(stripped), "--venv", sys.prefix]) == 0
    printed.append(capsys.readouterr().out)
    assert re.sub(r"\d+", "?", "|".join(printed)) == (
        "Seed of the random order: ?\na  |ok\nb  not configured in this checkout\nc  |"
        "ok\nAll ? gates ran; the change is clean.\n"
    )


def test_what_needs_mongodb_runs_if_its_server_answers(tmp_path: Path) -> None:
    bench = Bench(tmp_path, sys.executable, [])
    write_file(tmp_path, TESTS_WITH_MONGO, FILES[TESTS_WITH_MONGO].encode())
    write_file(tmp_path, f"{PROGRAMS}/tests/test_tasks.py", b"")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = f"CONTENTSTORE = {{'DOC_STORE_CONFIG': {{'host': '127.0.0.1', 'port': {port}}}}}\n"
        write_file(tmp_path, "lms/envs/test.py", text.encode())
        assert find_tests_without_server(bench) == (f"127.0.0.1:{port}", [])
    assert find_tests_without_server(bench) == (f"127.0.0.1:{port}", [TESTS_WITH_MONGO])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "PATH: checkout: is empty"),
        (["{root}"], "--venv: .*: no virtual environment with a Python in it"),
        (["{root}", "--venv", sys.prefix], "checkout: fatal: not a git repository"),
    ],
)
def test_it_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert verify_in_platform.main([argument.format(root=tmp_path) for argument in arguments]) == 2
    assert re.fullmatch(rf"error: .*{message}.*\n", capsys.readouterr().err)
