"""
Carry the change into a checkout of openedx-platform (formerly edx-platform): copy its new files, edit the others.

    python scripts/apply_to_platform.py PATH [--part NAME] [--diff | --commit]

``change.toml`` lists the parts of the change in order, each with its new files, the files that it edits, and a commit
message; the two settings entries are taken from this repository's own ``lms/envs/common.py``. ``--part`` applies the
change up to that part. ``--commit`` makes a commit of each part on the checkout's current branch, with the author that
git is configured with. Supported are the releases whose tasks live in ``programs/tasks.py`` and call Credentials with
``requests``. The new files need Python 3.11 or newer, and an openedx-events that has the two signals
(``PROGRAM_CERTIFICATE_AWARDED`` and ``PROGRAM_CERTIFICATE_REVOKED``).

All or nothing: every edit is computed first. What this script does not recognise it refuses, with one line that names
the file and the place, and exit code 2. A checkout that carries the change already is left as it is. Refused as well:

- a file with uncommitted work in it, unless it already is what it would become;
- with ``--commit``, anything in the index, and a file of the change that is not committed, whatever is in it;
- an entry in ``EVENT_BUS_PRODUCER_CONFIG`` that is there with another topic or key; one that is enabled there stays so;
- a path that leads over a symbolic link.

A new file that the checkout has in another version, committed, is replaced: an earlier version of the change. So is
what an earlier version has put into a file that is edited. A file that only earlier versions had (``removed`` in
``change.toml``) is removed if it is as one of them had it, and refused if it is not. Not so with ``--commit``: a part
whose new files are all there counts as merged, and is left as it is, whatever was changed in it since. A checkout that
has such a part and a file that only earlier versions had is therefore updated without ``--commit``.

In the pages of the change, a list item that links to a page of a later part comes with that part.
"""

import argparse
import difflib
import functools
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import libcst as cst
from platform_edits import (
    APPS,
    SETTINGS,
    TASKS,
    Refusal,
    add_repair_task,
    edit_apps,
    edit_apps_for_the_bus,
    edit_settings,
    edit_tasks,
    parse,
)

REPOSITORY = Path(__file__).resolve().parent.parent
MANIFEST = "change.toml"

