"""
Reads which files are the change, for the checks.
"""

import tomllib

from testbed import ROOT


def read_manifest() -> tuple[list[str], list[str]]:
    """Return what ``change.toml`` lists in all parts: the new files, and each file of the platform that is edited."""
    parts = tomllib.loads((ROOT / "change.toml").read_text(encoding="utf-8"))["parts"]
    edited = {path for part in parts for path in part["edits"]}
    return [path for part in parts for path in part["files"]], sorted(edited)


def list_files() -> list[str]:
    """Return the paths of both kinds, sorted."""
    new, edited = read_manifest()
    return sorted({*new, *edited})
