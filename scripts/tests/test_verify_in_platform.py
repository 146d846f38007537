"""
The command that runs a checkout's own gates on the change, on a checkout that behaves as a real one does: it finds a
fault of each kind, and none where there is none.
"""

import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from textwrap import dedent

import apply_to_platform
import gates_in_platform
import pytest
import verify_in_platform
from gates_in_platform import Bench, Gate, NotRun, configures, find_reason, lines
from test_apply_to_platform import commit, git, tree, write_file
from test_parts import REPOSITORY, copy  # noqa: F401  pylint: disable=unused-import
from verify_in_platform import Result, find_tests_without_server, judge, summarize

from testbed.checks import platform_gates

PROGRAMS = "openedx/core/djangoapps/programs"
TESTS_WITH_MONGO = f"{PROGRAMS}/tests/test_utils.py"
OVERVIEWS = "openedx/core/djangoapps/content/course_overviews"
# What is in a checkout of the platform, and not in the slice.
FILES = {
    "setup.cfg": """
        [isort]
        multi_line_output=3
        line_length=120
        [pycodestyle]
        max_line_length=120
        ignore=E266,W503,W504
        """,
    "ruff.toml": """
        line-length = 120
        target-version = "py311"
        [lint]
        select = ["E", "W", "I", "F", "PT", "DJ", "UP", "B"]
        ignore = ["E402", "E501", "E722", "E731", "E741", "E721"]
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
    "xmodule/modulestore/__init__.py": "",
    "xmodule/modulestore/tests/__init__.py": "",
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
    f"{OVERVIEWS}/management/__init__.py": "",
    f"{OVERVIEWS}/management/commands/__init__.py": "",
    f"{OVERVIEWS}/management/commands/makemigrations.py": """
        from django.conf import settings
        from django.core.management.commands import makemigrations
        from openedx.core.djangoapps.content.course_overviews.models import CourseOverview
        class Command(makemigrations.Command):
            def handle(self, *labels, **options):
                if settings.ROOT_URLCONF == "cms.urls" and not labels:
                    CourseOverview.objects.exists()
                super().handle(*labels, **options)
        """,
}
# What is added to files that the slice has, too.
ADDED = {
    ".gitignore": "test_root/\n",
    # The database has no name outside of pytest.
    "openedx/envs/test.py": """
        DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3"}}
        CONTENTSTORE = {"DOC_STORE_CONFIG": {"host": "127.0.0.1", "port": 1}}
        """,
    # Studio has the application.
    "cms/envs/common.py": """
        INSTALLED_APPS += [
            "oauth2_provider",
            "common.djangoapps.course_modes.apps.CourseModesConfig",
            "lms.djangoapps.certificates.apps.CertificatesConfig",
            "openedx.core.djangoapps.catalog.apps.CatalogConfig",
            "openedx.core.djangoapps.credentials.apps.CredentialsConfig",
            "openedx.core.djangoapps.oauth_dispatch.apps.OAuthDispatchAppConfig",
            "openedx.core.djangoapps.programs.apps.ProgramsConfig",
        ]
        """,
}
GATES = [gate.name for gate in gates_in_platform.GATES]
WITHOUT = ", without 1 file(s) of tests that need MongoDB"


@pytest.fixture
def checkout(copy):  # noqa: F811  pylint: disable=redefined-outer-name
    """A checkout that configures each gate, and has the traps of a real one."""
    for path, text in FILES.items():
        write_file(copy, path, dedent(text).encode())
    for path, text in ADDED.items():
        (copy / path).write_text((copy / path).read_text() + dedent(text))
    (copy / ".annotations.yml").unlink()
    (copy / platform_gates.TWEAKS.name).write_bytes(platform_gates.TWEAKS.read_bytes())
    subprocess.run([sys.executable, "-m", "edx_lint", "write", "pylintrc"], cwd=copy, check=True, capture_output=True)
    pylintrc = (copy / "pylintrc").read_text()
    (copy / "pylintrc").write_text(pylintrc.replace("load-plugins = ", "load-plugins = openedx.core.pylint_hooks,"))
    commit(copy)
    return copy


def run(capsys, *arguments):
    """Run the command; return its exit code, the first lines, each gate's verdict and messages, and the last line."""
    code = verify_in_platform.main([*map(str, arguments)])
    printed = capsys.readouterr().out
    print(printed)
    first, *gates = re.split(rf"^({'|'.join(map(re.escape, GATES))})  +", printed, flags=re.MULTILINE)
    gates[-1], last = gates[-1].rstrip("\n").rsplit("\n", maxsplit=1)
    verdicts = {name: text.splitlines() for name, text in zip(gates[::2], gates[1::2], strict=True)}
    return code, first.splitlines(), verdicts, last


@pytest.mark.parts
def test_the_change_holds(checkout, capsys):
    before = tree(checkout), git(checkout, "status", "--porcelain"), git(checkout, "worktree", "list")

    code, first, verdicts, last = run(capsys, checkout, "--venv", sys.prefix)

    assert first[1:] == [f"MongoDB does not answer at 127.0.0.1:1. Left out: {TESTS_WITH_MONGO}"]
    assert list(verdicts) == GATES
    assert {
        name: text for name, text in verdicts.items() if not re.match(r"ok( \(\d+ as before\))?(,|$)", text[0])
    } == {}
    assert [name for name, text in verdicts.items() if text[0].endswith(WITHOUT)] == ["tests", "tests, random order"]
    assert last == "2 of 10 gates did not run, or not in full; what ran is clean."
    assert code == 3
    assert (tree(checkout), git(checkout, "status", "--porcelain"), git(checkout, "worktree", "list")) == before


def plant(root, path, text):
    """Add lines to a file of the change."""
    (root / path).write_text((root / path).read_text() + text)


ORDERED = """

STEPS = []


def test_one():
    STEPS.append(1)
    assert STEPS == [1]


def test_two():
    STEPS.append(2)
    assert STEPS == [1, 2]


def test_three():
    STEPS.append(3)
    assert STEPS == [1, 2, 3]


def test_four():
    STEPS.append(4)
    assert STEPS == [1, 2, 3, 4]


def test_five():
    STEPS.append(5)
    assert STEPS == [1, 2, 3, 4, 5]
"""
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
    "tests, random order": r"programs\.tests\.test_checks\.test_(one|two|three|four|five)",
}


