"""
Tests of the layout: everyone can see what is the change and what is the slice, and finds the right room.
"""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from testbed import ROOT
from testbed.checks.manifest import PLATFORM_FOLDERS, read_manifest, tracked
from testbed.tests.faults.table import HEADER, documented
from testbed.tests.faults.test_faults import FAULTS
from testbed.tests.faults.test_repair_faults import FAULTS as REPAIR_FAULTS

SLICE = "# The slice: written for this repository, in place of the platform's file of this path."
SLICE_WITH_CHANGE = "# The slice, with the change in it: "
ROOMS = ("benchmarks/", "scripts/", "testbed/")
FILES, LINES = 8, 350  # at most, in a folder and in a Python file
DATA_FOLDERS = {"benchmarks/results", "scripts/tests/fixtures"}


def test_rooms_are_small() -> None:
    folders = Counter(str(Path(path).parent) for path in tracked() if path.startswith(ROOMS))
    assert {folder: count for folder, count in folders.items() if count > FILES and folder not in DATA_FOLDERS} == {}


@pytest.mark.parametrize("path", [path for path in tracked() if path.startswith(ROOMS) and path.endswith(".py")])
def test_each_file_is_short_and_says_what_it_is_for(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert (ast.get_docstring(ast.parse(text)) or "").partition(".")[0].strip()
    assert len(text.splitlines()) <= LINES


def test_each_platform_file_is_either_change_or_slice() -> None:
    new, edited = read_manifest()
    assert len(set(new)) == len(new)  # each in one part
    # As in the platform, an __init__.py without code is empty.
    paths = [path for path in tracked() if path.startswith(PLATFORM_FOLDERS) and (ROOT / path).stat().st_size]
    assert len(paths) > 50
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in paths}

    expected = {path: SLICE for path in paths}
    expected |= {path: SLICE_WITH_CHANGE for path in edited}
    for path in new:
        assert not texts[path].startswith("# The slice"), path
        del expected[path]
    for path, mark in expected.items():
        assert texts[path].startswith(mark), path


def test_the_manifest_is_checked_for_imports() -> None:
    """Each Python file of the change is in one of the two import contracts."""
    new, _edited = read_manifest()
    contracts = (ROOT / ".importlinter").read_text(encoding="utf-8").split()
    for path in new:
        if path.endswith(".py") and not path.endswith("__init__.py"):
            assert path.removesuffix(".py").replace("/", ".") in contracts


def test_the_task_of_the_repair_is_small() -> None:
    """With its decorator, it is the end of the file."""
    text = (ROOT / "openedx/core/djangoapps/programs/tasks.py").read_text(encoding="utf-8")
    [_before, task] = text.split("\ndef republish_program_certificates(")
    assert len(task.splitlines()) < 31


def test_as_many_faults_are_documented_as_tested() -> None:
    tested = [*FAULTS, *REPAIR_FAULTS]
    header, *rows = re.findall(r"^\| .*", (ROOT / "docs/faults.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(re.split(r" *\| *", header)[1:-1]) == HEADER
    assert len(rows) == len(tested) > 20
    for fault in tested:
        cells = dict(zip(HEADER[2:], documented(fault.fault).cells, strict=True))
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
