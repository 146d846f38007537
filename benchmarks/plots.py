"""Draws what was measured, as PNG and as SVG, for ``make benchmark``."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import sites
from benchmarks.measurements import event, fleet
from benchmarks.rounds import Result, Summary, find, summarize

# The same file for the same figures.
rcParams.update({"svg.hashsalt": "benchmark", "svg.fonttype": "none", "font.size": 9})

RED, BLUE, GREY = "#c8553d", "#5b8db8", "#9aa5b1"
COLORS = {sites.OFF: GREY, sites.IN_PROCESS: BLUE, sites.REDIS: RED, sites.KAFKA: "#6a994e"}
WAY_COLORS = {"emitter": RED, "inline": BLUE, "bare": GREY, "raw": "#3d405b"}
WAY_NAMES = event.WAYS | {"bare": "send_event, built before", "raw": "XADD, same bytes"}


def draw(result: Result, directory: Path) -> None:
    for name, plot, width in (
        ("one-event", _event, 9),
        ("one-task", _task, 9),
        ("fleet", _fleet, 5.5),
        ("repair", _repair, 5.5),
    ):
        figure = Figure(figsize=(width, 3.4), layout="constrained")
        plot(figure, result[name])
        for suffix in ("png", "svg"):
            metadata = {"Date": None} if suffix == "svg" else {"Software": None}
            figure.savefig(directory / f"{name}.{suffix}", dpi=110, metadata=metadata)


def _bars(
    axes: Axes,
    groups: Sequence[Any],
    colors: dict[str, str],
    value: Callable[[Any, str], Summary | None],
) -> None:
    """Draw a bar of each colour in each group that has it, with the range of its rounds."""
    width = 0.8 / len(colors)
    for place, (name, color) in enumerate(colors.items()):
        found = [(x, summary) for x, group in enumerate(groups) if (summary := value(group, name))]
        medians = [summary["median"] for _, summary in found]
        axes.bar(
            [x + (place - (len(colors) - 1) / 2) * width for x, _ in found],
            medians,
            width,
            yerr=[
                [median - summary["low"] for median, (_, summary) in zip(medians, found, strict=True)],
                [summary["high"] - median for median, (_, summary) in zip(medians, found, strict=True)],
            ],
            error_kw={"linewidth": 0.8},
            color=color,
            label=name,
        )
    axes.set_xticks(range(len(groups)), groups)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, place: Any, names: dict[str, str] | None = None) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    shown = [names[label] for label in labels] if names else labels
    figure.legend(handles, shown, loc=place, ncols=len(labels), frameon=False)


def _event(figure: Figure, result: Result) -> None:
    axes = figure.subplots()

    def value(bus: str, way: str) -> Summary | None:
        if way == "raw" and bus != sites.REDIS:
            return None
        return find(result, bus=bus, way=way, state=event.READ)["microseconds"]

    _bars(axes, event.BUSES, WAY_COLORS, value)
    axes.set_ylabel("µs")
    axes.set_title("One event, for its caller")
    _legend(figure, "outside lower left", WAY_NAMES)


def _task(figure: Figure, result: Result) -> None:
    def milliseconds(size: int, mode: str) -> Summary:
        return summarize(1000 * value for value in find(result, mode=mode, programs=size)["seconds"]["values"])

    for axes, size in zip(figure.subplots(1, len(sites.SIZES)), sites.SIZES, strict=True):
        _bars(axes, [size], COLORS, milliseconds)
        axes.set_xticks([0], [""])
        axes.set_title(f"{size} new program{'s' if size > 1 else ''}")
    figure.axes[0].set_ylabel("ms a task")
    _legend(figure, "outside lower center")


def _fleet(figure: Figure, result: Result) -> None:
    axes = figure.subplots()
    numbers = sorted({row["processes"] for row in result["rows"]})
    colors = {mode: COLORS[mode] for mode in fleet.MODES}
    _bars(axes, numbers, colors, lambda number, mode: find(result, mode=mode, processes=number)["learners_per_second"])
    axes.set_xlabel("processes of the worker")
    axes.set_ylabel("learners a second")
    axes.legend(frameon=False)


def _repair(figure: Figure, result: Result) -> None:
    axes = figure.subplots()
    ways = [row["way"] for row in result["rows"]]
    _bars(axes, ways, {"repair": RED}, lambda way, _name: find(result, way=way)["learners_per_second"])
    axes.set_xlabel("run by the command, or by so many processes of a worker")
    axes.set_ylabel("learners a second")
