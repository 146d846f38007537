"""Small checkouts, and what the tests do in them with git."""

import os
import subprocess
from pathlib import Path

FIXTURES = Path(__file__).parent / "fixtures"

# The small change that most tests apply.
EVENTS = "openedx/core/djangoapps/programs/events.py"
EMPTY = "openedx/core/djangoapps/programs/management/__init__.py"
HOW_TO = "docs/how-to/program-certificate-events.rst"
FIRST_PAGE, LATER_PAGE = "docs/how-to/first.rst", "docs/how-to/later.rst"
LATER_ITEM = "* Comes with the other page,\n  which is :doc:`later`.\n"
FIRST_TEXT = f"First\n#####\n\n* Stays: :doc:`other`.\n{LATER_ITEM}* Stays, too.\n\nThis does not link: later.\n"
NEW = (EVENTS, EMPTY, HOW_TO, FIRST_PAGE, LATER_PAGE)
MESSAGES = {
    "events": "feat: the events\n\nWhy, and how tested.\n",
    "operation": "feat: watch them\n\nWhy.\n",
    "event-bus": "feat: watch the bus\n\nWhy.\n",
}
GONE = "openedx/core/djangoapps/programs/reader.py"
EARLIER = "# What an earlier version had: Zürich.\n".encode()


def git(root: Path, *arguments: str, content: bytes | None = None) -> bytes:
    """Run git without the configuration of whoever runs the tests, in no repository that a hook points to."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-C", str(root), "-c", "user.name=Test", "-c", "user.email=test@example.com", *arguments]
    return subprocess.run(command, env=environment, input=content, capture_output=True, check=True).stdout


def commit(root: Path) -> None:
    """Commit all that is in a checkout."""
    git(root, "add", "--all", "--force")
    git(root, "commit", "--quiet", "--message", "A release")


def write_file(root: Path, path: str, content: bytes) -> None:
    """Write a file and the folders above it."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


def tree(root: Path) -> dict[str, tuple[bytes, int]]:
    """Return every file and directory of a checkout but git's, with contents and permissions."""
    return {
        str(path.relative_to(root)): (path.read_bytes() if path.is_file() else b"", path.lstat().st_mode)
        for path in root.rglob("*")
        if ".git" not in path.relative_to(root).parts
    }


def state(root: Path) -> tuple[dict[str, tuple[bytes, int]], dict[Path, bytes]]:
    """Return what a checkout has: its files, and its branches and index."""
    files = [root / ".git/HEAD", root / ".git/index", *(root / ".git/refs").rglob("*")]
    return tree(root), {path: path.read_bytes() for path in files if path.is_file()}


def shell(root: Path, commands: str) -> None:
    """Run some shell commands in a checkout."""
    subprocess.run(["sh", "-ec", commands], cwd=root, check=True, capture_output=True)
