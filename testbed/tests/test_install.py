"""
Tests of installing the requirements: what is broken off, or begun twice at once, mends itself.
"""

import os
import subprocess
import sys
import threading

import pytest

from testbed import ROOT
from testbed import install as module
from testbed.install import install
from testbed.servers.processes import wait_for


class Pip:
    """In place of the processes that an installation starts: writes down their commands, and leaves files."""

    def __init__(self, venv, broken_off_at=None):
        self.venv, self.broken_off_at = venv, broken_off_at
        self.commands = []
        self.wait = self.begun = None

    def __call__(self, command, check, pass_fds):
        assert check
        self.commands.append(" ".join(map(str, command[1:])))
        (self.venv / "pyvenv.cfg").touch()
        (self.venv / "lib").mkdir(exist_ok=True)
        if self.wait:
            self.begun.set()
            assert self.wait.wait(60)
        if len(self.commands) - 1 == self.broken_off_at:
            (self.venv / "lib" / "half").touch()
            raise KeyboardInterrupt

    @property
    def words(self):
        """list[str]: what tells the commands apart."""
        return [command.split()[1 if command.startswith("-m venv") else -2] for command in self.commands]


ALL = ["venv", "-r", "-e"]


@pytest.fixture
def files(tmp_path):
    """The arguments: stamp, requirements and another file."""
    for name in ("requirements.txt", "setup.py"):
        (tmp_path / name).touch()
    return tmp_path / "venv" / ".installed", tmp_path / "requirements.txt", tmp_path / "setup.py"


@pytest.fixture
def pip(files, monkeypatch):
    """Put a Pip in place of the processes."""

    def put(**kwargs):
        pip = Pip(files[0].parent, **kwargs)
        monkeypatch.setattr(module.subprocess, "run", pip)
        return pip

    return put


@pytest.mark.parametrize("moment", range(3))
def test_what_was_broken_off_is_begun_anew(files, pip, moment):
    pip(broken_off_at=moment)
    with pytest.raises(KeyboardInterrupt):
        install(*files)
    assert not files[0].exists()

    again = pip()
    install(*files)

    assert again.words == ALL
    assert files[0].exists()
    assert not (files[0].parent / "lib" / "half").exists()


def test_an_environment_of_before_without_a_stamp_is_begun_anew(files, pip):
    venv = files[0].parent
    (venv / "lib").mkdir(parents=True)
    (venv / "lib64").symlink_to("lib")
    for name in ("pyvenv.cfg", "lib/half"):
        (venv / name).touch()

    began = pip()
    install(*files)

    assert began.words == ALL
    assert not (venv / "lib" / "half").exists()


def test_nothing_else_is_removed(files, pip):
    files[0].parent.mkdir()
    thesis = files[0].parent / "thesis.txt"
    thesis.touch()

    with pytest.raises(FileExistsError, match="is no virtual environment; name another directory with VENV="):
        install(*files)

    assert thesis.exists()


def test_done_once_and_again_for_other_requirements(files, pip):
    pip()
    install(*files)

    again = pip()
    install(*files)
    assert again.words == []
    os.utime(files[1], (2**32, 2**32))
    install(*files)
    assert again.words == ALL[1:]  # into the same environment

    broken_off = pip(broken_off_at=0)
    with pytest.raises(KeyboardInterrupt):
        install(*files)
    assert broken_off.words == ["-r"]
    last = pip()
    install(*files)
    assert last.words == ALL


def test_of_two_at_once_the_second_waits(files, pip, capsys):
    began = pip()
    began.wait, began.begun = threading.Event(), threading.Event()
    first, second = (threading.Thread(target=install, args=files, daemon=True) for _ in range(2))
    first.start()
    assert began.begun.wait(60)
    second.start()
    wait_for(lambda: "Waiting for another installation" in capsys.readouterr().out, "the second to wait")
    assert second.is_alive()

    began.wait.set()
    for thread in (first, second):
        thread.join(60)

    assert began.words == ALL
    assert files[0].exists()


def test_pip_that_outlives_its_starter_is_waited_for(files, pip, tmp_path):
    slow = "import sys; print('begun', flush=True); sys.stdin.read()"
    code = f"""
import subprocess, sys
from testbed import install
run = subprocess.run
install.subprocess.run = lambda command, **kwargs: run([sys.executable, "-c", {slow!r}], **kwargs)
install.install(*sys.argv[1:])
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, files)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        while process.stdout.readline() != b"begun\n":
            assert process.poll() is None
        process.kill()
        began = pip()
        second = threading.Thread(target=install, args=files, daemon=True)
        second.start()
        second.join(0.5)
        assert (began.words, second.is_alive()) == ([], True)

        process.stdin.close()  # so pip ends
        second.join(60)

    assert began.words == ALL


def test_the_makefile_installs_in_this_way():
    listing = subprocess.run(
        ["make", "--dry-run", "VENV=.venv-of-nobody", "requirements"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "-m testbed.install .venv-of-nobody/.installed requirements/edx/development.txt setup.py" in listing


def test_errors_are_one_line(files):
    files[0].parent.mkdir()
    (files[0].parent / "thesis.txt").touch()

    ended = subprocess.run(
        [sys.executable, "-m", "testbed.install", *files], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (1, "", 1)
    assert ended.stderr.startswith("error: ")
