"""
Rounds, for all measurements: each measures everything once, in another order, so that a noisy machine hits all alike.
"""

import random
import statistics
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Way = TypeVar("Way")
Result = dict[str, Any]
# The median, low, high and values of what was measured once a round.
Summary = dict[str, Any]
# Title, header and rows of a table.
Table = tuple[str, list[str], list[list[Any]]]


def take_turns(ways: Iterable[Way], rounds: int, advance: Callable[[], object] = lambda: None) -> Iterator[Way]:
    """Yield each way once a round, and call ``advance`` after each turn."""
    for number in range(rounds):
        order = list(ways)
        # The same in each run, and no way always after the same other one.
        random.Random(number).shuffle(order)
        for way in order:
            yield way
            advance()


def summarize(values: Iterable[float]) -> Summary:
    """Summarize values, one for each round."""
    values = list(values)
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "values": values}


def compare(summary: Summary, other: Summary) -> Summary:
    """Summarize the ratios of two summaries, taken within each round."""
    return summarize(one / two for one, two in zip(summary["values"], other["values"], strict=True))


def find(result: Result, **values: Any) -> dict[str, Any]:
    """Return the one row of a result that has these values."""
    [row] = [row for row in result["rows"] if values.items() <= row.items()]
    return row


def target(text: str, measured: Summary | float, most: float | None = None, least: float | None = None) -> Result:
    """Hold a summary, of which the median counts, or a number against the most or the least that it is to be."""
    value = measured["median"] if isinstance(measured, dict) else measured
    met = (most is None or value <= most) and (least is None or value >= least)
    return {"text": text, "measured": measured, "most": most, "least": least, "met": met}