@pytest.mark.parts
def test_a_fault_of_each_kind_is_found(checkout, tmp_path, capsys, monkeypatch):
    ours = tmp_path / "ours"
    shutil.copytree(
        REPOSITORY, ours, ignore=shutil.ignore_patterns(".*", "__pycache__", "_build"), ignore_dangling_symlinks=True
    )
    monkeypatch.setattr(apply_to_platform, "REPOSITORY", ours)
    monkeypatch.setattr(gates_in_platform, "SEED", 1)  # another might leave five tests in their order
    plant(ours, f"{PROGRAMS}/tests/test_events.py", "\n\ndef test_planted():\n    raise AssertionError\n")
    plant(ours, f"{PROGRAMS}/tests/test_checks.py", ORDERED)
    plant(ours, f"{PROGRAMS}/events.py", "\n\ndef planted():\n    bar = 1\n    return bar\n")
    plant(ours, "openedx/core/lib/event_bus_checks.py", "\n\nimport wave\nimport abc\n\nPLANTED = dict(a = 1)\n")
    plant(ours, f"{PROGRAMS}/checks.py", MODEL)
    settings = ours / "lms/envs/common.py"
    settings.write_text(re.sub(r"^ +# \.\. toggle_default: .*\n", "", settings.read_text(), flags=re.MULTILINE))

    code, _, verdicts, last = run(capsys, checkout, "--venv", sys.prefix)

    assert list(verdicts) == list(FOUND) == GATES
    for name, (verdict, *messages) in verdicts.items():
        assert verdict.startswith("FAILED: "), name
        assert any(re.search(FOUND[name], message) for message in messages), name
    assert len([message for message in verdicts["tests, random order"] if "test_checks" in message]) > 1
    assert not [message for message in verdicts["tests"] if "test_checks" in message]
    assert last == "2 of 10 gates did not run, or not in full; 10 failed."
    assert code == 1


