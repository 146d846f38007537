"""
The command that runs a checkout's own gates on the change: it finds a fault of each kind, and none where there is none.
"""

import re
import shutil
import sys
from collections import Counter

import apply_to_platform
import pytest
import verify_in_platform
from test_apply_to_platform import commit, git, tree, write_file
from test_parts import REPOSITORY, copy  # noqa: F401  pylint: disable=unused-import
from verify_in_platform import Bench, Gate, NotRun, compare, configures, lines

PROGRAMS = "openedx/core/djangoapps/programs"
CONTRACT = """
[importlinter]
root_package = openedx
include_external_packages = True

[importlinter:contract:planted]
name = Nothing plays sounds
type = forbidden
source_modules = openedx
forbidden_modules = wave
"""
GATES = [gate.name for gate in verify_in_platform.GATES] + ["annotations"]


@pytest.fixture
def checkout(copy):  # noqa: F811  pylint: disable=redefined-outer-name
    """A checkout that configures each gate."""
    write_file(copy, "setup.cfg", b"[pycodestyle]\nmax_line_length=120\nignore=E203,W503\n")
    write_file(copy, "pylintrc", b"[MESSAGES CONTROL]\ndisable=all\nenable=unused-import,unreachable\n")
    write_file(copy, ".isort.cfg", b"[settings]\nprofile=black\nline_length=120\n")
    write_file(copy, ".importlinter", CONTRACT.encode())
    commit(copy)
    return copy


def run(capsys, *arguments):
    """Run the command; return its exit code, the verdict of each gate, and what else it printed."""
    code = verify_in_platform.main([*map(str, arguments)])
    printed = capsys.readouterr().out.splitlines()
    verdicts = dict(re.split(r"  +", line, maxsplit=1) for line in printed[-len(GATES) :])
    return code, verdicts, printed[: -len(GATES)]


@pytest.mark.parts
def test_the_change_holds(checkout, capsys):
    before = tree(checkout), git(checkout, "status", "--porcelain"), git(checkout, "worktree", "list")

    code, verdicts, messages = run(capsys, checkout, "--venv", sys.prefix)

    assert list(verdicts) == GATES
    assert {gate: verdict for gate, verdict in verdicts.items() if not verdict.startswith("ok")} == {}
    assert (code, messages) == (0, [])
    assert (tree(checkout), git(checkout, "status", "--porcelain"), git(checkout, "worktree", "list")) == before


ORDERED = """

STEPS = []


@pytest.mark.parametrize("step", range(12))
def test_in_order(step):
    assert len(STEPS) == step
    STEPS.append(step)
"""
MODEL = """
from django.db import models


class Planted(models.Model):
    class Meta:
        app_label = "credentials"
"""


def plant(root, path, text, at_the_start=False):
    """Add lines to a file of the change."""
    old = (root / path).read_text()
    (root / path).write_text(text + old if at_the_start else old + text)


@pytest.mark.parts
def test_a_fault_of_each_kind_is_found(checkout, tmp_path, capsys, monkeypatch):
    ours = tmp_path / "ours"
    shutil.copytree(
        REPOSITORY, ours, ignore=shutil.ignore_patterns(".*", "__pycache__", "_build"), ignore_dangling_symlinks=True
    )
    monkeypatch.setattr(apply_to_platform, "REPOSITORY", ours)
    plant(ours, f"{PROGRAMS}/tests/test_events.py", "\n\ndef test_planted():\n    raise AssertionError\n")
    plant(ours, f"{PROGRAMS}/tests/test_checks.py", "\n\nimport pytest\n" + ORDERED)
    plant(ours, f"{PROGRAMS}/events.py", "\n\ndef planted():\n    return 1\n    print('never')\n")
    plant(ours, f"{PROGRAMS}/credentials_reader.py", "\n\nplanted=1\n")
    plant(ours, f"{PROGRAMS}/republish_selection.py", "import os\nimport abc\nimport wave\n", at_the_start=True)
    plant(ours, f"{PROGRAMS}/checks.py", MODEL)
    plant(ours, f"{PROGRAMS}/events.py", "# .. toggle_name: planted\n# .. toggle_default: False\n")

    code, verdicts, messages = run(capsys, checkout, "--venv", sys.prefix)

    assert code == 1
    sound = {gate: verdict for gate, verdict in verdicts.items() if not verdict.startswith("FAILED: ")}
    assert sound == {"migrations, Studio": "ok"}  # the slice's Studio has none of these apps
    for gate, message in zip(
        [gate for gate in GATES if gate not in sound],
        [
            r"programs\.tests\.test_events\.test_planted",
            r"test_checks\.test_in_order",
            r"events\.py: .*unreachable",
            r"credentials_reader\.py: E225",
            r"republish_selection\.py: .*F401",
            r"republish_selection\.py",
            r"republish_selection -> wave",
            r"Planted",
            r"events\.py",
        ],
        strict=True,
    ):
        assert any(line.startswith(f"{gate}: ") and re.search(message, line) for line in messages), gate


def test_what_moves_is_not_new():
    before = lines("lms/a.py:3:1: E225 missing whitespace\nlms/a.py:9:1: W0612: unused (see line 12)\n")
    after = lines("lms/a.py:5:1: E225 missing whitespace\nlms/a.py:11:7: W0612: unused (see line 14)\n")
    assert before == after
    assert before.total() == 2
    twice = lines("lms/a.py:3:1: E225 missing whitespace\nlms/a.py:4:1: E225 missing whitespace\n")
    assert (twice - before).total() == 1
    assert not lines("All checks passed!\n")


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (Counter(), Counter(), "ok"),
        (Counter("a"), Counter("a"), "ok (1 as before)"),
        (Counter("a"), Counter("ab"), "FAILED: 1 new"),
        (Counter("a"), Counter("aa"), "FAILED: 1 new"),
        (NotRun("none"), NotRun("none"), "not run: none"),
        (NotRun("none"), Counter(), "ok"),
        # The change has broken the gate itself.
        (Counter(), NotRun("no test passes"), "FAILED: no test passes"),
    ],
)
def test_verdicts(before, after, verdict):
    assert compare(Gate("gate", None, None), before, after).verdict == verdict


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
        verify_in_platform.messages_of("no_such_linter")(bench)
    (tmp_path / PROGRAMS).mkdir(parents=True)
    with pytest.raises(NotRun, match="no test passes"):
        verify_in_platform.failing_tests("-p", "no:django")(bench)


def test_a_gate_that_crashes_is_not_run(tmp_path):
    bench = Bench(tmp_path, sys.executable, [])
    (tmp_path / "manage.py").write_text("raise ImportError('no settings')\n")
    with pytest.raises(NotRun, match="ImportError: no settings"):
        verify_in_platform.missing_migrations("lms")(bench)
    (tmp_path / ".annotations.yml").write_text("nonsense\n")
    with pytest.raises(NotRun):
        verify_in_platform.annotations(bench)


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
