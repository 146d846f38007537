"""
Carries the change into a checkout of openedx-platform (formerly edx-platform): copies its new files, edits the others.

    python scripts/apply_to_platform.py PATH [--part NAME] [--diff | --commit]

``change.toml`` lists the parts of the change in order. ``--part`` applies the change up to that part. ``--commit``
makes a commit of each part on the checkout's current branch, with the author that git is configured with. Supported are
the releases whose tasks live in ``programs/tasks.py`` and call Credentials with ``requests``.

All or nothing: every edit is computed first. What is not recognised is refused, with one line that names the file and
the place, and exit code 2. A checkout that has the change already is left as it is. Refused as well:

- a file with uncommitted work in it, unless it already is what it would become;
- with ``--commit``, anything in the index, and a file of the change that is not committed, whatever is in it;
- an entry in ``EVENT_BUS_PRODUCER_CONFIG`` that is there with another topic or key; one that is enabled there stays so;
- a path that leads over a symbolic link.

What an earlier version of the change has put into a file is brought up to date. A file that only earlier versions had
(``removed`` in ``change.toml``) is removed if it is as one of them had it, and refused if it is not. Not so with
``--commit``: a part whose new files are all there counts as merged, and is left as it is, whatever was changed in it
since. A checkout that has such a part and a file that only earlier versions had is updated without ``--commit``.

In the pages of the change, a list item that links to a page of a later part comes with that part.
"""

import argparse
import hashlib
import os
import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from checkout import TASKS, Change, git, make_worktree, read, refuse_dirty, require_checkout, unified_diff, write
from edits.apps import edit_apps, edit_apps_for_the_bus
from edits.code import Code, Refusal
from edits.repair_task import add_repair_task
from edits.settings import edit_settings
from edits.tasks import edit_tasks

REPOSITORY = Path(__file__).resolve().parent.parent
APPS = "openedx/core/djangoapps/programs/apps.py"
SETTINGS = "lms/envs/common.py"

