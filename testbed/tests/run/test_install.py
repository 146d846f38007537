"""Tests of ``make requirements``, with a script in place of the interpreter and of pip."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed import ROOT
from testbed.servers.processes import wait_for

# It writes its command into "log", makes an environment, waits while there is a file "hold", and fails as "fail" says.
SCRIPT = """#!/bin/sh
echo "$2 $6" >> log
if [ "$2" = venv ]; then rm -rf "$4"/*; mkdir "$4/bin"; cp fake "$4/bin/python"; touch "$4/pyvenv.cfg"; fi
while [ -e hold ]; do sleep 0.05; done
! [ "$(cat fail)" = "$2 $6" ]
"""
ALL = ["venv ", "pip -r", "pip --no-build-isolation"]
INSTALL = str(ROOT / "requirements/install.py")
CODE = f"import runpy, sys; sys.executable = './fake'; runpy.run_path({INSTALL!r}, run_name='__main__')"


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("requirements.txt", ""), ("log", ""), ("fail", ""), ("fake", SCRIPT)):
        Path(name).write_text(text)
    Path("fake").chmod(0o755)


def begin() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, "venv/.installed", "requirements.txt"], stderr=subprocess.PIPE, text=True
    )


def log() -> list[str]:
    return Path("log").read_text().splitlines()


@pytest.mark.parametrize("moment", range(3))
def test_an_interrupted_installation_begins_again(moment: int) -> None:
    Path("fail").write_text(ALL[moment])
    [line] = begin().communicate()[1].splitlines()
    assert line.startswith("error: ") and not Path("venv/.installed").exists()
    Path("fail").write_text("")
    assert (begin().wait(), log()) == (0, ALL[: moment + 1] + ALL)


def test_other_directories_are_left_alone() -> None:
    Path("venv/thesis").mkdir(parents=True)
    assert "error: venv is not a virtual environment" in begin().communicate()[1]
    assert (os.listdir("venv"), log()) == (["thesis"], [])


def test_newer_requirements_are_installed_into_the_same_environment() -> None:
    assert (begin().wait(), begin().wait(), log()) == (0, 0, ALL)
    os.utime("requirements.txt", (2**32, 2**32))
    assert (begin().wait(), log()) == (0, ALL + ALL[1:])
    Path("fail").write_text("pip -r")
    assert (begin().wait(), Path("venv/.installed").exists()) == (1, False)


@pytest.mark.parametrize("killed", [False, True])
def test_the_second_of_two_waits_also_for_a_pip_that_outlives_the_first(killed: bool) -> None:
    Path("hold").touch()
    first = begin()
    wait_for(log, "the first one")
    if killed:
        first.kill()
    second = begin()
    time.sleep(0.5)
    assert log() == ALL[:1] and second.poll() is None
    Path("hold").unlink()
    assert (second.wait(), first.wait(), log()) == ((0, -9, ALL[:1] + ALL) if killed else (0, 0, ALL))