def test_what_moves_is_not_new():
    before = lines("lms/a.py:3:1: E225 missing whitespace\na.py::9: missing x\nlms/a.py:9:1: W0612: y (see line 12)\n")
    after = lines("lms/a.py:5:1: E225 missing whitespace\na.py::8: missing x\nlms/a.py:11:7: W0612: y (see line 14)\n")
    assert before == after
    assert before.total() == 3
    twice = lines("lms/a.py:3:1: E225 missing whitespace\nlms/a.py:4:1: E225 missing whitespace\n")
    assert (twice - before).total() == 1
    assert not lines("All checks passed!\n")


@pytest.mark.parametrize(
    ("before", "after", "verdict", "in_full"),
    [
        (Counter("a"), Counter(), "ok", True),
        (Counter("a"), Counter("a"), "ok (1 as before)", True),
        (Counter("a"), Counter("ab"), "FAILED: 1 new", True),
        (Counter("a"), Counter("aa"), "FAILED: 1 new", True),
        (NotRun("none"), NotRun("none"), "not run: none", False),
        (NotRun("none"), Counter("a"), "FAILED: 1 new", True),
        # The change has broken the gate itself.
        (Counter(), NotRun("no test passes"), "FAILED: no test passes", False),
    ],
)
def test_verdicts(tmp_path, before, after, verdict, in_full):
    said = {"before": before, "after": after}

    def complain(bench):
        if isinstance(said[bench.root.name], NotRun):
            raise said[bench.root.name]
        return said[bench.root.name]

    result = judge(Gate("gate", complain), *(Bench(tmp_path / name, sys.executable, []) for name in said))
    assert (result.verdict, result.in_full) == (verdict, in_full)


@pytest.mark.parametrize(
    ("verdicts", "last", "code"),
    [
        ({"a": "ok", "b": "ok"}, "All 2 gates ran; the change is clean.", 0),
        ({"a": "ok", "b": None}, "1 of 2 gates did not run, or not in full; what ran is clean.", 3),
        ({"a": "bad", "b": "ok"}, "All 2 gates ran; 1 failed.", 1),
        ({"a": "bad", "b": None}, "1 of 2 gates did not run, or not in full; 1 failed.", 1),
    ],
)
def test_the_last_line_and_the_exit_code(tmp_path, verdicts, last, code):
    results = {
        "ok": Result("ok"),
        "bad": Result("FAILED: 1 new", ["message"]),
        None: Result("not run: no such module", in_full=False),
    }
    assert summarize([results[verdict] for verdict in verdicts.values()]) == (last, code)


def test_verdicts_are_printed_when_they_are_known(copy, capsys, monkeypatch):  # noqa: F811
    printed = []

    def complain(_bench):
        printed.append(capsys.readouterr().out)
        return Counter()

    gates = (Gate("a", complain), Gate("b", complain, lambda root: False), Gate("c", complain))
    monkeypatch.setattr(verify_in_platform, "GATES", gates)
    assert verify_in_platform.main([str(copy), "--venv", sys.prefix]) == 0
    printed.append(capsys.readouterr().out)
    assert re.sub(r"\d+", "?", "|".join(printed)) == (
        "Seed of the random order: ?\na  |ok\nb  not configured in this checkout\nc  |"
        "ok\nAll ? gates ran; the change is clean.\n"
    )


