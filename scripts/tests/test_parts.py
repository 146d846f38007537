"""
The parts of the change: each stands alone on those before it, in a copy of this repository without the change.
"""

import code
import os
import re
import shlex
import subprocess
import sys
import tomllib
from copy import deepcopy as copy_of

import apply_to_platform
import pytest
from django.core.management import load_command_class
from platform_edits import APPS, PROGRAMS, SETTINGS, TASKS
from test_apply_to_platform import commit, git, write_file

from common.djangoapps.student.tests.factories import UserFactory

REPOSITORY = apply_to_platform.REPOSITORY
PARTS = tomllib.loads((REPOSITORY / "change.toml").read_text())["parts"]
NAMES = [part["name"] for part in PARTS]
PAGES = "openedx/core/djangoapps/programs/docs"
RECORD = "0002-program-certificate-events"
# Of the text of a pull request, as the platform's template has them.
SECTIONS = ["Description", "Supporting information", "Testing instructions", "Deadline", "Other information"]
# As commitlint's conventional configuration has them, with the platform's additions.
TYPES = "revert feat fix perf docs test build refactor style chore temp squash"


def listed_in_the_manifest():
    """Return the new files and the edited ones, of all parts."""
    return [path for part in PARTS for path in part["files"]], {path for part in PARTS for path in part["edits"]}


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
        (TASKS, r'(?<=student = User\.objects)\.select_related\("profile"\)', 2),
        (TASKS, r"\n\n@.*\ndef republish_program_certificates\((?:.*\n)*?    return counts\n", 1),
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
    for command in commands(name):
        if command[0] == "./manage.py" and "--help" not in command and "check" not in command:
            continue  # test_what_needs_credentials_takes_its_options
        run(copy, *{"./manage.py": ["manage"]}.get(command[0], command[:1]), *command[1:])
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


def blocks(name, language):
    """Return the code blocks of a language in the text of a part's pull request."""
    text = (REPOSITORY / f"docs/pull-requests/{name}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(name):
    """Return the commands in it, as lists of words."""
    return [shlex.split(line) for block in blocks(name, "console") for line in block.splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_a_pull_request_has_the_sections_of_the_template(name):
    text = (REPOSITORY / f"docs/pull-requests/{name}.md").read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    for who in ("Operators", "Developers", "Consumers"):
        assert f"- **{who}**: " in text
    assert "Deliberately not in it: " in text
    for path in re.findall(r"`(openedx/\S+/\S+)`", text):
        assert path in next(part["files"] for part in PARTS if part["name"] == name)
    assert commands(name)


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("events", "ProgramCertificateData(user=UserData("),
        ("operation", "programs.W001"),
        ("event-bus", "event_bus.W001"),
    ],
)
@pytest.mark.django_db
def test_what_is_pasted_into_the_shell(name, printed, capsys, settings):
    # Not the configuration that other tests see.
    settings.EVENT_BUS_PRODUCER_CONFIG = copy_of(settings.EVENT_BUS_PRODUCER_CONFIG)
    settings.EVENT_BUS_PRODUCER = None
    UserFactory()
    [block] = blocks(name, "python")
    assert len(block.splitlines()) == 5
    console, names = code.InteractiveConsole(), {}
    console.locals = names
    try:
        for line in block.splitlines():
            assert not console.push(line)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert printed in out
    finally:
        if "show" in names:
            names["PROGRAM_CERTIFICATE_AWARDED"].disconnect(names["show"])


@pytest.mark.parametrize("command", [words for words in commands("recovery") if words[0] == "./manage.py"])
def test_what_needs_credentials_takes_its_options(command):
    parser = load_command_class(PROGRAMS, command[2]).create_parser("manage.py", command[2])
    if "--help" not in command:
        options = parser.parse_args(command[3:])  # Raises for what the command does not know.
        assert options.start_date or options.usernames


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