LIST_ITEM = re.compile(rb"^\* .*\n(?:  .*\n)*", re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """
    A part of the change: its name, its new files, the files it edits, and the message of its commit.

    And the files that only earlier versions had, each with the beginnings of git's ids of their contents.
    """

    name: str
    files: list[str]
    edits: list[str]
    message: str
    removed: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """One file of the checkout, before (None: it is new) and after (None: it is removed)."""

    path: str
    old: bytes | None
    new: bytes | None
    mode: int


# By part and file. Those of OWN are given this repository's own file, too.
EDITORS: dict[tuple[str, str], Callable[..., cst.Module]] = {
    ("events", TASKS): edit_tasks,
    ("events", SETTINGS): edit_settings,
    ("operation", APPS): edit_apps,
    ("recovery", TASKS): add_repair_task,
    ("event-bus", APPS): edit_apps_for_the_bus,
}
OWN = (("events", SETTINGS), ("recovery", TASKS))


@functools.cache
def edit(part: str, path: str, content: bytes, own: bytes) -> bytes:
    """Return a file with what a part puts into it. Each commit of a series asks anew."""
    more = [parse(str(REPOSITORY / path), own)] if (part, path) in OWN else []
    return EDITORS[part, path](parse(path, content), *more).bytes


# The checkout


def plan(root: Path, parts: list[Part], later: list[Part]) -> list[Change]:
    """
    Compute every change that some parts make to a checkout, without touching it.

    Raises:
        Refusal: At least one of them is not possible.
    """
    require_checkout(root, sorted({path for part in [*parts, *later] for path in part.edits}))
    contents = {path: read_own(root, path, later) for part in parts for path in part.files}
    for part in parts:
        for path in part.edits:
            own = (REPOSITORY / path).read_bytes()
            contents[path] = edit(part.name, path, contents.get(path) or read(root, path), own)
            if edit(part.name, path, contents[path], own) != contents[path]:
                raise Refusal(path, "whole file", "a second run would change it again")
        contents |= dict.fromkeys(outdated(root, part))
    changes = [Change(path, read(root, path), new, mode_of(root, path)) for path, new in contents.items()]
    return [change for change in changes if change.new not in (change.old, with_line_feeds(change.old))]


def outdated(root: Path, part: Part) -> list[str]:
    """Return the files that are there from an earlier version of a part, as that had them."""
    found = {path: with_line_feeds(read(root, path)) for path in part.removed}
    for path, content in found.items():
        if content is not None:
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
            if not blob.startswith(tuple(part.removed[path])):
                what = (
                    "an earlier version of the change had a file of this name, and this one differs: remove it yourself"
                )
                raise Refusal(path, "checkout", what)
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
    try:
        manifest = tomllib.loads((REPOSITORY / MANIFEST).read_text(encoding="utf-8"))
        parts = [Part(**part) for part in manifest["parts"]]
        listed = [(part, path) for part in parts for path in [*part.files, *part.edits]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refusal(MANIFEST, "whole file", f"cannot be read ({error})") from error
    for part, path in listed:
        if not (REPOSITORY / path).is_file() or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise Refusal(MANIFEST, path, "no such file in this repository")
        if path in part.edits and (part.name, path) not in EDITORS:
            raise Refusal(MANIFEST, path, f"this script does not know how to edit it for {part.name}")
    for path in [path for part in parts for path in part.removed]:
        if (REPOSITORY / path).exists():
            raise Refusal(MANIFEST, path, "listed as removed, but this repository has it")
    return parts


def git(root: Path, *arguments: str, content: bytes | None = None, **variables: str) -> str:
    """Run git in the checkout and return what it prints; the index is not written to, if not told to."""
    # A hook that runs this script must not redirect git to the hook's own repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or "CONFIG" in key}
    command = ["git", "--no-optional-locks", "--literal-pathspecs", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, env=environment | variables, input=content, capture_output=True, check=True)
        return done.stdout.decode(errors="surrogateescape")
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.decode(errors="replace").splitlines() if line]
        fatal = next((line for line in lines if line.startswith("fatal: ")), lines[0] if lines else "git failed")
        raise Refusal(root, "checkout", fatal) from error
    except OSError as error:
        raise Refusal(root, "checkout", f"cannot run git ({error})") from error


def require_checkout(root: Path, edits: list[str]) -> None:
    """Refuse a directory that is not the top of a checkout of a supported release."""
    if not root.is_dir():
        raise Refusal(root, "checkout", "no such directory")
    top = git(root, "rev-parse", "--show-toplevel").removesuffix("\n")
    if Path(top).resolve() != root:
        raise Refusal(root, "checkout", "not the top directory of a git checkout")
    for path in edits:
        if not (root / path).is_file():
            older = path == TASKS and (root / TASKS).with_name("tasks").is_dir()
            what = "this release keeps its tasks elsewhere and is not supported" if older else "no such file"
            raise Refusal(path, "checkout", f"{what}; is {root} a checkout of openedx-platform?")


def read(root: Path, path: str) -> bytes | None:
    """Return what a file in the checkout contains, None if there is none; symbolic links are not followed."""
    target = root / path
    if os.path.realpath(target) != str(target):
        raise Refusal(path, "checkout", "this path leads over a symbolic link")
    try:
        return target.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refusal(path, "checkout", f"cannot be read ({error.strerror})") from error


def mode_of(root: Path, path: str) -> int:
    """Return the permissions a file has in the checkout; a new one is as executable as it is here."""
    if (root / path).exists():
        return (root / path).stat().st_mode & 0o777
    return 0o755 if os.access(REPOSITORY / path, os.X_OK) else 0o644


def refuse_uncommitted(root: Path, changes: list[Change]) -> None:
    """Refuse to touch what git could not bring back: uncommitted work, or a file that git does not know."""
    if changes:
        refuse_dirty(root, [change.path for change in changes])


def refuse_dirty(root: Path, paths: list[str]) -> None:
    """Refuse files that are not as they are committed; git may ignore one that it does not know."""
    tracked = git(root, "ls-files", "-z", "--", *paths).split("\0")
    status = git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *paths)
    dirty = [record[3:] for record in status.split("\0")]
    for path in paths:
        if path in dirty or ((root / path).exists() and path not in tracked):
            raise Refusal(path, "checkout", "has uncommitted changes; commit them or set them aside first")


def refuse_uncommittable(root: Path, parts: list[Part]) -> None:
    """Refuse a checkout without a branch, with something in its index, or with uncommitted files of the change."""
    if not git(root, "branch", "--show-current").strip():
        raise Refusal(root, "checkout", "no branch is checked out")
    git(root, "rev-parse", "--verify", "HEAD")
    if git(root, "diff", "--cached", "--name-only"):
        raise Refusal(root, "checkout", "something is in its index already; commit it or take it out first")
    refuse_dirty(root, [path for part in parts for path in [*part.files, *part.edits, *part.removed]])


