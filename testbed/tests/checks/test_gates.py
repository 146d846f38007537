"""
Tests that each of the platform's gates, and ruff, can fail, and with which configuration.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from testbed import ROOT
from testbed.checks.platform_gates import isort, pycodestyle, pylint, run

FOR_PYLINT = """
\"\"\"Has what pylint finds as edx-lint configures it, and an argument that the platform's tweaks allow.\"\"\"


def undescribed(bar):
    print(1)
    print(2)
    print(3)
    print(4)
    print(5)  # pylint: disable=undefined-variable
"""
FOR_RUFF = """import os
from typing import Optional
from django.db import models

class Model(models.Model):
    field = models.TextField(null=True)

def sort(self, word: Optional[str], words=[]):
    self.assertEqual(word, words); print()
"""
NAMES = ",\n    ".join(f"name_of_what_is_imported_{number}" for number in range(5))
FOR_ISORT = f"from os import (\n    {NAMES}\n)\n\nimport django\n\nfrom openedx import core\n"

# `ruff check` is the first step of `make quality`.
RULES = ROOT / "ruff.toml"
ruff = partial(run, "ruff", "check", "--no-cache", "--output-format=concise", f"--config={RULES}")


@pytest.mark.parametrize(
    ("gate", "text", "expected"),
    [
        (pylint, FOR_PYLINT, ["(disallowed-name)", "(missing-function-docstring)", "(useless-suppression)"]),
        (pycodestyle, f"WORDS = [1, 2]\nFIRST = WORDS[0 : 1]\nLONG = '{'x' * 120}'\n", ["E203", "E501"]),
        (ruff, FOR_RUFF, ["B006", "DJ001", "DJ008", "E702", "F401", "I001", "PT009", "UP045"]),
        (isort, FOR_ISORT, []),
        # As ruff format would have it.
        (isort, FOR_ISORT.replace("\n)", ",\n)"), ["incorrectly sorted"]),
    ],
)
def test_gate(gate: Callable[..., list[str]], text: str, expected: list[str], tmp_path: Path) -> None:
    planted = tmp_path / "file.py"
    planted.write_text(text, encoding="utf-8")

    messages = gate(planted)

    assert len([line for line in messages if planted.name in line]) == len(expected), messages
    for part in expected:
        assert [line for line in messages if part in line], messages
