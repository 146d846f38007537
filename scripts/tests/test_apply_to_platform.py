"""
The command: what it does to a checkout, what it prints, and what it refuses.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import apply_to_platform
import pytest
from platform_edits import APPS, EVENT_TYPES, SETTINGS, TASKS

FIXTURES = Path(__file__).parent / "fixtures"
REPOSITORY = apply_to_platform.REPOSITORY
EVENTS = "openedx/core/djangoapps/programs/events.py"
EMPTY = "openedx/core/djangoapps/programs/management/__init__.py"
HOW_TO = "docs/how-to/program-certificate-events.rst"
FIRST_PAGE, LATER_PAGE = "docs/how-to/first.rst", "docs/how-to/later.rst"
FIRST_TEXT = """First
#####

* Stays: :doc:`other`.
* Comes with the other page,
  which is :doc:`later`.
* Stays, too.

This does not link: later.
"""
LATER_ITEM = "* Comes with the other page,\n  which is :doc:`later`.\n"
EDITS = (SETTINGS, TASKS, APPS)
NEW = (EVENTS, EMPTY, HOW_TO, FIRST_PAGE, LATER_PAGE)
MESSAGES = {
    "events": "feat: the events\n\nWhy, and how tested.\n",
    "operation": "feat: watch them\n\nWhy.\n",
    "event-bus": "feat: watch the bus\n\nWhy.\n",
}


def git(root, *arguments, **options):
    # No configuration of whoever runs the tests, and no repository that a hook points to.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=True, **options).stdout


def commit(root):
    git(root, "add", "--all", "--force")
    git(root, "commit", "--quiet", "--message", "A release")


def write_file(root, path, content):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


@pytest.fixture
def change(tmp_path, monkeypatch):
    """Let the command carry a small change: this repository's own settings and emitter, an empty file, an odd one."""
    root = tmp_path / "change"
    for path in (EVENTS, SETTINGS):
        write_file(root, path, (REPOSITORY / path).read_bytes())
    for path in (EMPTY, APPS, TASKS):
        write_file(root, path, b"")
    write_file(root, HOW_TO, "Zürich\r\n\x0c\rno line feed at the end".encode())
    write_file(root, FIRST_PAGE, FIRST_TEXT.encode())
    write_file(root, LATER_PAGE, b"Later\n")
    manifest = "".join(
        f"[[parts]]\nname = '{name}'\nfiles = {files}\nedits = {edits}\nmessage = {json.dumps(MESSAGES[name])}\n"
        for name, files, edits in (
            ("events", [EVENTS, EMPTY, HOW_TO], [SETTINGS, TASKS]),
            ("operation", [FIRST_PAGE], [APPS]),
            ("event-bus", [LATER_PAGE], [APPS]),
        )
    )
    write_file(root, "change.toml", manifest.encode())
    monkeypatch.setattr(apply_to_platform, "REPOSITORY", root)
    return root


@pytest.fixture
def make_checkout(tmp_path):
    """Return a function that makes a committed checkout of a release in the given shapes."""

    def make(tasks="a", settings="s3", newline="\n"):
        root = tmp_path / "platform"
        for path, name in ((TASKS, f"tasks_{tasks}"), (SETTINGS, f"settings_{settings}"), (APPS, "apps")):
            content = (FIXTURES / f"{name}.py.txt").read_text().replace("\n", newline)
            write_file(root, path, content.encode())
        git(tmp_path, "init", "--quiet", str(root))
        commit(root)
        return root

    return make


GONE = "openedx/core/djangoapps/programs/reader.py"
EARLIER = "# What an earlier version had: Zürich.\n".encode()


@pytest.fixture
def recovery(change):
    """Let the change have a part that adds the task and removes a file."""
    write_file(change, TASKS, (REPOSITORY / TASKS).read_bytes())
    write_file(change, "docs/how-to/repair.rst", b"Repair\n")
    blob = git(change, "hash-object", "--stdin", input=EARLIER).decode()[:10]
    part = f"""
[[parts]]
name = "recovery"
files = ["docs/how-to/repair.rst"]
edits = ["{TASKS}"]
message = "feat: repair\\n\\nWhy.\\n"
removed."{GONE}" = ["0123456789", "{blob}"]
"""
    manifest = change / "change.toml"
    manifest.write_text(manifest.read_text() + part)
    return change


