"""One task: what publishing adds to awarding a learner's program certificates, through HTTP."""

import statistics
from collections import defaultdict
from itertools import product
from typing import Any

from benchmarks.rounds import Advance, Result, Table, compare, find, held, summarize, take_turns
from benchmarks.sites import MODES, OFF, SIZES, Sites, check_awarded, fill


def measure(sites: Sites, rounds: int, advance: Advance, *, repeats: dict[int, int]) -> Result:
    """Measure the tasks' seconds and SQL queries; ``repeats`` is the learners of a round by the number of programs."""
    first = sites[OFF]
    counts = {size: (rounds * repeats[size] + 1) * len(MODES) for size in SIZES}
    learners = {size: iter(fill(first, f"task{size}-", count, size)) for size, count in counts.items()}

    def run(mode: str, size: int) -> dict[str, Any]:
        return sites[mode].do("run_task", username=next(learners[size]))

    for mode, size in product(MODES, SIZES):
        run(mode, size)  # what the first one costs does not count
    seconds, emitter = defaultdict(list), defaultdict(list)
    queries: dict[tuple[str, int], set[int]] = defaultdict(set)
    for _ in range(rounds):
        for size in SIZES:
            found: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
            for mode in take_turns(MODES, repeats[size]):
                found[mode].append(run(mode, size))
            for mode, results in found.items():
                seconds[mode, size].append(statistics.median(result["seconds"] for result in results))
                shares = (result["emitter"] / result["seconds"] for result in results)
                emitter[mode, size].append(statistics.median(shares))
                queries[mode, size] |= {result["queries"] for result in results}
        advance()
    check_awarded(first, "task", sum(size * count for size, count in counts.items()))
    rows = [
        {
            "mode": mode,
            "programs": size,
            "seconds": summarize(seconds[mode, size]),
            "emitter": summarize(emitter[mode, size]),
            "queries": sorted(queries[mode, size]),
        }
        for mode, size in product(MODES, SIZES)
    ]
    return {"latency": first.latency, "rows": rows}


def tabulate(result: Result) -> list[Table]:
    rows = []
    for row in sorted(result["rows"], key=lambda row: row["programs"]):
        without = find(result, mode=OFF, programs=row["programs"])
        milliseconds = summarize(1000 * value for value in row["seconds"]["values"])
        ratio = held(compare(row["seconds"], without["seconds"]), most=1.05)
        share = summarize(100 * value for value in row["emitter"]["values"])
        queries, more = max(row["queries"]), max(row["queries"]) - min(without["queries"])
        rows.append([row["programs"], row["mode"], milliseconds, ratio, share, queries, held(more, most=0)])
    header = ["new programs", "events", "ms", f"÷ {OFF}, ≤ 1.05", "in the emitter, %", "SQL queries", "more, ≤ 0"]
    return [("One task", header, rows)]
