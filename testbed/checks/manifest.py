"""
Lists the files of the repository and those of the change, for the checks and their tests.
"""

import subprocess
import tomllib

from testbed import ROOT

PLATFORM_FOLDERS = ("cms/", "common/", "lms/", "openedx/", "xmodule/")


def tracked() -> list[str]:
    """List the files of the repository, also those not committed yet."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    paths = subprocess.check_output(listing, cwd=ROOT, text=True).splitlines()
    return [path for path in paths if (ROOT / path).exists()]


def read_manifest() -> tuple[list[str], list[str]]:
    """Return what ``change.toml`` lists in all parts: the new files, and each file of the platform that is edited."""
    parts = tomllib.loads((ROOT / "change.toml").read_text(encoding="utf-8"))["parts"]
    edited = {path for part in parts for path in part["edits"]}
    return [path for part in parts for path in part["files"]], sorted(edited)


def list_files() -> list[str]:
    """Return the paths of both kinds, sorted."""
    new, edited = read_manifest()
    return sorted({*new, *edited})
