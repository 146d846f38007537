"""Draws what one event costs its caller, the picture in README.md, for ``make benchmark``."""

from pathlib import Path

from matplotlib import rcParams
from matplotlib.figure import Figure

from benchmarks.measurements import event
from benchmarks.rounds import Result, find
from benchmarks.sites import IN_PROCESS, KAFKA, REDIS

rcParams["font.size"] = 9
BUSES = (IN_PROCESS, REDIS, KAFKA)
COLORS = {"emitter": "#c8553d", "inline": "#5b8db8"}
WIDTH = 0.3


def draw(result: Result, path: Path) -> None:
    """Draw a bar for each way on each bus, with the range of its rounds."""
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    for place, (way, color) in enumerate(COLORS.items()):
        found = [find(result, bus=bus, way=way)["microseconds"] for bus in BUSES]
        axes.bar(
            [number + (place - 0.5) * WIDTH for number in range(len(BUSES))],
            [one["median"] for one in found],
            WIDTH,
            yerr=[[one["median"] - one["low"] for one in found], [one["high"] - one["median"] for one in found]],
            error_kw={"linewidth": 0.8},
            color=color,
            label=event.WAYS[way],
        )
    axes.set_xticks(range(len(BUSES)), BUSES)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel("µs")
    axes.set_title("One event, for its caller")
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
