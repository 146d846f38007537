"""
The tables of the fault suites.
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

KAFKA_HEADER = (
    "fault",
    "injected",
    "awarded",
    "lost as is",
    "lost with the settings block",
    "lost after one republish",
    "note",
)

# Test name -> row, filled as the tests run.
ROWS = {}
KAFKA_ROWS = {}


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


@dataclass(frozen=True)
class KafkaRow:
    """A line of the table for Kafka; the counts are of awards, or of events, and of those that are lost."""

    fault: str
    injected: str
    awarded: int
    as_is: int | str
    block: int | str
    lost_after: int | str
    note: str


def render(rows, header=HEADER):
    """
    Render a table as Markdown.

    Args:
        rows (iterable[Row]): its lines.
        header (tuple[str]): what its columns are called.

    Returns:
        list[str]: lines of text.
    """
    cells = [header, *([str(cell) for cell in astuple(row)] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    lines = [f"| {' | '.join(row)} |" for row in padded]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
