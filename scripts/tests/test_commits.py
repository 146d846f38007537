"""
The command with ``--commit``: a commit of each part, on a branch that may have some of them.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import checkout as checkout_module
import pytest
from apply_to_platform import APPS, SETTINGS
from checkout import TASKS

from tests import small_change as small
from tests.conftest import Refuse, Run, commit, git, shell, write_file

pytestmark = pytest.mark.usefixtures("change")

COMMITTED = [f"committed feat: {subject}" for subject in ("the events", "watch them", "repair")]
LAST = ["feat: repair", "Why.", small.FIRST_PAGE, small.LATER_PAGE, TASKS]


def log(root: Path) -> list[list[str]]:
    """Return the commits of a checkout after its first: subject, body, and the files of each."""
    commits = git(root, "log", "--reverse", "--format=%x00%s%n%b", "--name-only").decode().split("\0")[2:]
    return [[line for line in commit.splitlines() if line] for commit in commits]


def test_a_commit_of_each_part(checkout: Path, run: Run) -> None:
    write_file(checkout, "lms/notes.txt", b"unfinished")
    branch = git(checkout, "branch", "--show-current")

    assert run(checkout, "--commit").decode().splitlines() == COMMITTED

    assert git(checkout, "branch", "--show-current") == branch
    assert git(checkout, "status", "--porcelain") == b"?? lms/notes.txt\n"
    assert git(checkout, "log", "--format=%an <%ae>", "-1") == b"Author <author@example.com>\n"
    assert log(checkout) == [
        ["feat: the events", "Why, and how tested.", *sorted([*small.NEW[:3], SETTINGS, TASKS])],
        ["feat: watch them", "Why.", *sorted([small.FIRST_PAGE, APPS])],
        LAST,
    ]
    # The same as without commits.
    committed = git(checkout, "rev-parse", "HEAD^{tree}")
    (checkout / "lms/notes.txt").unlink()
    git(checkout, "reset", "--quiet", "--hard", "HEAD~3")
    run(checkout)
    git(checkout, "add", "--all")
    assert git(checkout, "write-tree") == committed


def test_a_part_at_a_time_and_again(checkout: Path, run: Run) -> None:
    for name, printed in zip(("events", "operation"), COMMITTED, strict=False):
        assert run(checkout, "--commit", "--part", name).decode() == f"{printed}\n"
    assert (checkout / small.FIRST_PAGE).read_text() == small.FIRST_TEXT.replace(small.LATER_ITEM, "")
    assert b"nothing to commit" in run(checkout, "--commit", "--part", "operation")
    # What reviewers changed in a part that is merged stays.
    write_file(checkout, small.EVENTS, b"# Reviewed\n" + (checkout / small.EVENTS).read_bytes())
    git(checkout, "commit", "--quiet", "--all", "--message", "Review")
    run(checkout, "--commit")
    assert log(checkout)[3:] == [LAST]
    assert (checkout / small.FIRST_PAGE).read_text() == small.FIRST_TEXT
    assert (checkout / small.EVENTS).read_text().startswith("# Reviewed\n")
    # Once all is there, no part takes anything back.
    for options in (["--commit"], ["--commit", "--part", "events"]):
        assert b"nothing to commit" in run(checkout, *options)
    git(checkout, "revert", "--no-edit", "HEAD~1")
    for options in (["--part", "operation"], []):
        assert b"nothing to change" in run(checkout, *options)


def test_a_page_that_reviewers_changed_gets_no_link(checkout: Path, run: Run) -> None:
    run(checkout, "--commit", "--part", "operation")
    write_file(checkout, small.FIRST_PAGE, b"Reviewed\n")
    git(checkout, "commit", "--quiet", "--all", "--message", "Review")
    run(checkout, "--commit")
    assert log(checkout)[3:] == [[*LAST[:2], small.LATER_PAGE, TASKS]]


def test_a_commit_removes_what_only_an_earlier_version_had(checkout: Path, run: Run, refuse: Refuse) -> None:
    write_file(checkout, small.GONE, small.EARLIER)
    commit(checkout)
    run(checkout, "--commit", "--part", "operation")
    assert (checkout / small.GONE).exists()
    # An earlier version of the other parts, for all that is known.
    refuse(checkout, "checkout: has an earlier version of the change; update it", "--commit")
    git(checkout, "reset", "--quiet", "--hard", "HEAD~2")
    run(checkout, "--commit")
    assert log(checkout)[-1] == [*LAST[:4], small.GONE, TASKS]
    assert git(checkout, "status", "--porcelain") == b""


def test_the_configuration_of_git_does_no_harm(checkout: Path, run: Run, refuse: Refuse) -> None:
    branch = git(checkout, "branch", "--show-current").decode().strip()
    for name, value in (
        (f"branch.{branch}.mergeOptions", "--squash"),
        ("core.fileMode", "false"),
        ("core.autocrlf", "true"),
        ("core.safecrlf", "true"),
    ):
        git(checkout, "config", name, value)
    # A hook that refuses every commit.
    write_file(checkout, ".git/hooks/pre-commit", b"#!/bin/sh\nexit 1\n")
    for path in (SETTINGS, TASKS, ".git/hooks/pre-commit"):
        os.chmod(checkout / path, 0o755)
    run(checkout, "--commit")
    assert len(log(checkout)) == 3
    assert b"mode change" not in git(checkout, "log", "--summary", "-3")
    assert git(checkout, "status", "--porcelain") == b""
    assert git(checkout, "worktree", "list").count(b"\n") == 1

    # Checked out with other line ends, it is what it was.
    for path in small.NEW:
        (checkout / path).unlink()
    git(checkout, "checkout", "--quiet", ".")
    assert b"\r\n" in (checkout / small.FIRST_PAGE).read_bytes()
    assert b"nothing to change" in run(checkout)

    git(checkout, "config", "commit.gpgsign", "true")
    git(checkout, "config", "gpg.program", "false")
    git(checkout, "reset", "--quiet", "--hard", "HEAD~3")
    refuse(checkout, "checkout: .*", "--commit")


NOTES = "echo unfinished > lms/notes.txt; git add lms/notes.txt"
LATER = f"mkdir -p docs/how-to; echo mine > {small.LATER_PAGE}"


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        ("git checkout --quiet --detach", "checkout: no branch is checked out"),
        ("git config --unset user.email", "checkout: fatal: no email was given and auto-detection is disabled"),
        (NOTES, "checkout: something is in its index already"),
        (f"echo '# unfinished' >> {TASKS}", f"{TASKS}: checkout: has uncommitted changes"),
        (LATER, f"{small.LATER_PAGE}: checkout: has uncommitted changes"),
    ],
)
def test_commits_are_refused_as_a_whole(
    checkout: Path,
    refuse: Refuse,
    monkeypatch: pytest.MonkeyPatch,
    prepare: str,
    message: str,
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    shell(checkout, prepare)
    refuse(checkout, message, "--commit")


@pytest.mark.parametrize("failing", ["worktree", "add", "commit", "merge"])
def test_a_failure_of_git_leaves_the_branch_where_it_was(
    checkout: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    real, calls = subprocess.run, []

    def fail(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        if failing in command and "remove" not in command:
            calls.append(command)
            if len(calls) == (2 if failing == "commit" else 1):
                raise subprocess.CalledProcessError(128, command, stderr=b"fatal: no space left on device\n")
        return real(command, **options)

    monkeypatch.setattr(checkout_module.subprocess, "run", fail)
    refuse(checkout, "checkout: fatal: no space left on device", "--commit")
    assert calls
