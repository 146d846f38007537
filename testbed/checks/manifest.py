"""
What ``change.toml`` says is the change.
"""

import tomllib

from testbed import ROOT


def read_manifest():
    """
    Read which files the change has, in all its parts.

    Returns:
        tuple[list[str], list[str]]: the new files, and those that it edits, each once.
    """
    parts = tomllib.loads((ROOT / "change.toml").read_text(encoding="utf-8"))["parts"]
    return [path for part in parts for path in part["files"]], sorted(
        {path for part in parts for path in part["edits"]}
    )
