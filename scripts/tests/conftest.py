"""What the tests of the commands share: git, checkouts for the small change, and a copy of this repository."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import apply_to_platform
import pytest
from apply_to_platform import APPS, REPOSITORY, SETTINGS
from checkout import TASKS

from testbed.checks.manifest import read_manifest, tracked
from tests import small_change
from tests.edits.shapes import shape

Run = Callable[..., bytes]
Refuse = Callable[..., None]


def git(root: Path, *arguments: str, content: bytes | None = None) -> bytes:
    """Run git without the configuration of whoever runs the tests, in no repository that a hook points to."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-C", str(root), "-c", "user.name=Test", "-c", "user.email=test@example.com", *arguments]
    return subprocess.run(command, env=environment, input=content, capture_output=True, check=True).stdout


def commit(root: Path) -> None:
    git(root, "add", "--all", "--force")
    git(root, "commit", "--quiet", "--message", "A release")


def write_file(root: Path, path: str, content: bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


def make_repository(root: Path, files: dict[str, bytes]) -> Path:
    """Make a repository of some files, which are committed."""
    for path, content in files.items():
        write_file(root, path, content)
    git(root, "init", "--quiet", "--template=", ".")
    commit(root)
    git(root, "config", "user.name", "Author")
    git(root, "config", "user.email", "author@example.com")
    return root


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
    subprocess.run(["sh", "-ec", commands], cwd=root, check=True, capture_output=True)


@pytest.fixture
def change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the command carry the small change."""
    root = tmp_path / "change"
    for path, content in small_change.FILES.items():
        write_file(root, path, content)
    monkeypatch.setattr(apply_to_platform, "REPOSITORY", root)
    return root


@pytest.fixture
def make_checkout(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a checkout of a release in the given shapes."""

    def make(tasks: str = "a", settings: str = "s3", newline: str = "\n") -> Path:
        shapes = {TASKS: f"tasks_{tasks}", SETTINGS: f"settings_{settings}", APPS: "apps"}
        files = {path: shape(name).replace("\n", newline).encode() for path, name in shapes.items()}
        return make_repository(tmp_path / "platform", files)

    return make


@pytest.fixture
def checkout(make_checkout: Callable[..., Path]) -> Path:
    """Make a checkout."""
    return make_checkout()


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Return a function that runs the command, and returns what it prints."""

    def run_command(root: Path, *options: str) -> bytes:
        assert apply_to_platform.main([str(root), *options]) == 0
        return capfdbinary.readouterr().out

    return run_command


@pytest.fixture
def refuse(capfdbinary: pytest.CaptureFixture[bytes]) -> Refuse:
    """Return a function that checks that the command refuses with one line, and changes nothing."""

    def check(root: Path, message: str, *options: str) -> None:
        before = state(root)
        assert apply_to_platform.main([str(root), *options]) == 2
        printed, error = (text.decode() for text in capfdbinary.readouterr())
        assert printed == ""
        assert re.fullmatch(rf"error: .*{message}.*\n", error), error
        assert state(root) == before

    return check


def without_the_change() -> dict[str, bytes]:
    """Return the files of this repository, with the change taken out of them."""
    new, _edited = read_manifest()
    files = {path: (REPOSITORY / path).read_bytes() for path in tracked() if path not in new}
    entry = r'^    "org\.openedx\.learning\.program\.certificate\.[a-z]+\.v1": \{\n(?: {5,}.*\n)*    \},\n'
    for path, pattern, count in (
        (TASKS, r"^.*emit_program_certificate_.*\n", 3),
        (TASKS, r"(?<=    )response = (?=(award|revoke)_program_certificate\()", 2),
        (TASKS, r"requests\.Response: What Credentials answered\.", 2),
        (TASKS, r"^    return response\n", 2),
        (TASKS, r'(?<=student = User\.objects)\.select_related\("profile"\)', 2),
        (TASKS, r"\n\n@.*\ndef republish_program_certificates\((?:.*\n)*?    return counts\n", 1),
        (SETTINGS, entry, 2),
        (APPS, r" checks,", 1),
        (APPS, r"^.*event_bus_checks.*\n\n", 1),
    ):
        nothing = "None" if "What Credentials answered" in pattern else ""
        text, found = re.subn(pattern, nothing, files[path].decode(), flags=re.MULTILINE)
        assert found == count, pattern
        files[path] = text.encode()
    return files


@pytest.fixture(scope="session")
def stripped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a checkout of this repository without the change, which no test may change."""
    return make_repository(tmp_path_factory.mktemp("stripped") / "copy", without_the_change())


@pytest.fixture
def copy(stripped: Path, tmp_path: Path) -> Path:
    """Make a checkout of this repository without the change."""
    return shutil.copytree(stripped, tmp_path / "copy")
