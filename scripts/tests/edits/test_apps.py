"""
The imports in ``programs/apps.py``.
"""

import pytest
from edits.apps import edit_apps, edit_apps_for_the_bus

from tests.edits.shapes import PROGRAMS, check_edit, check_refusal, replaced, shape

SIGNALS = "from . import signals  # noqa: F401 pylint: disable=unused-import\n"
BUS = "from openedx.core.lib import event_bus_checks  # noqa: F401\n"
INDENT = "        "


@pytest.mark.parametrize(
    ("imported", "checks", "bus"),
    [
        (
            SIGNALS,
            "from . import checks, signals  # noqa: F401 pylint: disable=unused-import\n",
            f"{BUS.rstrip()} pylint: disable=unused-import\n\n{INDENT}{SIGNALS}",
        ),
        (
            "from . import api, signals  # noqa: F401\n",
            "from . import api, checks, signals  # noqa: F401\n",
            f"{BUS}\n{INDENT}from . import api, signals  # noqa: F401\n",
        ),
        (
            f"# Receivers.\n{INDENT}from . import signals\n",
            f"# Receivers.\n{INDENT}from . import checks, signals\n",
            f"{BUS.partition('  #')[0]}\n\n{INDENT}# Receivers.\n{INDENT}from . import signals\n",
        ),
    ],
)
def test_ready_imports_the_checks_as_it_imports_the_signals(imported: str, checks: str, bus: str) -> None:
    source = replaced(shape("apps"), SIGNALS, imported)
    check_edit(edit_apps, source, replaced(shape("apps"), SIGNALS, checks))
    check_edit(edit_apps_for_the_bus, source, replaced(shape("apps"), SIGNALS, bus))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("class ProgramsConfig(AppConfig):", "if True:", "expected one such method, found 0"),
        (SIGNALS, f"from {PROGRAMS} import signals\n", "expected one import of the app's signals, found 0"),
        (SIGNALS, "from . import signals; signals.connect()\n", "expected one import of the app's signals, found 0"),
        (SIGNALS, f"{SIGNALS}{INDENT}{SIGNALS}", "expected one import of the app's signals, found 2"),
    ],
)
def test_other_shapes_are_refused(old: str, new: str, message: str) -> None:
    check_refusal(edit_apps, replaced(shape("apps"), old, new), rf"ready\(\): {message}")
