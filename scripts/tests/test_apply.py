"""
The command without ``--commit``: what it does to a checkout, what it prints, and what it refuses.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apply_to_platform
import checkout as checkout_module
import pytest
from apply_to_platform import APPS, REPOSITORY, SETTINGS
from checkout import TASKS
from edits.settings import EVENT_TYPES

from tests import small_change as small
from tests.conftest import Refuse, Run, commit, git, shell, tree, write_file

pytestmark = pytest.mark.usefixtures("change")

SCRIPT = REPOSITORY / "scripts" / "apply_to_platform.py"
COMMIT = "git add --all --force; git commit --quiet --message Prepared"


@pytest.mark.parametrize(
    ("tasks", "settings", "newline"),
    [("a", "s1", "\n"), ("a events", "s2", "\n"), ("c", "s3", "\r\n"), ("o2", "s3 comment", "\n")],
)
def test_apply_diff_and_apply_again(
    change: Path, make_checkout: Callable[..., Path], run: Run, tasks: str, settings: str, newline: str
) -> None:
    root = make_checkout(tasks, settings, newline)
    os.chmod(root / TASKS, 0o755)
    write_file(root, small.GONE, small.EARLIER.replace(b"\n", newline.encode()))
    commit(root)
    before = tree(root)

    patch = run(root, "--diff")
    assert tree(root) == before
    printed = run(root).decode().splitlines()
    changed = [*(f"added {path}" for path in small.NEW), *(f"changed {path}" for path in small.EDITED)]
    assert sorted(printed) == sorted([*changed, f"removed {small.GONE}"])
    applied = tree(root)
    for path in small.NEW:
        assert applied[path][0] == (change / path).read_bytes()
    assert small.GONE not in applied
    assert applied[TASKS][1] & 0o777 == 0o755

    # What was written is what the patch says.
    git(root, "stash", "--quiet", "--include-untracked")
    git(root, "apply", "-", content=patch)
    assert tree(root) == applied

    # Uncommitted or committed, a second run leaves it.
    for prepare in (lambda _root: None, commit):
        prepare(root)
        assert b"nothing to change" in run(root)
        assert run(root, "--diff") == b""
        assert tree(root) == applied


def test_it_runs_from_anywhere_and_a_closed_pipe_ends_it_quietly(checkout: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), checkout.name]
    patch = subprocess.run([*command, "--diff"], cwd=tmp_path, capture_output=True, check=True).stdout
    git(checkout, "apply", "--check", "-", content=patch)

    for options in (["--diff"], []):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer) as closed:
            result = subprocess.run(
                [*command, *options], cwd=tmp_path, stdout=closed, stderr=subprocess.PIPE, check=False
            )
        assert (result.returncode, result.stderr) == (1, b"")
        assert (checkout / small.EVENTS).exists() == (not options)


DIRTY = "checkout: has uncommitted changes"
MINE = f"mkdir -p docs/how-to; echo mine > {small.HOW_TO}"
LINK = "checkout: this path leads over a symbolic link"
REFUSED = {
    "rm -rf .git": "checkout: .*not a git repository",
    f"git rm --quiet {TASKS}; {COMMIT}": f"{TASKS}: checkout: no such file",
    f"git rm --quiet {TASKS}; mkdir -p {TASKS[:-3]}": f"{TASKS}: checkout: this release keeps its tasks elsewhere",
    f"sed -i s/raise_for_status/ok/ {TASKS}; {COMMIT}": f"{TASKS}: award_program_certificate.*: no requests-style call",
    f'echo "print 1" > {TASKS}; {COMMIT}': f"{TASKS}: whole file: not valid Python",
    **{f"echo '# unfinished' >> {path}": f"{path}: {DIRTY}" for path in small.EDITED},
    MINE: f"{small.HOW_TO}: {DIRTY}",
    f"{MINE}; mkdir .git/info; echo docs/ > .git/info/exclude": f"{small.HOW_TO}: {DIRTY}",
    f"{MINE}; {COMMIT}; rm {small.HOW_TO}": f"{small.HOW_TO}: {DIRTY}",
    f"mkdir -p {small.HOW_TO}": f"{small.HOW_TO}: checkout: cannot be read",
    f"mv {TASKS} ../outside; ln -s $PWD/../outside {TASKS}; {COMMIT}": LINK,
    f"mkdir ../outside; ln -s ../outside docs; {COMMIT}": LINK,
    f"mkdir -p docs/how-to; ln -s ../../../outside {small.HOW_TO}; {COMMIT}": LINK,
    # What an earlier version had.
    f"echo mine > {small.GONE}; {COMMIT}": f"{small.GONE}: checkout: .* this one differs: remove it yourself",
    f"echo '{small.EARLIER.decode().strip()}' > {small.GONE}": f"{small.GONE}: {DIRTY}",
}


@pytest.mark.parametrize(("prepare", "message"), REFUSED.items())
def test_a_checkout_is_refused(checkout: Path, refuse: Refuse, tmp_path: Path, prepare: str, message: str) -> None:
    shell(checkout, prepare)
    before = tree(tmp_path)
    refuse(checkout, message)
    refuse(checkout, message, "--diff")
    assert tree(tmp_path) == before


def test_what_is_no_checkout_is_refused(
    checkout: Path,
    refuse: Refuse,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What ``make apply`` runs without PLATFORM=.
    assert apply_to_platform.main([""]) == 2
    assert capfdbinary.readouterr().err == b"error: PATH: checkout: is empty; name the top directory of a checkout\n"
    refuse(checkout / "nowhere", "nowhere: checkout: no such directory")
    refuse(checkout / "lms", "lms: checkout: not the top directory of a git checkout")
    names = "events, operation, recovery"
    refuse(checkout, f"--part: event-bus: no such part; there are {names}", "--part=event-bus")
    monkeypatch.setenv("PATH", str(checkout))
    refuse(checkout, "checkout: cannot run git")


def test_what_is_no_obstacle(change: Path, checkout: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work elsewhere, a hook's variables, a link to the checkout, and a manifest that lists fewer edits."""
    manifest = change / "change.toml"
    manifest.write_text(manifest.read_text().replace(f'"{APPS}"', ""))
    write_file(checkout, "lms/notes.txt", b"unfinished")
    monkeypatch.setenv("GIT_DIR", str(change))
    (change / "link").symlink_to(checkout)
    assert f"added {small.EVENTS}" in run(change / "link").decode()
    assert git(checkout, "status", "--porcelain", APPS) == b""