LIST_ITEM = re.compile(rb"^\* .*\n(?:  .*\n)*", re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """A part of the change, as ``change.toml`` has it."""

    name: str
    files: list[str]
    edits: list[str]
    message: str
    # The files that only earlier versions had, each with the beginnings of git's ids of their contents.
    removed: dict[str, list[str]] = field(default_factory=dict)


# By part and file. Those of OWN are given this repository's own file, too.
EDITORS: dict[tuple[str, str], Callable[..., Code]] = {
    ("events", TASKS): edit_tasks,
    ("events", SETTINGS): edit_settings,
    ("operation", APPS): edit_apps,
    ("recovery", TASKS): add_repair_task,
    ("event-bus", APPS): edit_apps_for_the_bus,
}
OWN = (("events", SETTINGS), ("recovery", TASKS))


def edit(part: str, path: str, content: bytes | None) -> bytes:
    """Return a file with what a part puts into it."""
    own = [Code(f"this repository's {path}", (REPOSITORY / path).read_bytes())] if (part, path) in OWN else []
    editor = EDITORS[part, path]
    code = editor(Code(path, content or b""), *own)
    if editor(code, *own).text != code.text:
        raise Refusal(path, "whole file", "a second run would change it again")
    return code.text.encode()


def plan(root: Path, parts: list[Part], later: list[Part]) -> list[Change]:
    """
    Compute every change that some parts make to a checkout, without touching it.

    Raises:
        Refusal: At least one of them is not possible.
    """
    require_checkout(root, sorted({path for part in [*parts, *later] for path in part.edits}))
    contents: dict[str, bytes | None] = {path: read_own(root, path, later) for part in parts for path in part.files}
    for part in parts:
        for path in part.edits:
            contents[path] = edit(part.name, path, contents.get(path) or read(root, path))
        contents |= dict.fromkeys(outdated(root, part))
    changes = [Change(path, read(root, path), new) for path, new in contents.items()]
    return [change for change in changes if change.new not in (change.old, with_line_feeds(change.old))]


def outdated(root: Path, part: Part) -> list[str]:
    """Return the files that are there from an earlier version of a part, as that had them."""
    found = {path: with_line_feeds(read(root, path)) for path in part.removed}
    for path, content in found.items():
        if content is not None:
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
            if not blob.startswith(tuple(part.removed[path])):
                what = "an earlier version of the change had a file of this name, and this one differs"
                raise Refusal(path, "checkout", f"{what}: remove it yourself")
    return [path for path, content in found.items() if content is not None]


def with_line_feeds(content: bytes | None) -> bytes | None:
    """Return what git may have checked out with other line ends (core.autocrlf) as it is here."""
    return content and content.replace(b"\r\n", b"\n")


def read_own(root: Path, path: str, later: list[Part]) -> bytes:
    """Return what a new file contains, without the list items that link to pages of later parts that are not there."""
    content = (REPOSITORY / path).read_bytes()
    if not path.endswith(".rst"):
        return content
    missing = [other for part in later for other in part.files if not (root / other).exists()]
    links = [f":doc:`{PurePosixPath(other).stem}`".encode() for other in missing]
    return LIST_ITEM.sub(lambda item: b"" if any(link in item[0] for link in links) else item[0], content)


def read_manifest() -> list[Part]:
    """Return the parts of the change, in order."""
    manifest = tomllib.loads((REPOSITORY / "change.toml").read_text(encoding="utf-8"))
    return [Part(**part) for part in manifest["parts"]]


def make_commits(root: Path, parts: list[Part], later: list[Part]) -> list[str]:
    """
    Commit each part that changes anything, on the current branch.

    The commits are made in a worktree; then the branch, the index and the files go there in one step, which git refuses
    if it would overwrite anything.

    Returns:
        The subjects of the commits.
    """
    everything = [*parts, *later]
    require_checkout(root, sorted({path for part in everything for path in part.edits}))
    if not git(root, "branch", "--show-current").strip():
        raise Refusal(root, "checkout", "no branch is checked out")
    git(root, "rev-parse", "--verify", "HEAD")
    if git(root, "diff", "--cached", "--name-only"):
        raise Refusal(root, "checkout", "something is in its index already; commit it or take it out first")
    refuse_dirty(root, [path for part in everything for path in [*part.files, *part.edits, *part.removed]])
    merged = [part for part in parts if all((root / path).exists() for path in part.files)]
    parts = [part for part in parts if part not in merged]
    if merged and any(outdated(root, part) for part in parts):
        # The parts that count as merged are earlier versions, too, and would not be updated.
        raise Refusal(root, "checkout", "has an earlier version of the change; update it without --commit first")
    subjects = []
    with make_worktree(root) as tree:
        for number, part in enumerate(parts):
            rest = [*parts[number + 1 :], *later]
            changes = [*plan(tree, [part], rest), *add_links(tree, [*merged, *parts[:number]], [part, *rest], rest)]
            write(tree, changes)
            git(tree, "-c", "core.safecrlf=false", "add", "--force", "--", *(change.path for change in changes))
            if git(tree, "diff", "--cached", "--name-only"):
                message = part.message.strip()
                identity = ("-c", "user.useConfigOnly=true", "-c", f"core.hooksPath={os.devnull}")
                git(tree, *identity, "commit", "--quiet", "--cleanup=verbatim", f"--message={message}")
                subjects.append(message.partition("\n")[0])
        git(root, "merge", "--quiet", "--no-squash", "--ff-only", git(tree, "rev-parse", "HEAD").strip())
    return subjects


def add_links(root: Path, merged: list[Part], missing: list[Part], rest: list[Part]) -> list[Change]:
    """
    Add links to the pages of a part that now comes to pages of those that are there, unless these were changed there.

    Args:
        root: The checkout.
        merged: The parts that it has.
        missing: Those that it lacks.
        rest: Those that it lacks still, after this commit.
    """
    changes = []
    for path in [path for part in merged for path in part.files if path.endswith(".rst")]:
        old, new = read(root, path), read_own(root, path, rest)
        if old != new and with_line_feeds(old) == read_own(root, path, missing):
            changes.append(Change(path, old, new))
    return changes


def main(arguments: list[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Apply the change to a checkout of openedx-platform.")
    parser.add_argument("path", metavar="PATH", help="the checkout's top directory")
    parser.add_argument("--part", metavar="NAME", help="apply the change up to this part of change.toml")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--diff", action="store_true", help="print the change as a patch and write nothing")
    how.add_argument("--commit", action="store_true", help="make a commit of each part on the current branch")
    options = parser.parse_args(arguments)
    root = Path(os.path.realpath(options.path))
    try:
        if not options.path:
            raise Refusal("PATH", "checkout", "is empty; name the top directory of a checkout")
        parts = read_manifest()
        names = [part.name for part in parts]
        if options.part and options.part not in names:
            raise Refusal("--part", options.part, f"no such part; there are {', '.join(names)}")
        end = names.index(options.part) + 1 if options.part else len(parts)
        parts, later = parts[:end], parts[end:]
        if options.commit:
            subjects = make_commits(root, parts, later)
            print("\n".join(f"committed {subject}" for subject in subjects) or f"{root}: nothing to commit.")
            return 0
        changes = plan(root, parts, later)
        refuse_dirty(root, [change.path for change in changes])
        if options.diff:
            sys.stdout.buffer.write(b"".join(map(unified_diff, changes)))
        else:
            write(root, changes)
    except Refusal as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    if not changes:
        # On stderr: with --diff, stdout is a patch.
        print(f"{root} carries the change already: nothing to change.", file=sys.stderr if options.diff else sys.stdout)
    elif not options.diff:
        for change in changes:
            print(f"{'added' if change.old is None else 'removed' if change.new is None else 'changed'} {change.path}")
    return 0


if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads the output has seen enough (``| head``); without this, Python would flush the rest on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)
