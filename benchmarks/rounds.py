"""
Rounds, for all measurements: each measures everything once, in another order, so that a noisy machine hits all alike.
"""

import math
import random
import statistics
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Result = dict[str, Any]
# The median, low, high and values of what was measured once a round.
Summary = dict[str, Any]
# Title, header and rows of a table.
Table = tuple[str, list[str], list[list[Any]]]
# To call after each round.
Advance = Callable[[], object]


def take_turns(ways: Iterable[Any], rounds: int, advance: Advance = lambda: None) -> Iterator[Any]:
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


def show(value: object) -> str:
    """Show a summary (its median and range), a number or a text, with three digits that count."""
    if isinstance(value, dict):
        low, high = show(value["low"]), show(value["high"])
        return show(value["median"]) + (f" ({low}–{high})" if len(value["values"]) > 1 else "")
    if isinstance(value, float):
        if abs(value) >= 100:
            return f"{value:,.0f}"
        return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def held(measured: Summary | float, most: float = math.inf, least: float = -math.inf) -> str:
    """Show a summary, of which the median counts, or a number; in bold if it misses its target."""
    value = measured["median"] if isinstance(measured, dict) else measured
    return show(measured) if least <= value <= most else f"**{show(measured)}**"
