"""
``make requirements``: installs the pinned requirements into the virtual environment. Needs the standard library only.

``python -m testbed.install .venv/.installed REQUIREMENTS [FILE ...]``. The stamp says that the environment is complete;
it is as new as the files. What was broken off left none, and is begun anew. Of several at once, one installs, and the
others wait for it.
"""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

LOCK = ".installing"


def install(stamp, requirements, *files):
    """
    Install, unless that is done.

    Args:
        stamp (str): a file in the environment's directory, which is there once all is installed.
        requirements (str): what to install, as pip reads it.
        *files (str): further files that the stamp has to be as new as.

    Raises:
        FileExistsError: the directory is something else.
        subprocess.CalledProcessError: pip failed; it has said why.
    """
    stamp = Path(stamp)
    venv, lock = stamp.parent, stamp.parent / LOCK
    if venv.exists() and any(venv.iterdir()) and not (lock.exists() or (venv / "pyvenv.cfg").exists()):
        raise FileExistsError(f"{venv} is no virtual environment; name another directory with VENV=")
    venv.mkdir(parents=True, exist_ok=True)
    with open(lock, "ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another installation into {venv}.", flush=True)
            fcntl.flock(held, fcntl.LOCK_EX)
        newest = max(Path(file).stat().st_mtime for file in (requirements, *files))
        if stamp.exists() and stamp.stat().st_mtime >= newest:
            return

        def run(*command):
            # pip holds the lock too: where only this process is killed, the next one waits until pip is through.
            subprocess.run(command, check=True, pass_fds=[held.fileno()])

        print(f"Installing the requirements into {venv}: about half a minute.", flush=True)
        if stamp.exists():
            stamp.unlink()
        else:
            for path in set(venv.iterdir()) - {lock}:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            run(sys.executable, "-m", "venv", venv)
        pip = (venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run(*pip, "-r", requirements)
        run(*pip, "--no-build-isolation", "--no-deps", "-e", ".")
        stamp.touch()


if __name__ == "__main__":
    try:
        install(*sys.argv[1:])
    except (OSError, subprocess.CalledProcessError) as exc:
        sys.exit(f"error: {exc}")
    except KeyboardInterrupt:
        sys.exit(130)
