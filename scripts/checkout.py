"""
A checkout of the platform: what the commands read of it with git, refuse in it, and write into it.
"""

import difflib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edits.code import Refusal

TASKS = "openedx/core/djangoapps/programs/tasks.py"


@dataclass(frozen=True)
class Change:
    """One file of the checkout, before (None: it is new) and after (None: it is removed)."""

    path: str
    old: bytes | None
    new: bytes | None


def git(root: Path, *arguments: str) -> str:
    """Run git in the checkout and return what it prints; the index is not written to, if not told to."""
    # A hook that runs this script must not redirect git to the hook's own repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or "CONFIG" in key}
    command = ["git", "--no-optional-locks", "--literal-pathspecs", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
        return done.stdout.decode(errors="surrogateescape")
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.decode(errors="replace").splitlines() if line]
        fatal = next((line for line in lines if line.startswith("fatal: ")), lines[0] if lines else "git failed")
        raise Refusal(root, "checkout", fatal) from error
    except OSError as error:
        raise Refusal(root, "checkout", f"cannot run git ({error})") from error


def require_checkout(root: Path, edits: list[str]) -> None:
    """Refuse a directory that is not the top of a checkout of a supported release, which has the files to edit."""
    if not root.is_dir():
        raise Refusal(root, "checkout", "no such directory")
    if Path(git(root, "rev-parse", "--show-toplevel").removesuffix("\n")).resolve() != root:
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


def refuse_dirty(root: Path, paths: list[str]) -> None:
    """Refuse files that are not as they are committed: git could not bring them back. It may ignore unknown ones."""
    if not paths:
        return
    tracked = git(root, "ls-files", "-z", "--", *paths).split("\0")
    status = git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *paths)
    dirty = [record[3:] for record in status.split("\0")]
    for path in paths:
        if path in dirty or ((root / path).exists() and path not in tracked):
            raise Refusal(path, "checkout", "has uncommitted changes; commit them or set them aside first")


def unified_diff(change: Change) -> bytes:
    """Return one file's part of the patch, as git writes it."""
    name = change.path.encode()
    head = b"diff --git a/%s b/%s\n" % (name, name)
    if None in (change.old, change.new):
        head += b"%s file mode 100644\n" % (b"new" if change.old is None else b"deleted")
    origin = b"/dev/null" if change.old is None else b"a/" + name
    target = b"/dev/null" if change.new is None else b"b/" + name
    # Not splitlines(): for a patch, only a line feed ends a line.
    old, new = (re.findall(rb"[^\n]*\n|[^\n]+", content or b"") for content in (change.old, change.new))
    lines = difflib.diff_bytes(difflib.unified_diff, old, new, origin, target)
    return head + b"".join(
        line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n" for line in lines
    )


def write(root: Path, changes: list[Change]) -> None:
    """
    Write all changes, or none. All files are as committed, so git can restore them if even that fails.

    Raises:
        Refusal: Something could not be written; everything is as it was.
    """
    folders = {folder for change in changes for folder in (root / change.path).parents if not folder.exists()}
    begun: list[Change] = []
    try:
        for change in changes:
            (root / change.path).parent.mkdir(parents=True, exist_ok=True)
            begun.append(change)
            put(root / change.path, change.new)
    except BaseException as failure:
        for change in begun:
            try:
                put(root / change.path, change.old)
            except OSError as error:
                what = f"was changed and cannot be restored ({error.strerror})"
                raise Refusal(root / change.path, "checkout", what) from error
        for folder in sorted(folders, reverse=True):
            if folder.exists():
                folder.rmdir()
        if isinstance(failure, OSError):
            what = f"cannot be written ({failure.strerror}); nothing was changed"
            raise Refusal(root / change.path, "checkout", what) from failure
        raise


def put(target: Path, content: bytes | None) -> None:
    """Write a file, or remove it."""
    if content is None:
        target.unlink(missing_ok=True)
    else:
        target.write_bytes(content)


@contextmanager
def make_worktree(root: Path) -> Iterator[Path]:
    """Make a temporary worktree of a checkout's HEAD."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(os.path.realpath(folder)) / "platform"
        try:
            add = ("-c", f"core.hooksPath={os.devnull}", "worktree", "add", "--quiet", "--detach", str(tree), "HEAD")
            git(root, *add)
            yield tree
        finally:
            if tree.exists():
                git(root, "worktree", "remove", "--force", str(tree))