@pytest.mark.parametrize(
    ("path", "text", "configured"),
    [
        ("setup.cfg", "[isort]\n", True),
        ("setup.cfg", "[tool:isort]\n", True),
        ("setup.cfg", "[importlinter:contract:1]\n", False),
        ("tox.ini", "[isort]\n", True),
        ("pyproject.toml", "[tool.isort]\nprofile = 'black'\n", True),
        ("pyproject.toml", "[tool.ruff]\n", False),
        (".isort.cfg", "", True),
        ("isort.txt", "", False),
    ],
)
def test_what_a_checkout_configures(tmp_path, path, text, configured):
    (tmp_path / path).write_text(text)
    assert configures("isort", ".isort.cfg")(tmp_path) == configured


def test_what_is_missing_is_not_run(tmp_path):
    bench = Bench(tmp_path, sys.executable, [])
    with pytest.raises(NotRun, match="the virtual environment has no no_such_linter"):
        gates_in_platform.messages_of("no_such_linter")(bench)
    with pytest.raises(NotRun, match="the virtual environment has no no-such-command"):
        bench.script("no-such-command")
    (tmp_path / PROGRAMS).mkdir(parents=True)
    with pytest.raises(NotRun, match="no test passes"):
        gates_in_platform.failing_tests(bench, "-p", "no:django")


HINT = "import atexit, sys\natexit.register(sys.stderr.write, '\\tHINT: Set DEFAULT_AUTO_FIELD.\\n')\n"


def test_a_gate_that_crashes_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PYLINTHOME", str(tmp_path / "pylint"))
    bench = Bench(tmp_path, sys.executable, ["file.py"])
    (tmp_path / "manage.py").write_text(f"{HINT}raise ImportError('no settings')\n")
    with pytest.raises(NotRun, match="^ImportError: no settings$"):
        gates_in_platform.missing_migrations("lms")(bench)
    with pytest.raises(NotRun, match="lms/envs/common.py"):
        gates_in_platform.bad_annotations(bench)
    with pytest.raises(NotRun, match="Could not read any configuration"):
        gates_in_platform.broken_contracts(bench)
    write_file(tmp_path, "file.py", b"import os\n")
    write_file(tmp_path, "pylintrc", b"[MASTER]\nload-plugins=openedx.core.pylint_hooks\n")
    for name in ("../__init__", "__init__", "pytest_hooks", "pylint_hooks"):
        path = f"openedx/core/{name}.py"
        write_file(tmp_path, path, dedent(FILES.get(path, "")).encode())
    with pytest.raises(NotRun, match=r"^file.py: F0002: FileNotFoundError: .*'test_root/log/hooks'$"):
        gates_in_platform.messages_of("pylint")(bench)


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("Traceback (most recent call last):\n  File 'a'\n    x\n\na.b.C: why\n\tHINT: no\nwarned\n", "a.b.C: why"),
        (
            "Traceback (most recent call last):\n  x\nA: 1\n\nThen:\n\nTraceback (most recent call last):\n  y\nB: 2\n",
            "B: 2",
        ),
        ("Traceback (most recent call last):\n  x\nA: 1\n\nTraceback (most recent call last):\n  y\nB\n", "A: 1"),
        ("CommandError: why\nmore\n", "CommandError: why"),
        ("No installed app with label 'programs'.\n\n", "No installed app with label 'programs'."),
        ("", "exit code 2"),
    ],
)
def test_the_reason_is_the_exception(printed, reason):
    assert find_reason(subprocess.CompletedProcess([], 2, "", printed)) == reason


def test_what_needs_mongodb_runs_if_its_server_answers(tmp_path):
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
        (["{root}", "--venv", "{root}/nowhere"], "--venv: .*: no virtual environment with a Python in it"),
        (["{root}"], "--venv: .*: no virtual environment with a Python in it"),
        (["{root}", "--venv", sys.prefix], "checkout: fatal: not a git repository"),
    ],
)
def test_it_refuses_in_one_line(tmp_path, capsys, arguments, message):
    assert verify_in_platform.main([argument.format(root=tmp_path) for argument in arguments]) == 2
    assert re.fullmatch(rf"error: .*{message}.*\n", capsys.readouterr().err)
