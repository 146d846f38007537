"""
Writes what was measured: Markdown tables.
"""

from benchmarks import event, fleet, repair, task

PARTS = {"one-event": event, "one-task": task, "fleet": fleet, "repair": repair}


def judge(result):
    """Hold the results of all parts against their targets."""
    return [target for name, part in PARTS.items() for target in part.judge(result[name])]


def show(value):
    """
    Show a value of a table.

    Args:
        value (object): a summary, of which median and range are shown, a number, or a text.

    Returns:
        str: it, with three digits that count.
    """
    if isinstance(value, dict):
        low, high = show(value["low"]), show(value["high"])
        return show(value["median"]) + (f" ({low}–{high})" if len(value["values"]) > 1 else "")
    if isinstance(value, float):
        if abs(value) >= 100:
            return f"{value:,.0f}"
        return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(header, rows):
    """
    Render a table.

    Args:
        header (list[str]): its columns.
        rows (list[list]): its rows, as ``show`` takes their values.

    Returns:
        str: it in Markdown; a column is to the right unless a text begins it.
    """
    shown = [[show(value) for value in row] for row in rows]
    marks = ["---" if rows and isinstance(rows[0][place], str) else "---:" for place in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, marks, *shown)).replace("| --- |", "|---|")


def targets_table(targets):
    """Render what was held against a target."""
    rows = []
    for item in targets:
        limit = f"≤ {item['most']}" if item["least"] is None else f"≥ {item['least']}"
        rows.append([item["text"], item["measured"], limit, "met" if item["met"] else "**missed**"])
    return table(["what", "measured", "target", ""], rows)


def render(result):
    """
    Render all that was measured.

    Args:
        result (dict): the results of all parts, and the targets.

    Returns:
        str: a Markdown page.
    """
    lines = [
        "# What publishing costs",
        "",
        f"Measured by `make benchmark{' QUICK=1' if result['quick'] else ''}` on {result['date']}, in "
        f"{result['rounds']} rounds: the median, and the lowest and the highest. Ratios are taken within each round.",
        "",
        "- without the change: the two calls in the tasks do nothing",
        "- in-process only: as shipped, the two events are disabled on the event bus",
        "- Redis, Kafka: they are enabled on it (a Valkey; librdkafka's mock cluster, which is no Apache Kafka)",
        f"- a request of Credentials takes {1000 * result['one-task']['latency']:.1f} ms",
        *(f"- {name}: {value}" for name, value in result["machine"].items()),
        "",
        "## Targets",
        "",
        targets_table(result["targets"]),
        "",
        "The emitter's error handling takes some microseconds an event, which shows where nothing is published. A task",
        "on Redis or Kafka is longer by the time in openedx-events and in the client. The same code inline is too.",
        "Two processes repair less than twice as fast as one where they share two cores with Credentials.",
    ]
    for name, part in PARTS.items():
        lines += ["", f"![{name}]({name}.png)"]
        for title, header, rows in part.tabulate(result[name]):
            lines += ["", f"## {title}", "", table(header, rows)]
    return "\n".join(lines) + "\n"
