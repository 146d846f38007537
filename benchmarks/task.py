"""
One task: what publishing adds to awarding a learner's program certificates, through HTTP.
"""

import statistics

from benchmarks.rounds import compare, summarize, take_turns, target
from benchmarks.sites import MODES, OFF, SIZES, course_run, make_known
from testbed.servers.processes import ProcessError


def measure(sites, rounds, repeats, advance):
    """
    Measure.

    Args:
        sites (dict[str, Site]): as ``benchmarks.sites.start`` returns them.
        rounds (int): how many rounds.
        repeats (dict[int, int]): for each number of programs, the learners of a round.
        advance (callable): called after each round.

    Returns:
        dict: the tasks' seconds and SQL queries.
    """
    first = sites[OFF]
    for size in SIZES:
        count = (rounds + 1) * repeats[size] * len(MODES)
        first.do("fill", prefix=f"task{size}-", count=count, course_run=course_run(size))
        make_known(first, [f"task{size}-{number}" for number in range(count)])
    places = dict.fromkeys(SIZES, 0)

    def run(mode, size):
        places[size] += 1
        return sites[mode].do("run_task", username=f"task{size}-{places[size] - 1}")

    for mode in MODES:
        run(mode, SIZES[0])  # what the first one costs does not count
    ways = [(mode, size) for mode in MODES for size in SIZES]
    seconds, emitter, queries = ({way: [] for way in ways} for _ in range(3))
    for _ in range(rounds):
        for size in SIZES:
            found = {mode: [] for mode in MODES}
            for mode in take_turns(MODES, repeats[size]):
                found[mode].append(run(mode, size))
            for mode, results in found.items():
                seconds[mode, size].append(statistics.median(result["seconds"] for result in results))
                shares = (result["emitter"] / result["seconds"] for result in results)
                emitter[mode, size].append(statistics.median(shares))
                queries[mode, size] += [result["queries"] for result in results]
        advance()
    awarded = sum(places[size] * size for size in SIZES)
    found = sum(credential["username"].startswith("task") for credential in first.credentials.credentials())
    if found != awarded:
        raise ProcessError(f"Credentials has {found} certificates of {awarded}")
    return {
        "latency": first.latency,
        "rows": [
            {
                "mode": mode,
                "programs": size,
                "seconds": summarize(seconds[mode, size]),
                "emitter": summarize(emitter[mode, size]),
                "queries": sorted(set(queries[mode, size])),
            }
            for mode, size in ways
        ],
    }


def find(result, mode, size):
    """Return the row of a mode and a number of programs."""
    [row] = [row for row in result["rows"] if (row["mode"], row["programs"]) == (mode, size)]
    return row


def judge(result):
    """Hold the result against the targets."""
    targets = []
    for mode in MODES[1:]:
        for size in SIZES:
            seconds, without = (find(result, way, size)["seconds"]["values"] for way in (mode, OFF))
            targets.append(
                target(f"one task, new programs: {size}, {mode} / {OFF}", compare(seconds, without), most=1.05)
            )
    more = [
        max(find(result, mode, size)["queries"]) - min(find(result, OFF, size)["queries"])
        for mode in MODES[1:]
        for size in SIZES
    ]
    targets.append(target("one task of 1, 10 or 100 programs: SQL queries more", max(more), most=0))
    return targets


def tabulate(result):
    """Return the result as tables: title, header and rows of each."""
    rows = []
    for row in result["rows"]:
        without = find(result, OFF, row["programs"])["seconds"]["values"]
        milliseconds = summarize([1000 * value for value in row["seconds"]["values"]])
        ratio = compare(row["seconds"]["values"], without)
        share = summarize([100 * value for value in row["emitter"]["values"]])
        rows.append([row["programs"], row["mode"], milliseconds, ratio, share, ", ".join(map(str, row["queries"]))])
    header = ["new programs", "events", "ms", f"÷ {OFF}", "in the emitter, %", "SQL queries"]
    return [("One task", header, sorted(rows, key=lambda row: row[0]))]
