"""
Tests that each of the platform's gates can fail: one fault of each kind, in a copy of a file of the change.
"""

import pytest

from testbed.checks import platform_gates
from testbed.checks.platform_gates import ROOT

PROGRAMS = ROOT / "openedx/core/djangoapps/programs"
CODE = PROGRAMS / "checks.py"
PAGE = PROGRAMS / "docs/how_tos/publish-program-certificate-events.rst"


@pytest.fixture
def plant(tmp_path):
    """Return a function that copies a file, adds a text, and returns the copy's path."""

    def plant(file, text):
        copy = tmp_path / file.name
        copy.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")
        return copy

    return plant


def assert_finds(gate, file, *expected):
    """Check that a gate has these messages about a file, in any order, and no others."""
    messages = gate(file)
    assert len(messages) == len(expected), messages
    for part in expected:
        assert [line for line in messages if part in line], (part, messages)


def test_the_manifest_is_what_is_checked():
    files = platform_gates.list_files()
    assert str(CODE.relative_to(ROOT)) in files
    assert str(PAGE.relative_to(ROOT)) in files
    assert "lms/envs/common.py" in files


def test_pylint(plant):
    text = '''

class Holder:
    """Keeps a list."""

    def fill(self):
        """Set an attribute late, and give what is in it a bad name."""
        self.events = []
        bar = self.events
        return bar  # pylint: disable=undefined-variable

    def undescribed(self):
        print(self)
        print(self)
        print(self)
        print(self)
        print(self)
'''
    assert_finds(
        platform_gates.pylint,
        plant(CODE, text),
        "(attribute-defined-outside-init)",
        "(disallowed-name)",
        "(missing-function-docstring)",
        "(useless-suppression)",
    )


def test_pycodestyle(plant):
    text = f"\n\nWORDS = [1, 2]\nFIRST = WORDS[0 : 1]\nLONG = '{'x' * 120}'\n"
    assert_finds(platform_gates.pycodestyle, plant(CODE, text), "E203", "E501")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("\nimport os\n\nassert os\n", None),
        ("\nimport json\n", "F401"),
        ("\nX = dict([(1, 2)]); Y = 3\n", "E702"),
        ("\nfrom typing import Optional\n\nX: Optional[int] = None\n", "UP045"),
        ("\n\ndef f(x=[]):\n    return x\n", "B006"),
        ("\n\ndef test_x(self):\n    self.assertEqual(1, 1)\n", "PT009"),
        ("\nfrom django.db import models\n\n\nclass X(models.Model):\n    x = models.TextField(null=True)\n", "DJ001"),
    ],
)
def test_ruff(plant, text, code):
    messages = platform_gates.ruff(plant(CODE, text))
    assert not code or [line for line in messages if f" {code} " in line], messages


def test_ruff_sorts_imports_as_in_the_platform(tmp_path):
    file = tmp_path / "file.py"
    file.write_text("import django\n\nfrom openedx import core\n\nprint(django, core)\n", encoding="utf-8")
    assert platform_gates.ruff(file) == []
    file.write_text("import django\nfrom openedx import core\n\nprint(django, core)\n", encoding="utf-8")
    assert_finds(platform_gates.ruff, file, "I001")


NAMES = ",\n    ".join(f"name_of_what_is_imported_{number}" for number in range(5))


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("import os\n\nimport django\n\nfrom openedx import core\n", []),
        ("import os\n\nfrom openedx import core\nimport django\n", ["incorrectly sorted"]),
        (f"from os import (\n    {NAMES}\n)\n", []),
        (f"from os import (\n    {NAMES},\n)\n", ["incorrectly sorted"]),  # as ruff format would have it
    ],
)
def test_isort(tmp_path, text, messages):
    file = tmp_path / "file.py"
    file.write_text(text, encoding="utf-8")
    assert_finds(platform_gates.isort, file, *messages)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nSee :doc:`another page`.\n", None),
        ("\nSee :docs:`another page`.\n", 'Unknown interpreted text role "docs"'),
        ("\n.. code-blok:: python\n\n    x\n", 'Unknown directive type "code-blok"'),
        ("\nA long title\n----\n", "Title underline too short"),
        ("\nSee `nothing`_.\n", 'Unknown target name: "nothing"'),
        ("\n* one\nand two\n", "Bullet list ends without a blank line"),
    ],
)
def test_docutils(plant, text, message):
    messages = platform_gates.docutils(plant(PAGE, text))
    assert bool(messages) == bool(message)
    assert not message or message in "".join(messages)


def test_messages_of_the_slice_alone_are_left_out(monkeypatch):
    lines = ["lms/envs/common.py:9:0: W0401: ... (wildcard-import)", "lms/envs/common.py:9:0: W0301: ... (other)"]
    lines.append("openedx/x.py:9:0: W0401: ... (wildcard-import)")
    monkeypatch.setattr(platform_gates, "GATES", {lambda *files: lines if files == ("x.py",) else []: ".py"})

    assert platform_gates.check(["x.py", "x.rst"]) == lines[1:]
