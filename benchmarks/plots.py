"""Draws what one event costs its caller, the picture in README.md, for ``make benchmark``."""

from pathlib import Path

from matplotlib import rcParams
from matplotlib.figure import Figure

from benchmarks.measurements import event
from benchmarks.rounds import Result

rcParams["font.size"] = 9
# Of each way to send an event, its name and the colour of its bars.
BARS = {
    "emitter": ("emitter", "#c8553d"),
    "inline": ("the same, inline", "#5b8db8"),
    "bare": ("send_event, built before", "#9aa5b1"),
    "raw": ("XADD, same bytes", "#3d405b"),
}
WIDTH = 0.2


def draw(result: Result, path: Path) -> None:
    """Draw a bar for each way on each bus that has it, with the range of its rounds."""
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    for place, (way, (name, color)) in enumerate(BARS.items()):
        rows = [row for row in result["rows"] if (row["way"], row["state"]) == (way, event.READ)]
        found = [row["microseconds"] for row in rows]
        axes.bar(
            [event.BUSES.index(row["bus"]) + (place - 1.5) * WIDTH for row in rows],
            [one["median"] for one in found],
            WIDTH,
            yerr=[[one["median"] - one["low"] for one in found], [one["high"] - one["median"] for one in found]],
            error_kw={"linewidth": 0.8},
            color=color,
            label=name,
        )
    axes.set_xticks(range(len(event.BUSES)), event.BUSES)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel("µs")
    axes.set_title("One event, for its caller")
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
