"""
The table of the fault suite.
"""

from dataclasses import astuple, dataclass

HEADER = (
    "fault",
    "injected",
    "task",
    "lost by the platform",
    "certificates wrong",
    "events lost",
    "lost after republish",
    "duplicates",
    "note",
)

# Test name -> row, filled as the tests run.
ROWS = {}


@dataclass(frozen=True)
class Row:
    """A line of the table; the counts are of learners' certificates and of events."""

    fault: str
    injected: str
    task: str
    platform_lost: int
    wrong: int
    lost: int
    lost_after: int
    duplicates: int
    note: str


def render(rows):
    """
    Render the table as Markdown.

    Args:
        rows (iterable[Row]): its lines.

    Returns:
        list[str]: lines of text.
    """
    cells = [HEADER, *([str(cell) for cell in astuple(row)] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADER))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    lines = [f"| {' | '.join(row)} |" for row in padded]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
