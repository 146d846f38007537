"""
Tests that each of the platform's gates can fail: one fault of each kind, after the end of a file of the change.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from testbed import ROOT
from testbed.checks import platform_gates
from testbed.checks.manifest import list_files

Gate = Callable[..., list[str]]

RULES = ROOT / "ruff.toml"
CODE = "openedx/core/djangoapps/programs/checks.py"
FOR_PYLINT = """

class Holder:
    \"\"\"Keeps a list.\"\"\"

    def fill(self):
        \"\"\"Set an attribute late, and give what is in it a bad name.\"\"\"
        self.events = []
        bar = self.events
        return bar  # pylint: disable=undefined-variable

    def undescribed(self):
        print(self)
        print(self)
        print(self)
        print(self)
        print(self)
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

# `ruff check` is the first step of `make quality`.
ruff = partial(platform_gates.run, "ruff", "check", "--no-cache", "--output-format=concise", f"--config={RULES}")

# Gate, file (None: an empty one), added text, and what the gate's messages contain, one each.
CASES: list[tuple[Gate, str | None, str, list[str]]] = [
    (
        *(platform_gates.pylint, CODE, FOR_PYLINT),
        [
            "(attribute-defined-outside-init)",
            "(disallowed-name)",
            "(missing-function-docstring)",
            "(useless-suppression)",
        ],
    ),
    (
        *(platform_gates.pycodestyle, CODE, f"\n\nWORDS = [1, 2]\nFIRST = WORDS[0 : 1]\nLONG = '{'x' * 120}'\n"),
        ["E203", "E501"],
    ),
    (ruff, None, FOR_RUFF, ["B006", "DJ001", "DJ008", "E702", "F401", "I001", "PT009", "UP045"]),
    (platform_gates.isort, None, "import os\n\nimport django\n\nfrom openedx import core\n", []),
    (platform_gates.isort, None, "import os\n\nfrom openedx import core\nimport django\n", ["incorrectly sorted"]),
    (platform_gates.isort, None, f"from os import (\n    {NAMES}\n)\n", []),
    # As ruff format would have it.
    (platform_gates.isort, None, f"from os import (\n    {NAMES},\n)\n", ["incorrectly sorted"]),
]


@pytest.mark.parametrize(("gate", "file", "text", "expected"), CASES)
def test_gate(gate: Gate, file: str | None, text: str, expected: list[str], tmp_path: Path) -> None:
    planted = tmp_path / Path(file or "file.py").name
    planted.write_text(((ROOT / file).read_text(encoding="utf-8") if file else "") + text, encoding="utf-8")

    messages = gate(planted)

    assert len([line for line in messages if planted.name in line]) == len(expected), messages
    for part in expected:
        assert [line for line in messages if part in line], messages


def test_the_manifest_is_what_is_checked() -> None:
    assert {CODE, "lms/envs/common.py"} <= set(list_files())
