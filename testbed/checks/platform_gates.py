"""
The platform's own gates on the code of the change: ``python -m testbed.checks.platform_gates``, for ``make quality``.
Not ruff: ``ruff.toml`` includes the platform's rules.

Each gate takes paths and returns its messages. The command prints them, and exits with 1 if there is any.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from testbed import ROOT
from testbed.checks.manifest import list_files

BIN = Path(sys.executable).parent
TWEAKS = Path(__file__).with_name("pylintrc_tweaks")


def run(*command: str | Path, cwd: str | Path = ROOT) -> list[str]:
    """Run a tool, and return its output if it failed: its messages, or why it could not do its work."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "lms.envs.test"}
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=cwd, env=env, capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines() if done.returncode else []


def pylint(*files: str | Path) -> list[str]:
    """Run pylint, configured by edx-lint with the platform's tweaks."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / TWEAKS.name).write_bytes(TWEAKS.read_bytes())
        if problems := run("edx_lint", "write", "pylintrc", cwd=folder):
            return problems
        lines = run("pylint", f"--rcfile={folder}/pylintrc", *files)
    return [line for line in lines if not line.startswith("***")]  # the headings


def pycodestyle(*files: str | Path) -> list[str]:
    """Run pycodestyle, the platform's gate of style until it took on ruff. E266: the banners in its settings."""
    return run("pycodestyle", "--max-line-length=120", "--ignore=E266,W503,W504", *files)


def isort(*files: str | Path) -> list[str]:
    """Run isort with the platform's settings. ruff format agrees as long as no import is wrapped."""
    options = ("--check-only", "--multi-line=3", "--line-length=120", f"--src={ROOT}")
    return run("isort", f"--settings-path={TWEAKS.parent}", *options, *files)


if __name__ == "__main__":
    code = [path for path in list_files() if path.endswith(".py")]
    sys.exit("\n".join(line for gate in (pylint, pycodestyle, isort) for line in gate(*code)) or None)