def make_commits(root: Path, parts: list[Part], later: list[Part]) -> list[str]:
    """
    Commit each part that changes anything, on the current branch.

    The commits are made beside the branch first, in an index of their own; then the branch, the index and the files go
    there in one step, which git refuses if it would overwrite anything.

    Returns:
        The subjects of the commits.
    """
    require_checkout(root, sorted({path for part in [*parts, *later] for path in part.edits}))
    refuse_uncommittable(root, [*parts, *later])
    merged = [part for part in parts if all((root / path).exists() for path in part.files)]
    parts = [part for part in parts if part not in merged]
    if merged and any(outdated(root, part) for part in parts):
        # The parts that count as merged are earlier versions, too, and would not be updated.
        raise Refusal(root, "checkout", "has an earlier version of the change; update it without --commit first")
    head = git(root, "rev-parse", "HEAD").strip()
    signs = git(root, "config", "--type=bool", "--default=false", "--get", "commit.gpgsign")
    sign = ["-S"] if signs.strip() == "true" else []
    subjects = []
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git(root, "read-tree", head, **index)
        for number, part in enumerate(parts, start=1):
            rest = [*parts[number:], *later]
            for change in [*plan(root, parts[:number], rest), *add_links(root, merged, [*parts, *later], rest)]:
                if change.new is None:
                    git(root, "update-index", "--force-remove", "--", change.path, **index)
                    continue
                write_blob = ("-c", "core.safecrlf=false", "hash-object", "-w", f"--path={change.path}", "--stdin")
                blob = git(root, *write_blob, content=change.new).strip()
                mode = git(root, "ls-files", "--stage", "--", change.path).partition(" ")[0] or "100644"
                git(root, "update-index", "--add", "--cacheinfo", f"{mode},{blob},{change.path}", **index)
            tree = git(root, "write-tree", **index).strip()
            if tree != git(root, "rev-parse", f"{head}^{{tree}}").strip():
                message = part.message.strip().encode() + b"\n"
                head = git(
                    root, "-c", "user.useConfigOnly=true", "commit-tree", *sign, "-p", head, tree, content=message
                ).strip()
                subjects.append(part.message.strip().partition("\n")[0])
    git(root, "merge", "--quiet", "--no-squash", "--ff-only", head)
    return subjects


def add_links(root: Path, merged: list[Part], missing: list[Part], rest: list[Part]) -> list[Change]:
    """
    Add links to the pages of parts that now come to pages of those that are merged, unless these were changed there.

    Args:
        merged: The parts that the checkout has.
        missing: Those that it lacks.
        rest: Those that it lacks still, after this commit.
    """
    changes = []
    for path in [path for part in merged for path in part.files if path.endswith(".rst")]:
        old, new = read(root, path), read_own(root, path, rest)
        if old != new and with_line_feeds(old) == read_own(root, path, missing):
            changes.append(Change(path, old, new, mode_of(root, path)))
    return changes


# The result


def unified_diff(change: Change) -> bytes:
    """Return one file's part of the patch, as git writes it."""
    name = change.path.encode()
    head = b"diff --git a/%s b/%s\n" % (name, name)
    if None in (change.old, change.new):
        head += b"%s file mode 100%o\n" % (b"new" if change.old is None else b"deleted", change.mode)
    origin = b"/dev/null" if change.old is None else b"a/" + name
    target = b"/dev/null" if change.new is None else b"b/" + name
    # Not splitlines(): for a patch, only a line feed ends a line.
    old, new = (re.findall(rb"[^\n]*\n|[^\n]+", content or b"") for content in (change.old, change.new))
    unended = b"\n\\ No newline at end of file\n"
    lines = difflib.diff_bytes(difflib.unified_diff, old, new, origin, target)
    return head + b"".join(line if line.endswith(b"\n") else line + unended for line in lines)


def write(root: Path, changes: list[Change]) -> None:
    """
    Write all changes, or none: new contents and copies of the old are made first, then only renamed.

    Raises:
        Refusal: Something could not be written; everything is as it was.
    """
    fresh: dict[Path, Path] = {}
    backups: dict[Path, Path] = {}
    folders: list[Path] = []
    target = root
    try:
        for change in changes:
            target = root / change.path
            make_folders(target.parent, folders)
            if change.new is not None:
                stage(target, change.new, change.mode, fresh)
            if change.old is not None:
                stage(target, change.old, change.mode, backups)
        for target in fresh:
            os.replace(fresh[target], target)
        for target in backups.keys() - fresh.keys():
            target.unlink()
    except BaseException as failure:
        replaced = [target for target, waiting in fresh.items() if not waiting.exists()]
        for changed in [*replaced, *(target for target in backups if not target.exists())]:
            restore(changed, backups.get(changed))
        remove(fresh, backups)
        for folder in reversed(folders):
            folder.rmdir()
        if isinstance(failure, OSError):
            what = f"cannot be written ({failure.strerror}); nothing was changed"
            raise Refusal(target, "checkout", what) from failure
        raise
    remove(fresh, backups)


def restore(target: Path, backup: Path | None) -> None:
    """Take back one file: its old contents, or its absence."""
    try:
        if backup is None:
            target.unlink()
        else:
            os.replace(backup, target)
    except OSError as error:
        raise Refusal(target, "checkout", f"was changed and cannot be restored ({error.strerror})") from error


def make_folders(folder: Path, made: list[Path]) -> None:
    """Create a directory and those above it that are missing, and note which."""
    if not folder.exists():
        make_folders(folder.parent, made)
        folder.mkdir()
        made.append(folder)


def stage(target: Path, content: bytes, mode: int, staged: dict[Path, Path]) -> None:
    """Write a file that waits beside its target to be renamed, and note it."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    staged[target] = Path(name)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    os.chmod(name, mode)


def remove(*staged: dict[Path, Path]) -> None:
    """Remove the files that wait beside their targets still."""
    for waiting in staged:
        for file in waiting.values():
            file.unlink(missing_ok=True)


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
        refuse_uncommitted(root, changes)
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
