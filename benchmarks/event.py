"""
One event: what sending it costs its caller.
"""

import statistics

from benchmarks.rounds import compare, summarize, take_turns, target
from benchmarks.sites import IN_PROCESS, KAFKA, OFF, REDIS, SIZES, course_run
from testbed.processes import ProcessError

PREFIX = "event"
BUSES = (IN_PROCESS, REDIS, KAFKA)
WAYS = {
    "emitter": "emitter",
    "inline": "the same, inline",
    "bare": "`send_event`, payload built beforehand",
    "raw": "`XADD` of the same bytes",
}
# Those that read the learner's profile, unless that has been done.
READERS = ("emitter", "inline")
# Events of one way, before it is another's turn.
BLOCK = 25


def measure(sites, rounds, blocks, advance):
    """
    Measure.

    Args:
        sites (dict[str, Site]): as ``benchmarks.sites.start`` returns them.
        rounds (int): how many rounds.
        blocks (int): blocks of events for each way and round.
        advance (callable): called after each round.

    Returns:
        dict: what each way on each bus costs, and where the time goes.
    """
    sites[OFF].do("fill", prefix=PREFIX, count=1000, course_run=course_run(SIZES[0]))
    before = count_received(sites)
    sent = dict.fromkeys(BUSES, 0)
    ways = []
    for bus in BUSES:
        names = [name for name in sites[bus].do("warm_up", prefix=PREFIX) if name != "raw" or bus == REDIS]
        sent[bus] += 1 + sum(name != "raw" for name in names)
        ways += [(bus, name, fresh) for name in names for fresh in (False, True)[: 1 + (name in READERS)]]
    work = {}
    for bus, name, fresh in ways:
        work[bus, name, fresh] = sites[bus].do("count_work", way=name, prefix=PREFIX, count=100, fresh=fresh)
        sent[bus] += 200 * (name != "raw")
    samples, cpu = {way: [] for way in ways}, {way: [] for way in ways}
    for _ in range(rounds):
        found, used = {way: [] for way in ways}, dict.fromkeys(ways, 0)
        # Within a round they take turns, too: what else the machine does mostly lasts longer than one.
        for bus, name, fresh in take_turns(ways, blocks):
            result = sites[bus].do("send", way=name, prefix=PREFIX, count=BLOCK, fresh=fresh)
            found[bus, name, fresh] += result["samples"]
            used[bus, name, fresh] += result["cpu"]
            sent[bus] += BLOCK * (name != "raw")
        for way in ways:
            samples[way].append(statistics.median(found[way]))
            cpu[way].append(used[way] / (blocks * BLOCK))
        advance()
    profile = sites[REDIS].do("profile", way="emitter", prefix=PREFIX, seconds=3)
    sent[REDIS] += profile["events"]
    received = count_received(sites)
    for bus in received:
        if received[bus] - before[bus] != sent[bus]:
            raise ProcessError(f"{bus} received {received[bus] - before[bus]} events of {sent[bus]}")
    rows = [
        {
            "bus": bus,
            "way": name,
            "fresh": fresh,
            "microseconds": summarize(samples[bus, name, fresh]),
            "cpu_microseconds": summarize(cpu[bus, name, fresh]),
            **work[bus, name, fresh],
        }
        for bus, name, fresh in ways
    ]
    return {"rows": rows, "profile": profile}


def count_received(sites):
    """Count what the buses have received."""
    return {REDIS: sites[REDIS].count_added(), KAFKA: sites[KAFKA].count_published()}


def find(result, bus, way, fresh=False):
    """Return the row of a way to send an event."""
    [row] = [row for row in result["rows"] if (row["bus"], row["way"], row["fresh"]) == (bus, way, fresh)]
    return row


def judge(result):
    """Hold the result against the targets."""
    targets = []
    for bus in BUSES:
        for fresh in (False, True):
            emitter, inline = (find(result, bus, way, fresh)["microseconds"]["values"] for way in READERS)
            name = f"one event, {bus}, {'profile to be read' if fresh else 'profile read before'}: emitter / inline"
            targets.append(target(name, compare(emitter, inline), most=1.05))
    for fresh in (False, True):
        queries = max(row["queries"] for row in result["rows"] if row["fresh"] == fresh)
        name = f"one event, {'profile to be read' if fresh else 'profile read before'}: SQL queries"
        targets.append(target(name, queries, most=int(fresh)))
    return targets


def tabulate(result):
    """Return the result as tables: title, header and rows of each."""
    raw = find(result, REDIS, "raw")["microseconds"]["values"]
    rows = []
    for row in result["rows"]:
        way = WAYS[row["way"]] + (", the learner's first" if row["fresh"] else "")
        inline = row["bus"], "inline", row["fresh"]
        rows.append(
            [
                row["bus"],
                way,
                row["microseconds"],
                compare(row["microseconds"]["values"], find(result, *inline)["microseconds"]["values"]),
                compare(row["microseconds"]["values"], raw),
                row["cpu_microseconds"]["median"],
                row["queries"],
                row["allocations"],
            ]
        )
    header = ["bus", "sent by", "µs", "÷ inline", "÷ `XADD`", "CPU µs", "SQL queries", "allocations"]
    shares = [[place, f"{share:.0%}"] for place, share in result["profile"]["shares"].items()]
    return [("One event", header, rows), ("Where the time of an event on Redis goes", ["place", "share"], shares)]