def test_an_earlier_version_is_brought_up_to_date_and_what_is_enabled_stays(checkout: Path, run: Run) -> None:
    run(checkout)
    head, event_type, tail = (checkout / SETTINGS).read_text().partition(EVENT_TYPES[0])
    (checkout / SETTINGS).write_text(head + event_type + tail.replace('"enabled": False', '"enabled": True', 1))
    applied = tree(checkout)
    write_file(checkout, small.HOW_TO, b"an earlier version\r\n")
    commit(checkout)

    git(checkout, "apply", "--check", "-", content=run(checkout, "--diff"))
    assert run(checkout).decode().splitlines() == [f"changed {small.HOW_TO}"]
    assert tree(checkout) == applied


def test_up_to_a_part(checkout: Path, run: Run) -> None:
    before = tree(checkout)
    run(checkout, "--part", "events")
    assert {path for path in small.NEW if (checkout / path).exists()} == {small.EVENTS, small.EMPTY, small.HOW_TO}
    assert [path for path in small.EDITED if tree(checkout)[path] != before[path]] == [SETTINGS, TASKS]
    commit(checkout)

    run(checkout, "--part", "operation")
    assert (checkout / small.FIRST_PAGE).read_text() == small.FIRST_TEXT.replace(small.LATER_ITEM, "")
    assert not (checkout / small.LATER_PAGE).exists()
    assert "republish_program_certificates" not in (checkout / TASKS).read_text()
    commit(checkout)

    run(checkout)
    assert (checkout / small.FIRST_PAGE).read_text() == small.FIRST_TEXT
    assert "republish_program_certificates" in (checkout / TASKS).read_text()


@pytest.mark.parametrize("failing", [small.EVENTS, SETTINGS, small.GONE])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_midway_takes_everything_back(
    checkout: Path,
    refuse: Refuse,
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
    failure: BaseException,
) -> None:
    write_file(checkout, small.GONE, small.EARLIER)
    commit(checkout)
    before, put, calls = tree(checkout), checkout_module.put, []

    def fail(target: Path, content: bytes | None) -> None:
        first = target == checkout / failing and target not in calls
        calls.append(target)
        put(target, content[:20] if first and content else content)
        if first:
            raise failure

    monkeypatch.setattr(checkout_module, "put", fail)
    if isinstance(failure, OSError):
        refuse(checkout, r"checkout: cannot be written \(No space left on device\); nothing was changed")
    else:
        with pytest.raises(KeyboardInterrupt):
            apply_to_platform.main([str(checkout)])
    assert calls.count(checkout / failing) == 2
    assert tree(checkout) == before


def test_a_folder_that_cannot_be_made(checkout: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, **_options: object) -> None:
        if not folder.exists():
            raise OSError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", fail)
    refuse(checkout, r"checkout: cannot be written \(Permission denied\); nothing was changed")


def test_what_cannot_be_taken_back_is_named(
    checkout: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.write_bytes

    def fail(path: Path, content: bytes) -> None:
        if path == checkout / SETTINGS:
            raise OSError(30, "Read-only file system")
        real(path, content)

    monkeypatch.setattr(Path, "write_bytes", fail)
    assert apply_to_platform.main([str(checkout)]) == 2
    assert f"{SETTINGS}: checkout: was changed and cannot be restored".encode() in capfdbinary.readouterr().err
