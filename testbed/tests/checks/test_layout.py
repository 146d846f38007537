"""
Tests of the layout: everyone can see what is the change and what is the slice, and finds the right room.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from testbed import ROOT
from testbed.checks.manifest import PLATFORM_FOLDERS, read_manifest, tracked
from testbed.tests.faults.table import HEADER

SLICE = "# The slice: written for this repository, in place of the platform's file of this path."
SLICE_WITH_CHANGE = "# The slice, with the change in it: "
ROOMS = ("benchmarks/", "scripts/", "testbed/")
FILES, LINES = 8, 350  # at most, in a folder and in a Python file
DATA_FOLDERS = {"benchmarks/results", "scripts/tests/fixtures"}
# Tables of facts that may be longer, and what they list.
LONG_TABLES: dict[str, str] = {}


def first_line(path: str) -> str:
    """Read a file's first line; its second, if the first is for the shell."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    return lines[1] if lines[0].startswith("#!") else lines[0]


def test_rooms_are_small() -> None:
    folders = Counter(str(Path(path).parent) for path in tracked() if path.startswith(ROOMS))
    assert {folder: count for folder, count in folders.items() if count > FILES and folder not in DATA_FOLDERS} == {}


@pytest.mark.parametrize("path", [path for path in tracked() if path.startswith(ROOMS) and path.endswith(".py")])
def test_each_file_is_short_and_says_what_it_is_for(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert (ast.get_docstring(ast.parse(text)) or "").partition(".")[0].strip()
    assert len(text.splitlines()) <= LINES or path in LONG_TABLES


def test_each_platform_file_is_either_change_or_slice() -> None:
    new, edited = read_manifest()
    assert len(set(new)) == len(new)  # each in one part
    # As in the platform, an __init__.py without code is empty.
    files = [path for path in tracked() if path.startswith(PLATFORM_FOLDERS) and (ROOT / path).stat().st_size]
    assert len(files) > 50

    expected = {path: SLICE for path in files}
    expected |= {path: SLICE_WITH_CHANGE for path in edited}
    for path in new:
        assert not first_line(path).startswith("# The slice"), path
        del expected[path]
    for path, mark in expected.items():
        assert first_line(path).startswith(mark), path


def test_the_manifest_is_checked_for_imports() -> None:
    """Each Python file of the change is in one of the two import contracts."""
    new, _edited = read_manifest()
    contracts = (ROOT / ".importlinter").read_text(encoding="utf-8").split()
    for path in new:
        if path.endswith(".py") and not path.endswith("__init__.py"):
            assert path.removesuffix(".py").replace("/", ".") in contracts


def test_the_change_to_the_tasks_is_small() -> None:
    lines = (ROOT / "openedx/core/djangoapps/programs/tasks.py").read_text(encoding="utf-8").splitlines()
    names = ("emit_program_certificate_awarded", "emit_program_certificate_revoked")
    assert [line.strip() for line in lines if any(name in line for name in names)] == [
        f"from openedx.core.djangoapps.programs.events import {', '.join(names)}",
        "emit_program_certificate_awarded(student, program_uuid, response)",
        "emit_program_certificate_revoked(student, program_uuid, response)",
    ]
    assert [line.strip() for line in lines if line.strip().startswith("return response")] == ["return response"] * 2
    assert sum('User.objects.select_related("profile").get(' in line for line in lines) == 2
    # The task of the repair, with its decorator, is the end of the file.
    [start] = [number for number, line in enumerate(lines) if line.startswith("def republish_program_certificates(")]
    assert len(lines) - start < 31


def test_as_many_faults_are_documented_as_tested() -> None:
    suite = ["testbed/tests/faults/test_faults.py", "testbed/tests/faults/test_repair_faults.py"]
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "fault", *suite]
    tests = [line for line in subprocess.check_output(collect, cwd=ROOT, text=True).splitlines() if "::test_" in line]
    lines = (ROOT / "docs/faults.md").read_text(encoding="utf-8").splitlines()
    header, *documented = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")
    ]

    assert tuple(header) == HEADER
    assert len(documented) == len(tests) > 20
    for row in documented:
        cells = dict(zip(header, row, strict=True))
        assert (cells["certificates wrong"], cells["lost after republish"]) == ("0", "0")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/applying.md", "docs/suites.md"])
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\((?!http)([^)]+)\)", page.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert (page.parent / link).exists(), link


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 650
