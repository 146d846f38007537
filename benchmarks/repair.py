"""
Repair: what announcing everything again costs, and what an hour's repair does, on sites of several sizes.
"""

import statistics

from benchmarks.rounds import compare, summarize, take_turns, target
from testbed.large import RepairSite
from testbed.processes import ProcessError

ALL = "`--all`"
HOUR = "an hour's repair"
OPTIONS = {ALL: {"all": True}, HOUR: {"recently_modified": True, "start_date": "1h"}}
# Certificates above which everything is announced once only.
ONCE = 20_000
# Events of a loop that only calls the emitter, before a run and after it.
LOOP = 500


class MeasuredRepairSite(RepairSite):
    """A site of some size, whose LMS is measured."""

    shell_module = "benchmarks.lms"
    patience = 3600


def measure(processes, directory, sizes, changed, rounds, advance):
    """
    Measure.

    Args:
        processes (Processes): starts what it takes.
        directory (Path): where databases go.
        sizes (tuple[int]): program certificates of each site.
        changed (int): learners who changed within the hour.
        rounds (int): how many rounds.
        advance (callable): called after each run.

    Returns:
        dict: requests, seconds, those of the processor, peak memory and events of each kind of run and size.
    """
    sites = {}
    for size in sizes:
        (directory / str(size)).mkdir()
        sites[size] = MeasuredRepairSite(processes, directory / str(size), size, changed)
    ways = [(kind, size) for size in sizes for kind in OPTIONS]
    measured = {way: [] for way in ways}
    for place, (kind, size) in enumerate(take_turns(ways, rounds)):
        if kind == HOUR or size <= ONCE or place < len(ways):
            measured[kind, size].append(_run(sites[size], kind, size))
            advance()
    rows = []
    for kind, size in ways:
        runs = measured[kind, size]
        rows.append(
            {
                "run": kind,
                "certificates": size,
                "requests": runs[0]["requests"],
                "events": runs[0]["events"],
                "peak": summarize([run["peak"] for run in runs]),
                "seconds": summarize([run["seconds"] for run in runs]),
                "cpu": summarize([run["cpu"] for run in runs]),
                "loop": summarize([run["loop"] for run in runs]),
            }
        )
    return {"changed": changed, "rows": rows}


def _renew(site):
    """Have a new process do what comes, which has not had anybody else's memory."""
    site.shell.stop()
    site.processes.forget(site.shell)
    site.start_shell()


def _run(site, kind, size):
    """Run the command; check what it did."""
    _renew(site)
    # What the first run in a process costs is no matter of certificates.
    site.do("republish", options={"usernames": ["learner0"]})
    loops = [site.do("emit", count=LOOP)]
    requests, published = site.count_lists(), site.count_added()
    result = site.do("republish", options=OPTIONS[kind])
    result["requests"] = site.count_lists() - requests
    result["events"] = site.count_added() - published
    loops.append(site.do("emit", count=LOOP))
    result["loop"] = statistics.mean(loop["cpu"] / loop["events"] for loop in loops)
    due = site.size if kind == ALL else site.changed
    if result["events"] != due:
        raise ProcessError(f"{kind} with {size} certificates sent {result['events']} events of {due}")
    return result


def find(result, kind, size):
    """Return the row of a kind of run and a size."""
    [row] = [row for row in result["rows"] if (row["run"], row["certificates"]) == (kind, size)]
    return row


def _sizes(result):
    return sorted({row["certificates"] for row in result["rows"]})


def cpu_each(row):
    """Return the seconds of the processor for each event of a row, a value a run."""
    return [cpu / row["events"] for cpu in row["cpu"]["values"]]


def judge(result):
    """Hold the result against the targets."""
    small, *_, large = _sizes(result)
    targets = []
    for kind in OPTIONS:
        rows = [find(result, kind, size) for size in (large, small)]
        more, fewer = map(cpu_each, rows)
        # The largest may have had one run only.
        ratio = compare(more, fewer) if len(more) == len(fewer) else more[0] / summarize(fewer)["median"]
        targets.append(target(f"{kind}, our CPU an event: {large:,} certificates / {small:,}", ratio, most=1.2))
        peaks = [row["peak"]["high"] for row in result["rows"] if row["run"] == kind]
        targets.append(
            target(
                f"{kind}, {small:,} to {large:,} certificates: growth of the peak, MiB",
                max(peaks) - min(peaks),
                most=20,
            )
        )
    requests = {row["requests"] for row in result["rows"] if row["run"] == HOUR}
    targets.append(target(f"{HOUR} of {result['changed']} learners: requests", max(requests), most=result["changed"]))
    for row in (find(result, ALL, size) for size in _sizes(result)):
        values = compare(cpu_each(row), row["loop"]["values"])
        targets.append(
            target(f"{ALL} of {row['certificates']:,}, our CPU an event / the emitter's alone", values, most=1.5)
        )
    return targets


def tabulate(result):
    """Return the result as tables: title, header and rows of each."""
    rows = [
        [
            row["certificates"],
            row["run"],
            row["requests"],
            row["events"],
            row["seconds"],
            summarize([row["events"] / seconds for seconds in row["seconds"]["values"]]),
            row["cpu"],
            summarize([1000 * cpu for cpu in cpu_each(row)]),
            summarize([1000 * cpu for cpu in row["loop"]["values"]]),
            row["peak"]["high"],
        ]
        for row in sorted(result["rows"], key=lambda row: row["certificates"])
    ]
    header = [
        "certificates",
        "run",
        "requests",
        "events",
        "s",
        "events/s",
        "CPU s",
        "CPU ms an event",
        "the emitter alone",
        "peak MiB",
    ]
    return [("Repair", header, rows)]
