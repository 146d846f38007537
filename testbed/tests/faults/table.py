"""The tables that the fault suites print at their end (``testbed/tests/conftest.py``), and the documented one."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from testbed import ROOT

HEADER = tuple(
    "fault | injected | task | lost by the platform | certificates wrong | events lost | lost after republish"
    " | duplicates | note".split(" | ")
)
KAFKA_HEADER = tuple(
    "fault | injected | awarded | lost as is | lost with the settings block | lost after one republish | note".split(
        " | "
    )
)


class Row(NamedTuple):
    """A row; the table is sorted by its first two cells."""

    fault: str
    injected: str
    cells: tuple[Any, ...]


# Test name -> row, filled as the tests run.
ROWS: dict[str, Row] = {}
KAFKA_ROWS: dict[str, Row] = {}


def documented(fault: str) -> Row:
    """Find a row of ``docs/faults.md``. Its cells are what a test expects."""
    lines = (ROOT / "docs/faults.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    found = [Row(row[0], row[1], tuple(row[2:])) for row in rows if row[0] == fault]
    return found[0] if found else Row(fault, "", ("",) * (len(HEADER) - 2))


def slug(text: str) -> str:
    """Return a test's id: the words, joined by underscores."""
    return re.sub(r"\W+", "_", text).strip("_")


def render(rows: Iterable[Row], header: tuple[str, ...] = HEADER) -> list[str]:
    """Render a table as lines of Markdown."""
    table = [header, *((row.fault, row.injected, *map(str, row.cells)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in table]
    lines = [f"| {' | '.join(row)} |" for row in padded]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
