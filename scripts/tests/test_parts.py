"""
The parts of the change: each stands alone on those before it, and names nothing of those after it.
"""

import code
import re
import shlex
import sys
from copy import deepcopy
from pathlib import Path, PurePosixPath

import apply_to_platform
import pytest
from apply_to_platform import REPOSITORY
from django.core.management import load_command_class
from gates_in_platform import Bench
from pytest_django.fixtures import Settings

from common.djangoapps.student.tests.factories import UserFactory
from tests.conftest import Run, git
from tests.edits.shapes import PROGRAMS

PARTS = apply_to_platform.read_manifest()
NAMES = [part.name for part in PARTS]
PAGES = "openedx/core/djangoapps/programs/docs"
RECORD = "0002-program-certificate-events"
# Of the text of a pull request, as the platform's template has them.
SECTIONS = ["Description", "Supporting information", "Testing instructions", "Deadline", "Other information"]
# As commitlint's conventional configuration has them, with the platform's additions.
TYPES = "revert feat fix perf docs test build refactor style chore temp squash"


def run_module(root: Path, *command: str) -> str:
    """Run a Python module in a checkout; return what it printed."""
    result = Bench(root, sys.executable, []).run("-m", *command)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
    return result.stdout


def blocks(name: str, language: str) -> list[str]:
    """Return the code blocks of a language in the text of a part's pull request."""
    text = (REPOSITORY / f"docs/pull-requests/{name}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(name: str) -> list[list[str]]:
    """Return the commands in it, as lists of words."""
    return [shlex.split(line) for block in blocks(name, "console") for line in block.splitlines()]


@pytest.mark.parts
@pytest.mark.parametrize("name", [pytest.param(NAMES[0], marks=pytest.mark.representative), *NAMES[1:]])
def test_a_part_stands_on_those_before_it(copy: Path, run: Run, name: str) -> None:
    parts = PARTS[: NAMES.index(name) + 1]
    run(copy, "--commit", "--part", name)

    subjects = git(copy, "log", "--reverse", "--format=%s").decode().splitlines()[1:]
    assert subjects == [part.message.strip().splitlines()[0] for part in parts]
    new = {path for part in parts for path in part.files}
    for path in {path for part in PARTS for path in part.files}:
        assert (copy / path).exists() == (path in new)
    for command in commands(name):
        if command[0] == "./manage.py" and "--help" not in command and "check" not in command:
            continue  # test_what_needs_credentials_takes_its_options
        run_module(copy, *{"./manage.py": ["manage"]}.get(command[0], command[:1]), *command[1:])
    tests = [path for path in new if "/tests/" in path]
    printed = run_module(copy, "pytest", "openedx/core/djangoapps/programs/tests", *tests, "-q", "-p", "no:randomly")
    assert re.search(r"\d+ passed", printed)
    sphinx = ("sphinx", "-q", "-n", "-W", "--keep-going", "-c", "docs", f"-Droot_doc=decisions/{RECORD}")
    run_module(copy, *sphinx, PAGES, str(copy.parent / "pages"))


def test_this_repository_without_its_change_gets_it_back(stripped: Path) -> None:
    changes = {change.path: change.new for change in apply_to_platform.plan(stripped, PARTS, [])}
    assert changes == {path: (REPOSITORY / path).read_bytes() for part in PARTS for path in [*part.files, *part.edits]}
    assert not [path for part in PARTS for path in part.removed if (REPOSITORY / path).exists()]


@pytest.mark.parametrize("name", NAMES)
def test_a_pull_request_has_the_sections_of_the_template(name: str) -> None:
    text = (REPOSITORY / f"docs/pull-requests/{name}.md").read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    for who in ("Operators", "Developers", "Consumers"):
        assert f"- **{who}**: " in text
    assert "Deliberately not in it: " in text
    for path in re.findall(r"`(openedx/\S+/\S+)`", text):
        assert path in next(part.files for part in PARTS if part.name == name)
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
def test_what_is_pasted_into_the_shell(
    name: str, printed: str, capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    # Not the configuration that other tests see.
    settings.EVENT_BUS_PRODUCER_CONFIG = deepcopy(settings.EVENT_BUS_PRODUCER_CONFIG)
    settings.EVENT_BUS_PRODUCER = None
    UserFactory()
    [block] = blocks(name, "python")
    assert len(block.splitlines()) == 5
    console = code.InteractiveConsole()
    try:
        for line in block.splitlines():
            assert not console.push(line)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert printed in out
    finally:
        if "show" in console.locals:
            console.locals["PROGRAM_CERTIFICATE_AWARDED"].disconnect(console.locals["show"])


@pytest.mark.parametrize("command", [words for words in commands("recovery") if words[0] == "./manage.py"])
def test_what_needs_credentials_takes_its_options(command: list[str]) -> None:
    parser = load_command_class(PROGRAMS, command[2]).create_parser("manage.py", command[2])
    if "--help" not in command:
        options = parser.parse_args(command[3:])  # Raises for what the command does not know.
        assert options.start_date or options.usernames


@pytest.mark.parametrize("part", PARTS, ids=NAMES)
def test_messages_are_conventional(part: apply_to_platform.Part) -> None:
    header, blank, *body = part.message.strip().splitlines()
    assert re.fullmatch(rf"({'|'.join(TYPES.split())}): [a-z].*[^.]", header)
    assert blank == ""
    assert max(map(len, [header, *body])) <= 100
    assert any(line.startswith("Tested ") for line in body)


# What a part names


def names_of(path: str) -> str:
    """Return a pattern of what a text can call a file of the change: file name, module, page, command."""
    stem, suffix = PurePosixPath(path).stem, PurePosixPath(path).suffix
    names = [re.escape(stem + suffix), re.escape(path.removesuffix(suffix).replace("/", "."))]
    if "_" in stem or "-" in stem:  # "checks" is also a word
        names.append(re.escape(stem))
    if number := re.match(r"\d{4}(?=-)", stem):
        names.append(number[0])
    return rf"(?<![\w-])(?:{'|'.join(names)})(?![\w-])"


def list_absent(text: str, there: set[str], later: list[str]) -> list[str]:
    """
    List what a text names that is not there: files of later parts, and paths and pages that lead nowhere.

    Args:
        text: What a part adds.
        there: The paths of all files of the checkout, with those of the part.
        later: The paths of the files of later parts.
    """
    absent = {path for path in later if re.search(names_of(path), text)}
    paths = {*re.findall(r"\w[\w.-]*(?:/[\w.-]+)+\.(?:py|rst)\b", text)}
    pages = {f"{page}.rst" for page in re.findall(r":doc:`(?:[^`<]*<)?(?:\.\./)?([^`<>]+)>?`", text)}
    nowhere = {name for name in paths | pages if not any(f"/{path}".endswith(f"/{name}") for path in there)}
    return sorted(absent | nowhere)


@pytest.mark.parametrize("name", NAMES)
def test_a_part_names_nothing_that_is_not_there_yet(stripped: Path, name: str) -> None:
    number = NAMES.index(name) + 1
    changes = apply_to_platform.plan(stripped, PARTS[:number], PARTS[number:])
    there = {*git(stripped, "ls-files", "-z").decode().split("\0"), *(change.path for change in changes)}
    later = [path for part in PARTS[number:] for path in part.files]

    for change in changes:
        old = set((change.old or b"").decode().splitlines())
        added = "\n".join(line for line in (change.new or b"").decode().splitlines() if line not in old)
        assert list_absent(added, there, later) == [], change.path
    assert list_absent(PARTS[number - 1].message, there, later) == []


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ("See programs/docs/how_tos/here.rst and :doc:`../how_tos/here`, which checks events.", []),
        ("See programs/docs/how_tos/later-page.rst.", ["programs/docs/how_tos/later-page.rst"]),
        ("See :doc:`the page <later-page>`.", ["later-page.rst"]),
        ("Decision 0003 says why.", ["a/programs/docs/decisions/0003-why.rst"]),
        ("As ``a.programs.checks`` does.", ["a/programs/checks.py"]),
        ("See programs/checks.py.", ["a/programs/checks.py", "programs/checks.py"]),
        ("Run ``./manage.py lms send_again``.", ["a/programs/management/commands/send_again.py"]),
    ],
)
def test_what_is_not_there_is_found(text: str, absent: list[str]) -> None:
    later = [
        "a/programs/checks.py",
        "a/programs/docs/decisions/0003-why.rst",
        "a/programs/management/commands/send_again.py",
    ]
    assert list_absent(text, {"a/programs/docs/how_tos/here.rst"}, later) == absent