def tree(root):
    """Return every file of a checkout but git's, with its contents and its permissions."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mode)
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(root).parts
    }


def directories(root):
    return {path for path in root.rglob("*") if path.is_dir() and ".git" not in path.relative_to(root).parts}


def assert_refused(root, capsys, message, *options):
    """Check that the command refuses with one line and leaves every file as it was."""
    before = tree(root) if root.is_dir() else None
    assert apply_to_platform.main([str(root), *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(rf"error: .*{message}.*\n", printed.err), printed.err
    assert (tree(root) if root.is_dir() else None) == before


@pytest.mark.parametrize(
    ("tasks", "settings", "newline"),
    [("a", "s1", "\n"), ("b", "s2", "\n"), ("c", "s3", "\n"), ("c", "s3", "\r\n"), ("o2", "s4", "\n")],
)
def test_apply_diff_and_apply_again(change, make_checkout, capfdbinary, tasks, settings, newline):
    root = make_checkout(tasks, settings, newline)
    os.chmod(root / TASKS, 0o755)
    commit_before = tree(root)
    git(root, "commit", "--quiet", "--all", "--message", "Executable")

    assert apply_to_platform.main([str(root), "--diff"]) == 0
    patch = capfdbinary.readouterr().out
    assert tree(root) == commit_before
    git(root, "apply", "--check", "-", input=patch)

    assert apply_to_platform.main([str(root)]) == 0
    printed = capfdbinary.readouterr().out.decode().splitlines()
    assert sorted(printed) == sorted([*(f"added {path}" for path in NEW), *(f"changed {path}" for path in EDITS)])
    applied = tree(root)
    assert set(applied) - set(commit_before) == set(NEW)
    for path in NEW:
        assert applied[path][0] == (change / path).read_bytes()
    assert applied[TASKS][1] & 0o777 == 0o755

    # What was written is what the patch says.
    git(root, "stash", "--quiet", "--include-untracked")
    git(root, "apply", "-", input=patch)
    assert {path: content for path, (content, _) in tree(root).items()} == {
        path: content for path, (content, _) in applied.items()
    }

    # Uncommitted or committed, a second run leaves it.
    for _ in range(2):
        before = tree(root)
        assert apply_to_platform.main([str(root)]) == 0
        assert "nothing to change" in capfdbinary.readouterr().out.decode()
        assert apply_to_platform.main([str(root), "--diff"]) == 0
        assert capfdbinary.readouterr().out == b""
        assert tree(root) == before
        if git(root, "status", "--porcelain"):
            commit(root)


def test_it_runs_from_anywhere(make_checkout, tmp_path):
    root = make_checkout()
    script = REPOSITORY / "scripts" / "apply_to_platform.py"
    command = [sys.executable, str(script), root.name, "--diff"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    git(root, "apply", "--check", "-", input=result.stdout)

    result = subprocess.run(command[:2], cwd=tmp_path, capture_output=True, check=False)
    assert result.returncode == 2


def test_an_empty_path_is_refused(capsys):
    # What ``make apply`` runs without PLATFORM=.
    assert apply_to_platform.main([""]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "error: PATH: checkout: is empty; name the top directory of a checkout\n")


@pytest.mark.parametrize("options", [["--diff"], []])
def test_a_closed_pipe_ends_it_quietly(make_checkout, options):
    root = make_checkout()
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, str(REPOSITORY / "scripts" / "apply_to_platform.py"), str(root), *options]
    try:
        result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (1, b"")
    assert (root / EVENTS).exists() == (not options)


def test_only_listed_files_are_edited(change, make_checkout, capsys):
    root = make_checkout()
    manifest = change / "change.toml"
    manifest.write_text(manifest.read_text().replace(f"'{APPS}'", ""))
    before = tree(root)[APPS]
    assert apply_to_platform.main([str(root)]) == 0
    assert tree(root)[APPS] == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (EVENTS, "openedx/no_such_file.py", "change.toml: openedx/no_such_file.py: no such file"),
        (EVENTS, "../change/change.toml", "change.toml: .*: no such file"),
        (APPS, EVENTS, "change.toml: .*events.py: .* does not know how to edit it for operation"),
        ("message = ", "text = ", "change.toml: whole file: cannot be read"),
        ("files = ", "new = ", "change.toml: whole file: cannot be read"),
        ("files = [", "files = ", "change.toml: whole file: cannot be read"),
    ],
)
def test_a_wrong_manifest_is_refused(change, make_checkout, capsys, old, new, message):
    manifest = change / "change.toml"
    manifest.write_text(manifest.read_text().replace(old, new, 1))
    assert_refused(make_checkout(), capsys, message)


def test_what_is_no_checkout_is_refused(change, make_checkout, tmp_path, capsys):
    assert_refused(tmp_path / "nowhere", capsys, "nowhere: checkout: no such directory")
    (tmp_path / "empty").mkdir()
    assert_refused(tmp_path / "empty", capsys, "empty: checkout: .*not a git repository")

    root = make_checkout()
    assert_refused(root / "lms", capsys, "lms: checkout: not the top directory of a git checkout")
    shutil.rmtree(root / ".git")
    assert_refused(root, capsys, "checkout: .*not a git repository")


def test_a_missing_file_is_refused(change, make_checkout, capsys):
    root = make_checkout()
    git(root, "rm", "--quiet", TASKS)
    git(root, "commit", "--quiet", "--message", "No tasks")
    assert_refused(root, capsys, f"{TASKS}: checkout: no such file")
    write_file(root, "openedx/core/djangoapps/programs/tasks/v1/tasks.py", b"")
    assert_refused(root, capsys, f"{TASKS}: checkout: this release keeps its tasks elsewhere")


def test_without_git_it_is_refused(change, make_checkout, capsys, monkeypatch):
    root = make_checkout()
    monkeypatch.setenv("PATH", str(root))
    assert_refused(root, capsys, "checkout: cannot run git")


def test_a_hook_does_not_redirect_git(change, make_checkout, capsys, monkeypatch, tmp_path):
    root = make_checkout()
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))
    assert apply_to_platform.main([str(root)]) == 0


@pytest.mark.parametrize("options", [(), ("--diff",)])
def test_unknown_shapes_are_refused_as_a_whole(change, make_checkout, capsys, options):
    root = make_checkout(tasks="o1")
    assert_refused(root, capsys, rf"{TASKS}: award_program_certificate\(\): no requests-style call", *options)

    chained = (FIXTURES / "tasks_o2.py.txt").read_text().replace("\n    response.raise_for", ".raise_for")
    write_file(root, TASKS, chained.encode())
    commit(root)
    assert_refused(root, capsys, rf"{TASKS}: award_program_certificate\(\): expected one raise_for_status", *options)

    write_file(root, TASKS, b"print 'x'\n")
    commit(root)
    assert_refused(root, capsys, f"{TASKS}: whole file: not valid Python", *options)


def test_an_enabled_entry_stays_enabled(change, make_checkout, capsys):
    root = make_checkout()
    assert apply_to_platform.main([str(root)]) == 0
    capsys.readouterr()
    text = (root / SETTINGS).read_text()
    start = text.index(EVENT_TYPES[0])
    text = text[:start] + text[start:].replace('"enabled": False', '"enabled": True', 1)
    write_file(root, SETTINGS, text.encode())
    commit(root)
    assert apply_to_platform.main([str(root)]) == 0
    assert "nothing to change" in capsys.readouterr().out
    assert (root / SETTINGS).read_text() == text


@pytest.mark.parametrize("path", EDITS)
@pytest.mark.parametrize("staged", [False, True])
def test_a_dirty_file_is_refused(change, make_checkout, capsys, path, staged):
    root = make_checkout()
    with (root / path).open("a") as file:
        file.write("# unfinished\n")
    if staged:
        git(root, "add", path)
    assert_refused(root, capsys, f"{path}: checkout: has uncommitted changes")


def test_work_elsewhere_is_no_obstacle(change, make_checkout, capsys):
    root = make_checkout()
    write_file(root, "lms/notes.txt", b"unfinished")
    assert apply_to_platform.main([str(root)]) == 0


@pytest.mark.parametrize("ignored", [False, True])
def test_an_untracked_file_in_the_way_is_refused(change, make_checkout, capsys, ignored):
    root = make_checkout()
    if ignored:
        write_file(root, ".git/info/exclude", b"docs/\n")
    write_file(root, HOW_TO, b"mine\n")
    assert_refused(root, capsys, f"{HOW_TO}: checkout: has uncommitted changes")
    (root / HOW_TO).unlink()
    (root / HOW_TO).mkdir()
    assert_refused(root, capsys, f"{HOW_TO}: checkout: cannot be read")


def test_a_deleted_file_is_refused(change, make_checkout, capsys):
    root = make_checkout()
    write_file(root, HOW_TO, b"an earlier version\n")
    commit(root)
    (root / HOW_TO).unlink()
    assert_refused(root, capsys, f"{HOW_TO}: checkout: has uncommitted changes")


def test_an_earlier_version_of_a_new_file_is_replaced(change, make_checkout, capfdbinary):
    root = make_checkout()
    write_file(root, HOW_TO, b"an earlier version\r\n")
    commit(root)
    assert apply_to_platform.main([str(root), "--diff"]) == 0
    git(root, "apply", "--check", "-", input=capfdbinary.readouterr().out)
    assert apply_to_platform.main([str(root)]) == 0
    assert f"changed {HOW_TO}" in capfdbinary.readouterr().out.decode()
    assert (root / HOW_TO).read_bytes() == (change / HOW_TO).read_bytes()


def test_an_earlier_version_of_an_edit_is_brought_up_to_date(change, make_checkout, capsys):
    root = make_checkout()
    assert apply_to_platform.main([str(root)]) == 0
    commit(root)
    capsys.readouterr()
    applied = tree(root)
    text = (root / TASKS).read_text()
    for new, old in ((", response)\n", ")\n"), (" response = award_", " award_"), ("    return response\n", "")):
        assert new in text
        text = text.replace(new, old)
    write_file(root, TASKS, text.encode())
    commit(root)

    assert apply_to_platform.main([str(root)]) == 0

    assert capsys.readouterr().out == f"changed {TASKS}\n"
    assert tree(root) == applied


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_that_only_an_earlier_version_had_is_removed(recovery, make_checkout, capfdbinary, newline):
    root = make_checkout(newline=newline)
    write_file(root, GONE, EARLIER.replace(b"\n", newline.encode()))
    commit(root)

    assert apply_to_platform.main([str(root), "--diff"]) == 0
    patch = capfdbinary.readouterr().out
    assert apply_to_platform.main([str(root)]) == 0
    assert f"removed {GONE}\n" in capfdbinary.readouterr().out.decode()
    assert not (root / GONE).exists()
    assert "def republish_program_certificates(" in (root / TASKS).read_text()
    applied = tree(root)

    git(root, "stash", "--quiet", "--include-untracked")
    git(root, "apply", "-", input=patch)
    assert {path: content for path, (content, _) in tree(root).items()} == {
        path: content for path, (content, _) in applied.items()
    }
    assert apply_to_platform.main([str(root)]) == 0
    assert "nothing to change" in capfdbinary.readouterr().out.decode()


def test_a_commit_removes_it_too(recovery, configured, capsys):
    write_file(configured, GONE, EARLIER)
    commit(configured)
    assert apply_to_platform.main([str(configured), "--commit", "--part", "event-bus"]) == 0
    assert (configured / GONE).exists()
    # An earlier version of the other parts, for all that is known.
    capsys.readouterr()
    assert_refused(configured, capsys, "checkout: has an earlier version of the change; update it", "--commit")
    git(configured, "reset", "--quiet", "--hard", "HEAD~3")
    assert apply_to_platform.main([str(configured), "--commit"]) == 0
    assert log(configured)[-1] == ["feat: repair", "Why.", "docs/how-to/repair.rst", GONE, TASKS]
    assert not (configured / GONE).exists()
    assert git(configured, "status", "--porcelain") == b""


def test_a_file_that_somebody_else_wrote_is_not_removed(recovery, make_checkout, capsys):
    root = make_checkout()
    write_file(root, GONE, EARLIER)
    assert_refused(root, capsys, f"{GONE}: checkout: has uncommitted changes")
    write_file(root, GONE, EARLIER + b"# And more.\n")
    commit(root)
    assert_refused(root, capsys, f"{GONE}: checkout: .* this one differs: remove it yourself")
    write_file(root, GONE, EARLIER)
    assert_refused(root, capsys, f"{GONE}: checkout: has uncommitted changes")
    write_file(recovery, GONE, b"")
    assert_refused(root, capsys, f"change.toml: {GONE}: listed as removed, but this repository has it")


def test_what_is_removed_comes_back_after_a_failure(recovery, make_checkout, capsys, monkeypatch):
    root = make_checkout()
    write_file(root, GONE, EARLIER)
    write_file(root, GONE.replace("reader", "older_reader"), EARLIER)
    manifest = recovery / "change.toml"
    removed = f'removed."{GONE}" = '
    manifest.write_text(
        manifest.read_text().replace(removed, f'{removed.replace("reader", "older_reader")}[""]\n{removed}')
    )
    commit(root)
    before, real, calls = tree(root), os.unlink, []

    def fail(path, **options):
        if path.name in ("reader.py", "older_reader.py"):
            calls.append(path)
            if len(calls) == 2:
                raise OSError(28, "No space left on device")
        real(path, **options)

    monkeypatch.setattr(apply_to_platform.os, "unlink", fail)
    assert_refused(root, capsys, "cannot be written .* nothing was changed")
    assert len(calls) == 2
    assert tree(root) == before


@pytest.mark.parametrize("link", [TASKS, "openedx/core/djangoapps", "docs", HOW_TO])
def test_a_symbolic_link_is_not_followed(change, make_checkout, capsys, tmp_path, link):
    root = make_checkout()
    outside = tmp_path / "outside"
    if (root / link).exists():
        shutil.move(root / link, outside)
    elif link == "docs":
        outside.mkdir()
    (root / link).parent.mkdir(parents=True, exist_ok=True)
    (root / link).symlink_to(outside)
    commit(root)
    before = tree(outside) if outside.is_dir() else outside.exists() and outside.read_bytes()
    assert_refused(root, capsys, "this path leads over a symbolic link")
    assert (tree(outside) if outside.is_dir() else outside.exists() and outside.read_bytes()) == before


def test_a_link_to_the_checkout_is_followed(change, make_checkout, tmp_path, capsys):
    root = make_checkout()
    (tmp_path / "link").symlink_to(root)
    assert apply_to_platform.main([str(tmp_path / "link")]) == 0
    assert (root / EVENTS).is_file()


@pytest.mark.parametrize("failing", [1, 3, 6])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["replace", "chmod"])
def test_a_failure_midway_takes_everything_back(change, make_checkout, capsys, monkeypatch, failing, failure, call):
    root = make_checkout()
    before, directories_before = tree(root), directories(root)
    real, calls = getattr(os, call), []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == failing:
            raise failure
        real(*arguments)

    monkeypatch.setattr(apply_to_platform.os, call, fail)
    if isinstance(failure, OSError):
        assert_refused(root, capsys, r"checkout: cannot be written \(No space left on device\); nothing was changed")
    else:
        with pytest.raises(KeyboardInterrupt):
            apply_to_platform.main([str(root)])
    assert len(calls) >= failing
    assert tree(root) == before
    assert directories(root) == directories_before


def test_what_cannot_be_taken_back_is_named(change, make_checkout, capsys, monkeypatch):
    root = make_checkout()
    real, calls = os.replace, []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) > 6:
            raise OSError(30, "Read-only file system")
        real(*arguments)

    monkeypatch.setattr(apply_to_platform.os, "replace", fail)
    assert apply_to_platform.main([str(root)]) == 2
    message = rf"error: .*{SETTINGS}: checkout: was changed and cannot be restored .*\n"
    assert re.fullmatch(message, capsys.readouterr().err)


# Parts


def log(root):
    """Return the commits of a checkout after its first: subject, body, and the files of each."""
    commits = git(root, "log", "--reverse", "--format=%x00%s%n%b", "--name-only").decode().split("\0")[2:]
    return [[line for line in commit.splitlines() if line] for commit in commits]


@pytest.fixture
def configured(make_checkout):
    """A checkout with an author."""
    root = make_checkout()
    git(root, "config", "user.name", "Author")
    git(root, "config", "user.email", "author@example.com")
    return root


def test_up_to_a_part(change, make_checkout, capsys):
    root = make_checkout()
    before = tree(root)
    assert apply_to_platform.main([str(root), "--part", "events"]) == 0
    assert set(tree(root)) - set(before) == {EVENTS, EMPTY, HOW_TO}
    assert tree(root)[APPS] == before[APPS]
    assert tree(root)[TASKS] != before[TASKS]
    commit(root)

    assert apply_to_platform.main([str(root), "--part", "operation"]) == 0
    page = (root / FIRST_PAGE).read_text()
    assert page == FIRST_TEXT.replace(LATER_ITEM, "")
    assert not (root / LATER_PAGE).exists()
    assert "event_bus_checks" not in (root / APPS).read_text()
    commit(root)

    assert apply_to_platform.main([str(root)]) == 0
    assert (root / FIRST_PAGE).read_text() == FIRST_TEXT
    assert "event_bus_checks" in (root / APPS).read_text()
    capsys.readouterr()
    assert_refused(
        root, capsys, "--part: recovery: no such part; there are events, operation, event-bus", "--part=recovery"
    )


def test_a_commit_of_each_part(change, configured, capsys):
    root = configured
    write_file(root, "lms/notes.txt", b"unfinished")
    branch = git(root, "branch", "--show-current")
    assert apply_to_platform.main([str(root), "--commit"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        f"committed {MESSAGES[name].splitlines()[0]}" for name in ("events", "operation", "event-bus")
    ]
    assert git(root, "branch", "--show-current") == branch
    assert git(root, "status", "--porcelain").decode() == "?? lms/notes.txt\n"
    assert git(root, "log", "--format=%an <%ae>", "-1").decode() == "Author <author@example.com>\n"
    assert log(root) == [
        ["feat: the events", "Why, and how tested.", *sorted([EVENTS, EMPTY, HOW_TO, SETTINGS, TASKS])],
        ["feat: watch them", "Why.", *sorted([FIRST_PAGE, APPS])],
        ["feat: watch the bus", "Why.", *sorted([FIRST_PAGE, LATER_PAGE, APPS])],
    ]
    # The same as without commits.
    committed = git(root, "rev-parse", "HEAD^{tree}")
    (root / "lms/notes.txt").unlink()
    git(root, "reset", "--quiet", "--hard", "HEAD~3")
    assert apply_to_platform.main([str(root)]) == 0
    git(root, "add", "--all")
    assert git(root, "write-tree") == committed


def test_a_part_at_a_time_and_again(change, configured, capsys):
    root = configured
    for name in ("events", "operation"):
        assert apply_to_platform.main([str(root), "--commit", "--part", name]) == 0
        assert capsys.readouterr().out == f"committed {MESSAGES[name].splitlines()[0]}\n"
    assert (root / FIRST_PAGE).read_text() == FIRST_TEXT.replace(LATER_ITEM, "")
    for options in (["--part", "operation"], ["--part", "events"]):
        assert apply_to_platform.main([str(root), "--commit", *options]) == 0
        assert "nothing to commit" in capsys.readouterr().out
    assert apply_to_platform.main([str(root), "--commit"]) == 0
    assert log(root)[2:] == [["feat: watch the bus", "Why.", *sorted([FIRST_PAGE, LATER_PAGE, APPS])]]
    assert (root / FIRST_PAGE).read_text() == FIRST_TEXT
    capsys.readouterr()
    # Once all is there, no part takes anything back.
    for options in (["--commit"], ["--commit", "--part", "events"], ["--part", "operation"], []):
        assert apply_to_platform.main([str(root), *options]) == 0
        assert re.search("nothing to c", capsys.readouterr().out)
    assert len(log(root)) == 3


def test_what_reviewers_changed_in_a_part_that_is_merged_stays(change, configured, capsys):
    root = configured
    assert apply_to_platform.main([str(root), "--commit", "--part", "operation"]) == 0
    for path in (EVENTS, FIRST_PAGE):
        write_file(root, path, b"# Reviewed\n" + (root / path).read_bytes())
    git(root, "commit", "--quiet", "--all", "--message", "Review")
    assert apply_to_platform.main([str(root), "--commit"]) == 0
    assert log(root)[3:] == [["feat: watch the bus", "Why.", *sorted([LATER_PAGE, APPS])]]
    assert (root / EVENTS).read_text().startswith("# Reviewed\n")


def test_the_configuration_of_git_does_no_harm(change, configured, capsys):
    root = configured
    branch = git(root, "branch", "--show-current").decode().strip()
    for name, value in (
        (f"branch.{branch}.mergeOptions", "--squash"),
        ("core.fileMode", "false"),
        ("core.autocrlf", "true"),
        ("core.safecrlf", "true"),
    ):
        git(root, "config", name, value)
    os.chmod(root / SETTINGS, 0o755)
    os.chmod(root / TASKS, 0o755)
    assert apply_to_platform.main([str(root), "--commit"]) == 0
    assert len(log(root)) == 3
    assert b"mode change" not in git(root, "log", "--summary", "-3")
    assert git(root, "status", "--porcelain") == b""
    capsys.readouterr()

    # Checked out with other line ends, it is what it was.
    for path in NEW:
        (root / path).unlink()
    git(root, "checkout", "--quiet", ".")
    assert b"\r\n" in (root / FIRST_PAGE).read_bytes()
    assert apply_to_platform.main([str(root)]) == 0
    assert "nothing to change" in capsys.readouterr().out

    git(root, "config", "commit.gpgsign", "true")
    git(root, "config", "gpg.program", "false")
    git(root, "reset", "--quiet", "--hard", "HEAD~3")
    assert_refused(root, capsys, "checkout: .*", "--commit")
    assert log(root) == []


def without_a_branch(root):
    git(root, "checkout", "--quiet", "--detach")


def without_an_author(root):
    git(root, "config", "--unset", "user.email")


def with_something_in_the_index(root):
    write_file(root, "lms/notes.txt", b"unfinished")
    git(root, "add", "lms/notes.txt")


def with_an_uncommitted_change(root):
    assert apply_to_platform.main([str(root), "--part", "events"]) == 0


def with_a_file_in_the_way(root):
    write_file(root, LATER_PAGE, b"mine")


def with_an_ignored_file_in_the_way(root):
    write_file(root, ".git/info/exclude", b"docs/\n")
    write_file(root, LATER_PAGE, b"mine")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (without_a_branch, "checkout: no branch is checked out"),
        (without_an_author, "checkout: fatal: no email was given and auto-detection is disabled"),
        (with_something_in_the_index, "checkout: something is in its index already"),
        (with_an_uncommitted_change, "checkout: has uncommitted changes"),
        (with_a_file_in_the_way, f"{LATER_PAGE}: checkout: has uncommitted changes"),
        (with_an_ignored_file_in_the_way, f"{LATER_PAGE}: checkout: has uncommitted changes"),
    ],
)
def test_commits_are_refused_as_a_whole(change, configured, capsys, monkeypatch, prepare, message):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    prepare(configured)
    capsys.readouterr()
    before = git(configured, "rev-parse", "HEAD"), git(configured, "status", "--porcelain")
    assert_refused(configured, capsys, message, "--commit")
    assert (git(configured, "rev-parse", "HEAD"), git(configured, "status", "--porcelain")) == before


@pytest.mark.parametrize("failing", ["hash-object", "commit-tree", "merge"])
def test_a_failure_of_git_leaves_the_branch_where_it_was(change, configured, capsys, monkeypatch, failing):
    real, calls = subprocess.run, []

    def fail(command, **options):
        if failing in command:
            calls.append(command)
            if len(calls) == (2 if failing != "merge" else 1):
                raise subprocess.CalledProcessError(128, command, stderr=b"fatal: no space left on device\n")
        return real(command, **options)

    head = git(configured, "rev-parse", "HEAD")
    monkeypatch.setattr(apply_to_platform.subprocess, "run", fail)
    assert_refused(configured, capsys, "checkout: fatal: no space left on device", "--commit")
    assert calls
    assert git(configured, "rev-parse", "HEAD") == head
    assert git(configured, "status", "--porcelain") == b""
