"""
The parts of the change: each stands alone on those before it, in a copy of this repository without the change.
"""

import os
import re
import subprocess
import sys
import tomllib

import apply_to_platform
import pytest
from platform_edits import APPS, SETTINGS, TASKS
from test_apply_to_platform import commit, git, write_file

REPOSITORY = apply_to_platform.REPOSITORY
PARTS = tomllib.loads((REPOSITORY / "change.toml").read_text())["parts"]
NAMES = [part["name"] for part in PARTS]
PAGES = "openedx/core/djangoapps/programs/docs"
RECORD = "0002-program-certificate-events"
# As commitlint's conventional configuration has them, with the platform's additions.
TYPES = "revert feat fix perf docs test build refactor style chore temp squash"


def listed_in_the_manifest():
    """Return the new files and the edited ones, of all parts."""
    parts = tomllib.loads((REPOSITORY / "change.toml").read_text())["parts"]
    return [path for part in parts for path in part["files"]], {path for part in parts for path in part["edits"]}


def without_the_change(root, files, edits):
    """Take the change out of a copy of this repository."""
    for path in files:
        (root / path).unlink()
    entry = r'^    "org\.openedx\.learning\.program\.certificate\.[a-z]+\.v1": \{\n(?: {5,}.*\n)*    \},\n'
    for path, pattern, count in (
        (TASKS, r"^.*emit_program_certificate_.*\n", 3),
        (TASKS, r"(?<=    )response = (?=(award|revoke)_program_certificate\()", 2),
        (TASKS, r"^    Returns:\n        requests\.Response: What Credentials answered\.\n\n", 2),
        (TASKS, r"^    return response\n", 2),
        (SETTINGS, entry, 2),
        (APPS, r" checks,", 1),
        (APPS, r"^.*event_bus_checks.*\n\n", 1),
    ):
        if path in edits:
            stripped, found = re.subn(pattern, "", (root / path).read_text(), flags=re.MULTILINE)
            assert found == count, pattern
            (root / path).write_text(stripped)


@pytest.fixture
def copy(tmp_path):
    """Make a checkout of this repository without the change."""
    root = tmp_path / "copy"
    listed = git(REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard").decode().split("\0")
    for path in filter(None, listed):
        if (REPOSITORY / path).is_file():
            write_file(root, path, (REPOSITORY / path).read_bytes())
    without_the_change(root, *listed_in_the_manifest())
    git(tmp_path, "init", "--quiet", str(root))
    commit(root)
    git(root, "config", "user.name", "Author")
    git(root, "config", "user.email", "author@example.com")
    return root


def run(root, *command):
    """Run a Python module in a checkout; return what it printed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "DJANGO_"))}
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
    return result.stdout


@pytest.mark.parts
@pytest.mark.parametrize("name", [pytest.param(NAMES[0], marks=pytest.mark.representative), *NAMES[1:]])
def test_a_part_stands_on_those_before_it(copy, name):
    parts = PARTS[: NAMES.index(name) + 1]
    assert apply_to_platform.main([str(copy), "--commit", "--part", name]) == 0

    subjects = git(copy, "log", "--reverse", "--format=%s").decode().splitlines()[1:]
    assert subjects == [part["message"].strip().splitlines()[0] for part in parts]
    new = {path for part in parts for path in part["files"]}
    for path in {path for part in PARTS for path in part["files"]}:
        assert (copy / path).exists() == (path in new)
    tests = [path for path in new if "/tests/" in path]
    printed = run(copy, "pytest", "openedx/core/djangoapps/programs/tests", *tests, "-q", "-p", "no:randomly")
    assert re.search(r"\d+ passed", printed)
    sphinx = ("sphinx", "-q", "-n", "-W", "--keep-going", "-c", "docs", f"-Droot_doc=decisions/{RECORD}")
    run(copy, *sphinx, PAGES, str(copy.parent / "pages"))


def test_this_repository_without_its_change_gets_it_back(copy):
    assert apply_to_platform.main([str(copy)]) == 0

    files, edits = listed_in_the_manifest()
    for path in [*files, *edits]:
        assert (copy / path).read_bytes() == (REPOSITORY / path).read_bytes(), path


@pytest.mark.parametrize("name", NAMES)
def test_messages_are_conventional(name):
    [message] = [part["message"].strip() for part in PARTS if part["name"] == name]
    header, blank, *body = message.splitlines()
    assert re.fullmatch(rf"({'|'.join(TYPES.split())}): [a-z].*[^.]", header)
    assert len(header) <= 100
    assert blank == ""
    assert body
    assert max(map(len, body)) <= 100
    assert re.search(r"^Tested ", message, re.MULTILINE)


def test_the_first_record_names_no_later_part():
    record = (REPOSITORY / PAGES / f"decisions/{RECORD}.rst").read_text()
    assert "republish_program_certificate_events" not in record
    assert "0003" not in record
