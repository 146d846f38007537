"""
Tests that each management command that a text names exists: on the platform, in Django, in a library, or in the change.

``platform_commands.txt`` has the names of the commands of a platform of December 2025, LMS and Studio.
"""

import re
from pathlib import Path

import pytest
from django.core.management import get_commands

from testbed import ROOT
from testbed.checks.manifest import tracked

PLATFORM = set((Path(__file__).parent / "platform_commands.txt").read_text(encoding="utf-8").split())
OURS = {"republish_program_certificate_events"}
IN_SLICE = {Path(path).stem for path in tracked() if "/management/commands/" in path} - {"__init__"}
# Words of a command line may also be items of a list, in YAML or in JSON.
GAP = r"""(?:[\s"',]|-\s)+"""
COMMAND_LINE = re.compile(rf"manage\.py{GAP}(?:lms|cms){GAP}(?:--[\w-]+=\S+{GAP})*([a-z]\w+)")
# A literal such as `some_command --option`, without the command line around it.
LITERAL = re.compile(r"`([a-z]+_\w+)\s--[a-z]")
# The files that tell people what to run.
TEXTS = [path for path in tracked() if path.endswith((".md", ".rst")) or path == "change.toml"]


def named(text: str) -> set[str]:
    """Return the commands that a text names."""
    return {*COMMAND_LINE.findall(text), *LITERAL.findall(text)}


@pytest.mark.parametrize("path", TEXTS)
def test_each_named_command_exists(path: str) -> None:
    of_libraries = get_commands().keys() - IN_SLICE  # the slice is no proof that the platform has it

    assert named((ROOT / path).read_text(encoding="utf-8")) <= PLATFORM | OURS | of_libraries


def test_all_texts_are_read() -> None:
    assert {"README.md", "change.toml", "docs/faults.md", "docs/pull-requests/recovery.md"} <= set(TEXTS)
    everything = set().union(*(named((ROOT / path).read_text(encoding="utf-8")) for path in TEXTS))
    assert {"republish_program_certificate_events", "notify_credentials", "consume_events", "shell"} <= everything


def test_the_slice_has_no_command_of_its_own() -> None:
    assert IN_SLICE - OURS == {"cache_programs", "notify_credentials"} <= PLATFORM


@pytest.mark.parametrize(
    "text",
    [
        "./manage.py lms no_such --commit",
        "by hand, `./manage.py lms\nno_such`.",
        "python manage.py cms no_such",
        "./manage.py lms --settings=production no_such",
        "tutor local exec lms ./manage.py lms no_such",
        "tutor k8s exec lms -- ./manage.py lms no_such",
        'command: ["./manage.py", "lms", "no_such"]',
        "args:\n  - ./manage.py\n  - lms\n  - no_such\n",
        "run ``no_such --commit`` first",
    ],
)
def test_an_unknown_command_is_found(text: str) -> None:
    assert named(text) == {"no_such"}
