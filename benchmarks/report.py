"""Writes what was measured, and on what machine: Markdown tables, for ``make benchmark``."""

import os
import platform
import re
from pathlib import Path
from typing import Any

from benchmarks.measurements import event, fleet, repair, task
from benchmarks.rounds import Result, show

# Each measures, and turns its result into tables.
PARTS: dict[str, Any] = {"one-event": event, "one-task": task, "fleet": fleet, "repair": repair}


def describe_machine() -> dict[str, str]:
    cpu, memory = (Path(f"/proc/{name}").read_text(encoding="utf-8") for name in ("cpuinfo", "meminfo"))
    [model, *_] = re.findall(r"model name\s*: (.*)", cpu) or [platform.machine()]
    [kilobytes] = re.findall(r"MemTotal:\s+(\d+) kB", memory)
    return {
        "processor": f"{model}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{int(kilobytes) / 2**20:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }


def table(header: list[str], rows: list[list[Any]]) -> str:
    """Render a table in Markdown; a column is to the right unless a word begins it."""
    shown = [[show(value) for value in row] for row in rows]
    marks = ["---" if cell[0].isalpha() else "---:" for cell in shown[0]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, marks, *shown)).replace("| --- |", "|---|")


def render(result: Result) -> str:
    """Render all that was measured as a Markdown page."""
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
        "- the libraries: as `requirements/edx/development.txt` pinned them that day",
        "",
        "A value in bold misses the target in the head of its column.",
        "The emitter's error handling takes some microseconds an event, which shows where nothing is published. A task",
        "on Redis or Kafka is longer by the time in openedx-events and in the client. The same code inline is too.",
        "Two processes repair less than twice as fast as one where they share two cores with Credentials.",
        "",
        "![One event](one-event.png)",
    ]
    for name, part in PARTS.items():
        for title, header, rows in part.tabulate(result[name]):
            lines += ["", f"## {title}", "", table(header, rows)]
    return "\n".join(lines) + "\n"
