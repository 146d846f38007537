"""
The gates of ``make verify``, one by one: what they say of files, and what keeps them from running.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import gates_in_platform
import pytest
from gates_in_platform import Bench, Gate, NotRun, find_reason, lines

from tests.conftest import write_file
from tests.test_verify import FILES, PROGRAMS


def test_what_moves_is_not_new() -> None:
    before = lines("lms/a.py:3:1: E225 missing whitespace\na.py::9: missing x\nlms/a.py:9:1: W0612: y (see line 12)\n")
    after = lines("lms/a.py:5:1: E225 missing whitespace\na.py::8: missing x\nlms/a.py:11:7: W0612: y (see line 14)\n")
    assert before == after
    assert before.total() == 3
    twice = lines("lms/a.py:3:1: E225 missing whitespace\nlms/a.py:4:1: E225 missing whitespace\n")
    assert (twice - before).total() == 1
    assert not lines("All checks passed!\n")


@pytest.mark.parametrize(
    ("path", "text", "configured"),
    [
        ("setup.cfg", "[isort]\n", True),
        ("setup.cfg", "[tool:isort]\n", True),
        ("setup.cfg", "[importlinter:contract:1]\n", False),
        ("tox.ini", "[isort]\n", True),
        ("pyproject.toml", "[tool.isort]\nprofile = 'black'\n", True),
        ("pyproject.toml", "[[tool.isort.sections]]\n", True),
        ("pyproject.toml", "[tool.isort_too]\n[tool.ruff]\n", False),
        (".isort.cfg", "", True),
        ("isort.txt", "", False),
    ],
)
def test_what_a_checkout_configures(tmp_path: Path, path: str, text: str, configured: bool) -> None:
    (tmp_path / path).write_text(text)
    gate = Gate("isort", gates_in_platform.messages_of, configured_in=("isort", ".isort.cfg"))
    assert gate.is_configured(tmp_path) == configured


HINT = "import atexit, sys\natexit.register(sys.stderr.write, '\\tHINT: Set DEFAULT_AUTO_FIELD.\\n')\n"


@pytest.mark.parametrize(
    ("complain", "arguments", "reason"),
    [
        (gates_in_platform.messages_of, ["no_such_linter"], "No module named no_such_linter"),
        (gates_in_platform.failing_tests, ["-p", "no_such_order"], "No module named 'no_such_order'"),
        (gates_in_platform.failing_tests, ["-p", "no:django"], "no test passes"),
        (gates_in_platform.missing_migrations, ["lms"], "^ImportError: no settings$"),
        (gates_in_platform.bad_annotations, [], "lms/envs/common.py"),
        (gates_in_platform.broken_contracts, [], "Could not read any configuration"),
        (gates_in_platform.messages_of, ["pylint"], r"^file.py: F0002: FileNotFoundError: .*'test_root/log/hooks'$"),
    ],
)
def test_what_is_missing_or_crashes_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complain: Callable, arguments: list[str], reason: str
) -> None:
    monkeypatch.setenv("PYLINTHOME", str(tmp_path / "pylint"))
    (tmp_path / PROGRAMS).mkdir(parents=True)
    write_file(tmp_path, "manage.py", f"{HINT}raise ImportError('no settings')\n".encode())
    write_file(tmp_path, "file.py", b"import os\n")
    write_file(tmp_path, "pylintrc", b"[MASTER]\nload-plugins=openedx.core.pylint_hooks\n")
    for name in ("../__init__", "__init__", "pytest_hooks", "pylint_hooks"):
        path = f"openedx/core/{name}.py"
        write_file(tmp_path, path, dedent(FILES.get(path, "")).encode())
    with pytest.raises(NotRun, match=reason):
        complain(Bench(tmp_path, sys.executable, ["file.py"]), *arguments)


TRACEBACK = "Traceback (most recent call last):\n"


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        (f"{TRACEBACK}  File 'a'\n    x\n\na.b.C: why\n\tHINT: no\nwarned\n", "a.b.C: why"),
        (f"{TRACEBACK}  x\nA: 1\n\nThen:\n\n{TRACEBACK}  y\nB: 2\n", "B: 2"),
        (f"{TRACEBACK}  x\nA: 1\n\n{TRACEBACK}  y\nB\n", "A: 1"),
        ("CommandError: why\nmore\n", "CommandError: why"),
        ("No installed app with label 'programs'.\n\n", "No installed app with label 'programs'."),
        ("", "exit code 2"),
    ],
)
def test_the_reason_is_the_exception(printed: str, reason: str) -> None:
    assert find_reason(subprocess.CompletedProcess([], 2, "", printed)) == reason
