"""
Each part of the change names only what is there: nothing of a later part, and no path that leads nowhere.
"""

import re
from pathlib import PurePosixPath

import apply_to_platform
import pytest
from test_apply_to_platform import git
from test_parts import NAMES, copy  # noqa: F401  pylint: disable=unused-import


def names_of(path):
    """Return a pattern of what a text can call a file of the change: file name, module, page, command."""
    stem, suffix = PurePosixPath(path).stem, PurePosixPath(path).suffix
    names = [re.escape(stem + suffix), re.escape(path.removesuffix(suffix).replace("/", "."))]
    if "_" in stem or "-" in stem:  # "checks" is also a word
        names.append(re.escape(stem))
    if number := re.match(r"\d{4}(?=-)", stem):
        names.append(number[0])
    return rf"(?<![\w-])(?:{'|'.join(names)})(?![\w-])"


def list_absent(text, there, later):
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
def test_a_part_names_nothing_that_is_not_there_yet(copy, name):  # noqa: F811
    number = NAMES.index(name) + 1
    parts = apply_to_platform.read_manifest()
    changes = apply_to_platform.plan(copy, parts[:number], parts[number:])
    there = {*git(copy, "ls-files", "-z").decode().split("\0"), *(change.path for change in changes)}
    later = [path for part in parts[number:] for path in part.files]

    for change in changes:
        old = (change.old or b"").decode().splitlines()
        added = "\n".join(line for line in change.new.decode().splitlines() if line not in old)
        assert list_absent(added, there, later) == [], change.path
    assert list_absent(parts[number - 1].message, there, later) == []


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ("See programs/docs/how_tos/here.rst and :doc:`../how_tos/here`, which checks events.", []),
        ("See programs/docs/how_tos/later-page.rst.", ["programs/docs/how_tos/later-page.rst"]),
        ("See :doc:`the page <later-page>`.", ["later-page.rst"]),
        ("See later-page.", []),
        ("Decision 0003 says why.", ["a/programs/docs/decisions/0003-why.rst"]),
        ("As ``a.programs.checks`` does.", ["a/programs/checks.py"]),
        ("See programs/checks.py.", ["a/programs/checks.py", "programs/checks.py"]),
        ("Run ``./manage.py lms send_again``.", ["a/programs/management/commands/send_again.py"]),
        ("See docs/nowhere.rst.", ["docs/nowhere.rst"]),
    ],
)
def test_what_is_not_there_is_found(text, absent):
    later = [
        "a/programs/checks.py",
        "a/programs/docs/decisions/0003-why.rst",
        "a/programs/management/commands/send_again.py",
    ]
    assert list_absent(text, {"a/programs/docs/how_tos/here.rst"}, later) == absent
