"""
``make benchmark``: measures one event, one task, a worker fleet and a repair, with real processes on loopback.

It prints tables, and writes them with the figures and a picture to ``benchmarks/results``; with ``QUICK=1``, which
takes two minutes and is rough, to ``benchmarks/results/quick``.
"""

import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import plots, report, sites
from benchmarks.measurements import repair
from benchmarks.rounds import Advance, Result
from testbed.servers.processes import ProcessError, Processes

RESULTS = Path(__file__).parent / "results"
# Of each part, what it takes beside the sites: in full, and quickly.
FULL: dict[str, Any] = {
    "rounds": 7,
    "one-event": {"blocks": 10},
    "one-task": {"repeats": {1: 15, 10: 5, 100: 3}},
    "fleet": {"processes": (1, 2, 4), "learners": 8, "blocks": 4},
    "repair": {"learners": 300, "workers": (1, 2, 4)},
}
QUICK: dict[str, Any] = {
    "rounds": 2,
    "one-event": {"blocks": 4},
    "one-task": {"repeats": {1: 3, 10: 1, 100: 1}},
    "fleet": {"processes": (1, 2), "learners": 6, "blocks": 1},
    "repair": {"learners": 100, "workers": (1, 2)},
}


def step(name: str, total: int) -> Advance:
    """Return what to call after each step of a part: it prints how many of them are done."""
    done = itertools.count(1)
    return lambda: print(f"{name}: {next(done)} of {total}", file=sys.stderr)


def measure(size: dict[str, Any], directory: Path, processes: Processes) -> Result:
    """Measure all parts."""
    rounds, results = size["rounds"], {}
    made = sites.start(processes, directory)
    for name in ("one-event", "one-task", "fleet"):
        results[name] = report.PARTS[name].measure(made, rounds, step(name, rounds), **size[name])
    processes.stop()
    advance = step("repair", rounds * (1 + len(size["repair"]["workers"])))
    own = directory / "repair"  # a site finds the logs of its workers in its own directory
    own.mkdir()
    with Processes(own) as running:
        results["repair"] = repair.measure(running, own, rounds, advance, **size["repair"])
    return results


def main() -> int:
    """Measure, print and write; return 1 if it could not be measured, 130 if it was interrupted."""
    quick = os.environ.get("QUICK", "") not in ("", "0")
    size = QUICK if quick else FULL
    result: Result = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "quick": quick,
        "rounds": size["rounds"],
        "machine": report.describe_machine(),
    }
    if (load := os.getloadavg()[0]) > 0.5:
        print(f"The machine is busy (load {load:.1f}): the ranges will be wide.", file=sys.stderr)
    directory = tempfile.mkdtemp(prefix="benchmark-")
    try:
        with Processes(directory) as processes:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, processes.interrupt)
            result |= measure(size, Path(directory), processes)
    except ProcessError as exc:
        print(f"error: {exc}; the logs are in {directory}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        shutil.rmtree(directory)
        print("error: interrupted", file=sys.stderr)
        return 130
    shutil.rmtree(directory)
    page = report.render(result)
    written = RESULTS / "quick" if quick else RESULTS
    written.mkdir(parents=True, exist_ok=True)
    (written / "results.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (written / "README.md").write_text(page, encoding="utf-8")
    plots.draw(result["one-event"], written / "one-event.png")
    print(page)
    print(f"Written to {os.path.relpath(written)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
