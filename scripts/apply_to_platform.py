"""
Carry the change into a checkout of openedx-platform (formerly edx-platform): copy its new files, edit the others.

    python scripts/apply_to_platform.py PATH [--diff]

``change.toml`` lists the new files and the files to edit; the two settings entries are taken from this repository's own
``lms/envs/common.py``. Supported are the releases whose tasks live in ``programs/tasks.py`` and call Credentials with
``requests``. The new files need Python 3.11 or newer, and an openedx-events that has the two signals
(``PROGRAM_CERTIFICATE_AWARDED`` and ``PROGRAM_CERTIFICATE_REVOKED``).

All or nothing: every edit is computed first. What this script does not recognise it refuses, with one line that names
the file and the place, and exit code 2. A checkout that carries the change already is left as it is. Refused as well:

- a file with uncommitted work in it, unless it already is what it would become;
- an entry in ``EVENT_BUS_PRODUCER_CONFIG`` that is there with another topic or key; one that is enabled there stays so;
- a path that leads over a symbolic link.

A new file that the checkout has in another version, committed, is replaced: an earlier version of the change. So is
what an earlier version has put into a file that is edited.
"""

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import libcst as cst
from platform_edits import APPS, SETTINGS, TASKS, Refusal, edit_apps, edit_settings, edit_tasks, parse

REPOSITORY = Path(__file__).resolve().parent.parent
MANIFEST = "change.toml"


@dataclass(frozen=True)
class Change:
    """One file of the checkout, before (None: it is new) and after."""

    path: str
    old: bytes | None
    new: bytes
    mode: int


def edit_settings_like_ours(module: cst.Module) -> cst.Module:
    """Add the two entries of this repository's own settings."""
    own = REPOSITORY / SETTINGS
    return edit_settings(module, parse(str(own), own.read_bytes()))


EDITORS: dict[str, Callable[[cst.Module], cst.Module]] = {
    TASKS: edit_tasks,
    SETTINGS: edit_settings_like_ours,
    APPS: edit_apps,
}


# The checkout


def plan(root: Path) -> list[Change]:
    """
    Compute every change to a checkout, without touching it.

    Raises:
        Refusal: At least one of them is not possible.
    """
    files, edits = read_manifest()
    require_checkout(root, edits)
    changes = []
    for path in files:
        changes.append(Change(path, read(root, path), (REPOSITORY / path).read_bytes(), mode_of(root, path)))
    for path in edits:
        old = read(root, path)
        new = EDITORS[path](parse(path, old)).bytes
        if EDITORS[path](parse(path, new)).bytes != new:
            raise Refusal(path, "whole file", "a second run would change it again")
        changes.append(Change(path, old, new, mode_of(root, path)))
    changes = [change for change in changes if change.old != change.new]
    refuse_uncommitted(root, changes)
    return changes


def read_manifest() -> tuple[list[str], list[str]]:
    """Return the new files and the files to edit."""
    try:
        manifest = tomllib.loads((REPOSITORY / MANIFEST).read_text(encoding="utf-8"))
        files, edits = manifest["files"], manifest["edits"]
    except (OSError, ValueError, KeyError) as error:
        raise Refusal(MANIFEST, "whole file", f"cannot be read ({error})") from error
    for path in [*files, *edits]:
        if not (REPOSITORY / path).is_file() or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise Refusal(MANIFEST, path, "no such file in this repository")
    for path in edits:
        if path not in EDITORS:
            raise Refusal(MANIFEST, path, "this script does not know how to edit it")
    return files, edits


def git(root: Path, *arguments: str) -> str:
    """Run git in the checkout and return what it prints; the index is not written to."""
    # A hook that runs this script must not redirect git to the hook's own repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or "CONFIG" in key}
    command = ["git", "--no-optional-locks", "--literal-pathspecs", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    except subprocess.CalledProcessError as error:
        raise Refusal(root, "checkout", error.stderr.strip().partition("\n")[0]) from error
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
    paths = [change.path for change in changes]
    if not paths:
        return
    tracked = git(root, "ls-files", "-z", "--", *paths).split("\0")
    status = git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *paths)
    dirty = [record[3:] for record in status.split("\0")]
    for change in changes:
        if change.path in dirty or (change.old is not None and change.path not in tracked):
            raise Refusal(change.path, "checkout", "has uncommitted changes; commit them or set them aside first")


# The result


def unified_diff(change: Change) -> bytes:
    """Return one file's part of the patch, as git writes it."""
    name = change.path.encode()
    head = b"diff --git a/%s b/%s\n" % (name, name)
    if change.old is None:
        head += b"new file mode 100%o\n" % change.mode
    origin = b"/dev/null" if change.old is None else b"a/" + name
    # Not splitlines(): for a patch, only a line feed ends a line.
    old, new = (re.findall(rb"[^\n]*\n|[^\n]+", content or b"") for content in (change.old, change.new))
    unended = b"\n\\ No newline at end of file\n"
    lines = difflib.diff_bytes(difflib.unified_diff, old, new, origin, b"b/" + name)
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
            stage(target, change.new, change.mode, fresh)
            if change.old is not None:
                stage(target, change.old, change.mode, backups)
        for target in fresh:
            os.replace(fresh[target], target)
    except BaseException as failure:
        for replaced in [target for target, waiting in fresh.items() if not waiting.exists()]:
            restore(replaced, backups.get(replaced))
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
    parser.add_argument("--diff", action="store_true", help="print the change as a patch and write nothing")
    options = parser.parse_args(arguments)
    root = Path(os.path.realpath(options.path))
    try:
        if not options.path:
            raise Refusal("PATH", "checkout", "is empty; name the top directory of a checkout")
        changes = plan(root)
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
            print(f"{'added' if change.old is None else 'changed'} {change.path}")
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
