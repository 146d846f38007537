"""
``make requirements``: installs the pinned requirements into a virtual environment, with the standard library only.

``python requirements/install.py STAMP REQUIREMENTS [FILE ...]``. The stamp is a file in the environment. It is written
at the end, so an environment without one is not complete, and is made anew.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path


def install(stamp: Path, *files: Path) -> None:
    """Install, unless the stamp is as new as the files. Only one process at a time installs."""
    venv = stamp.parent
    pip = [f"{venv}/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if venv.exists() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").exists():
        raise FileExistsError(f"{venv} is not a virtual environment; remove it, or name another one with VENV=")
    print(f"Installing the requirements into {venv}: about half a minute.", flush=True)
    venv.mkdir(parents=True, exist_ok=True)
    fcntl.flock(lock := os.open(venv, os.O_RDONLY), fcntl.LOCK_EX)  # also of a pip that outlives this process
    if not stamp.exists() or stamp.stat().st_mtime < max(file.stat().st_mtime for file in files):
        fresh = [] if stamp.exists() else [[sys.executable, "-m", "venv", "--clear", str(venv)]]
        stamp.unlink(missing_ok=True)
        for command in (*fresh, [*pip, "-r", str(files[0])], [*pip, "--no-build-isolation", "--no-deps", "-e", "."]):
            subprocess.run(command, check=True, pass_fds=[lock])
        stamp.touch()


if __name__ == "__main__":
    try:
        install(*map(Path, sys.argv[1:]))
    except (OSError, subprocess.CalledProcessError, KeyboardInterrupt) as exc:
        sys.exit(f"error: {exc}" if str(exc) else 130)
