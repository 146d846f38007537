"""
Draws what was measured, as PNG and as SVG.
"""

from matplotlib import rcParams
from matplotlib.figure import Figure

from benchmarks import event, fleet, repair, sites, task

# The same file for the same figures.
rcParams.update({"svg.hashsalt": "benchmark", "svg.fonttype": "none", "font.size": 9})

COLORS = {sites.OFF: "#9aa5b1", sites.IN_PROCESS: "#5b8db8", sites.REDIS: "#c8553d", sites.KAFKA: "#6a994e"}
WAY_COLORS = {"emitter": "#c8553d", "inline": "#5b8db8", "bare": "#9aa5b1", "raw": "#3d405b"}


def draw(result, directory):
    """
    Draw a plot of each part.

    Args:
        result (dict): the results.
        directory (Path): where the files go.
    """
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


def _bars(axes, groups, series, value, colors):
    """Draw bars in groups, each with the range of its rounds."""
    width = 0.8 / len(series)
    for place, name in enumerate(series):
        found = [(x, value(group, name)) for x, group in enumerate(groups)]
        found = [(x, summary) for x, summary in found if summary]
        axes.bar(
            [x + (place - (len(series) - 1) / 2) * width for x, _ in found],
            [summary["median"] for _, summary in found],
            width,
            yerr=[
                [summary["median"] - summary["low"] for _, summary in found],
                [summary["high"] - summary["median"] for _, summary in found],
            ],
            error_kw={"linewidth": 0.8},
            color=colors[name],
            label=name,
        )
    axes.set_xticks(range(len(groups)), groups)
    axes.spines[["top", "right"]].set_visible(False)


def _event(figure, result):
    left, right = figure.subplots(1, 2, width_ratios=[1, 1])

    def value(bus, way):
        rows = [row for row in result["rows"] if (row["bus"], row["way"], row["state"]) == (bus, way, event.READ)]
        return rows[0]["microseconds"] if rows else None

    _bars(left, event.BUSES, list(event.WAYS), value, WAY_COLORS)
    left.set_ylabel("µs")
    left.set_title("One event, for its caller")
    names = {**event.WAYS, "bare": "send_event, built before", "raw": "XADD, same bytes"}
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles, [names[label] for label in labels], loc="outside lower left", ncols=len(labels), frameon=False
    )
    shares = list(reversed(result["profile"]["shares"].items()))
    right.barh([name.partition(" (")[0] for name, _ in shares], [100 * share for _, share in shares], color="#c8553d")
    right.set_xlabel("% of the time")
    right.set_title("Where it goes, on Redis")
    right.spines[["top", "right"]].set_visible(False)


def _task(figure, result):
    for axes, size in zip(figure.subplots(1, len(sites.SIZES)), sites.SIZES, strict=True):
        rows = {mode: task.find(result, mode, size)["seconds"] for mode in sites.MODES}
        _bars(axes, [""], list(rows), lambda _group, mode, rows=rows: _scaled(rows[mode], 1000), COLORS)
        axes.set_title(f"{size} new program{'s' if size > 1 else ''}")
    figure.axes[0].set_ylabel("ms a task")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)


def _fleet(figure, result):
    axes = figure.subplots()
    numbers = sorted({row["processes"] for row in result["rows"]})

    def value(number, mode):
        return fleet.find(result, mode, number)["learners_per_second"]

    _bars(axes, numbers, fleet.MODES, value, COLORS)
    axes.set_xlabel("processes of the worker")
    axes.set_ylabel("learners a second")
    axes.legend(frameon=False)


def _repair(figure, result):
    axes = figure.subplots()
    ways = [row["way"] for row in result["rows"]]
    _bars(axes, ways, ["repair"], lambda way, _name: repair.find(result, way), {"repair": "#c8553d"})
    axes.set_xlabel("run by the command, or by so many processes of a worker")
    axes.set_ylabel("learners a second")


def _scaled(summary, factor):
    return {name: summary[name] * factor for name in ("median", "low", "high")}
