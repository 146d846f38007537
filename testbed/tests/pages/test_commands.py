"""
Tests that each management command that a text names exists: on the platform, in Django, in a library, or in the change.

``platform_commands.txt`` has the names of the commands of a platform of December 2025, LMS and Studio.
"""

import re
from pathlib import Path

import pytest
from django.core.management import get_commands

from testbed import ROOT
from testbed.checks.manifest import read_manifest
from testbed.tests.checks.test_layout import PLATFORM_FOLDERS, tracked

PLATFORM = set((Path(__file__).parent / "platform_commands.txt").read_text(encoding="utf-8").split())
# Words of a command line may also be items of a list, in YAML or in JSON.
GAP = r"""(?:[\s"',]|-\s)+"""
COMMAND_LINE = re.compile(rf"manage\.py{GAP}(?:lms|cms){GAP}(?:--[\w-]+=\S+{GAP})*([a-z]\w+)")
# A literal such as `some_command --option`, without the command line around it.
LITERAL = re.compile(r"`([a-z]+_\w+)\s--[a-z]")


def named(text):
    """Return the commands that a text names."""
    return {*COMMAND_LINE.findall(text), *LITERAL.findall(text)}


def commands_in(paths):
    """Return the commands whose modules are among these files."""
    parts = [Path(path).parts for path in paths]
    return {path[-1].removesuffix(".py") for path in parts if path[-2:-1] == ("commands",)} - {"__init__"}


def texts():
    """List the files that tell people what to run."""
    return [path for path in tracked() if path.endswith((".md", ".rst")) or path == "change.toml"]


def in_slice():
    """Return the commands under the platform's paths; those of the change are among them."""
    return commands_in(path for path in tracked() if path.startswith(PLATFORM_FOLDERS))


OURS = commands_in(read_manifest()[0])


@pytest.mark.parametrize("path", texts())
def test_each_named_command_exists(path):
    of_libraries = get_commands().keys() - in_slice()  # the slice is no proof that the platform has it

    assert named((ROOT / path).read_text(encoding="utf-8")) <= PLATFORM | OURS | of_libraries


def test_all_texts_are_read():
    found = texts()
    assert {"README.md", "change.toml", "docs/faults.md", "docs/pull-requests/recovery.md"} <= set(found)
    assert len([path for path in found if "/programs/docs/" in path]) >= 6
    everything = set().union(*(named((ROOT / path).read_text(encoding="utf-8")) for path in found))
    assert {"republish_program_certificate_events", "notify_credentials", "consume_events", "shell"} <= everything


def test_the_slice_has_no_command_of_its_own():
    assert OURS == {"republish_program_certificate_events"}
    assert in_slice() - OURS == {"cache_programs", "notify_credentials"} <= PLATFORM


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
def test_an_unknown_command_is_found(text):
    assert named(text) == {"no_such"}
