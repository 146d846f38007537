"""
Tests that everyone can see which files are the change and which are the slice.
"""

import re
import subprocess
import sys

import pytest

from testbed import ROOT
from testbed.checks.manifest import read_manifest
from testbed.tests.faults.table import HEADER

SLICE = "# The slice: written for this repository, in place of the platform's file of this path."
SLICE_WITH_CHANGE = "# The slice, with the change in it: "
PLATFORM_FOLDERS = ("cms/", "common/", "lms/", "openedx/", "xmodule/")


def tracked():
    """List the files of the repository, also those not committed yet."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [path for path in listing.splitlines() if (ROOT / path).exists()]


def first_line(path):
    """Read a file's first line; its second, if the first is for the shell."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    return lines[1] if lines[0].startswith("#!") else lines[0]


def test_each_platform_file_is_either_change_or_slice():
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


def test_the_manifest_is_checked_for_imports():
    """Each Python file of the change is in one of the two import contracts."""
    new, _edited = read_manifest()
    contracts = (ROOT / ".importlinter").read_text(encoding="utf-8").split()
    for path in new:
        if path.endswith(".py") and not path.endswith("__init__.py"):
            assert path.removesuffix(".py").replace("/", ".") in contracts


def test_the_change_to_the_tasks_is_small():
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


def test_as_many_faults_are_documented_as_tested():
    suite = ["testbed/tests/faults/test_faults.py", "testbed/tests/faults/test_repair_faults.py"]
    listing = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "fault", *suite],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    tests = [line for line in listing.splitlines() if "::test_" in line]
    lines = (ROOT / "docs/faults.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    header, documented = rows[0], rows[1:]

    assert tuple(header) == HEADER
    assert len(documented) == len(tests) > 20
    for row in documented:
        cells = dict(zip(header, row, strict=True))
        assert (cells["certificates wrong"], cells["lost after republish"]) == ("0", "0")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/applying.md", "docs/suites.md"])
def test_links_lead_somewhere(name):
    page = ROOT / name
    links = re.findall(r"\]\((?!http)([^)]+)\)", page.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert (page.parent / link).exists(), link


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900
