"""The tables that the fault suites print at their end (``testbed/tests/conftest.py``), and the documented one."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from testbed import ROOT

HEADER = (
    *("fault", "injected", "task", "lost by the platform", "certificates wrong", "events lost", "lost after republish"),
    *("duplicates", "note"),
)
KAFKA_HEADER = ("fault", "injected", "awarded", "lost as is", "with the block", "after one republish", "note")


class Row(NamedTuple):
    """A row; the table is sorted by its first two cells."""

    fault: str
    injected: str
    cells: tuple[Any, ...]


# Filled as the tests run.
ROWS: dict[tuple[str, str], Row] = {}
KAFKA_ROWS: dict[tuple[str, str], Row] = {}


def documented(fault: str, page: str = "faults.md", injected: str = "") -> Row:
    """Find a row of a page. Its cells are what a test expects. On Kafka, several rows have the same fault."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    found = [Row(row[0], row[1], tuple(row[2:])) for row in rows if row[0] == fault and injected in ("", row[1])]
    return found[0] if found else Row(fault, "", ("",) * (len(HEADER) - 2))


def compare(row: Row, expected: Row, rows: dict[tuple[str, str], Row]) -> None:
    """
    Have a row printed, and compare it with the documented one, but for the note.

    What may differ is there as "1 or 0", or as "~1".
    """
    rows[row.fault, row.injected] = row
    assert expected.injected, "add the row that is printed below to its page in docs/, and what is injected"
    for cell, text in zip(row.cells[:-1], expected.cells, strict=False):
        assert text.startswith("~") or str(cell) in text.split(" or "), f"{row.cells} is not {expected.cells}"


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
