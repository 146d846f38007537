"""
One event: what sending it costs its caller.
"""

import statistics

from benchmarks.rounds import compare, summarize, take_turns, target
from benchmarks.sites import IN_PROCESS, KAFKA, LATENCY, OFF, REDIS, SIZES, course_run
from testbed.servers.processes import ProcessError
from testbed.servers.valkey import connect

PREFIX = "event"
BUSES = (IN_PROCESS, REDIS, KAFKA)
WAYS = {
    "emitter": "emitter",
    "inline": "the same, inline",
    "bare": "`send_event`, payload built beforehand",
    "raw": "`XADD` of the same bytes",
}
# The circumstances of an event, by what has gone before it.
READ, PAUSE = "", "after a pause"
# Seconds of a pause, as a task waits for Credentials before each event.
PAUSES = {PAUSE: LATENCY}
# Events of one way, before it is another's turn.
BLOCK = {READ: 25, PAUSE: 5}
# Events of which queries and allocations are counted.
COUNTED = 50


def measure(sites, rounds, blocks, profile, advance):
    """
    Measure.

    Args:
        sites (dict[str, Site]): as ``benchmarks.sites.start`` returns them.
        rounds (int): how many rounds.
        blocks (int): blocks of events for each way and round.
        profile (float): seconds to look where the time goes.
        advance (callable): called after each round.

    Returns:
        dict: what each way on each bus costs, and where the time goes.
    """
    sites[OFF].do("fill", prefix=PREFIX, count=1000, course_run=course_run(SIZES[0]))
    before = count_received(sites)
    sent = dict.fromkeys(BUSES, 0)
    turns = {}
    for bus in BUSES:
        names = [name for name in sites[bus].do("warm_up", prefix=PREFIX) if name != "raw" or bus == REDIS]
        sent[bus] += 1 + sum(name != "raw" for name in names)
        turns[bus, READ] = names
        if bus == REDIS:
            turns[bus, PAUSE] = names
    ways = [(bus, name, state) for (bus, state), names in turns.items() for name in names]
    work = {}
    for bus, name, state in ways:
        work[bus, name, state] = sites[bus].do("count_work", way=name, prefix=PREFIX, count=COUNTED)
        sent[bus] += 2 * COUNTED * (name != "raw")
    samples = {way: [] for way in ways}
    for _ in range(rounds):
        found = {way: [] for way in ways}
        # Within a round they take turns, too: what else the machine does mostly lasts longer than one.
        for bus, state in take_turns(turns, blocks):
            ask = {"ways": turns[bus, state], "prefix": PREFIX, "count": BLOCK[state]}
            for name, times in sites[bus].do("send", pause=PAUSES.get(state, 0), **ask).items():
                found[bus, name, state] += times
                sent[bus] += len(times) * (name != "raw")
        for way in ways:
            samples[way].append(statistics.median(found[way]))
        advance()
    profiled = sites[REDIS].do("profile", way="emitter", prefix=PREFIX, seconds=profile)
    sent[REDIS] += profiled["events"]
    received = count_received(sites)
    for bus in received:
        if received[bus] - before[bus] != sent[bus]:
            raise ProcessError(f"{bus} received {received[bus] - before[bus]} events of {sent[bus]}")
    rows = [
        {
            "bus": way[0],
            "way": way[1],
            "state": way[2],
            "microseconds": summarize(samples[way]),
            **work[way],
        }
        for way in ways
    ]
    return {"rows": rows, "profile": profiled, "stream": weigh(sites[REDIS])}


def weigh(site):
    """Return how many bytes an event is, and how many of Redis's memory it takes in a stream."""
    with connect(site.bus_url) as client:
        [(_id, fields)] = client.xrevrange(site.stream_key, count=1)
        memory = client.memory_usage(site.stream_key, samples=0) / client.xlen(site.stream_key)
    return {"bytes": sum(len(name) + len(value) for name, value in fields.items()), "memory": memory}


def count_received(sites):
    """Count what the buses have received."""
    return {REDIS: sites[REDIS].count_added(), KAFKA: sites[KAFKA].count_published()}


def find(result, bus, way, state=READ):
    """Return the row of a way to send an event."""
    [row] = [row for row in result["rows"] if (row["bus"], row["way"], row["state"]) == (bus, way, state)]
    return row


def _name(text, state):
    return f"{text}, {state}" if state else text


def judge(result):
    """Hold the result against the targets."""
    targets = []
    for row in result["rows"]:
        if row["way"] == "emitter":
            inline = find(result, row["bus"], "inline", row["state"])["microseconds"]["values"]
            name = f"{_name('one event, ' + row['bus'], row['state'])}: emitter / inline"
            targets.append(target(name, compare(row["microseconds"]["values"], inline), most=1.05))
    queries = max(row["queries"] for row in result["rows"])
    return [*targets, target("one event: SQL queries", queries, most=0)]


def tabulate(result):
    """Return the result as tables: title, header and rows of each."""
    rows = []
    for row in result["rows"]:
        values = row["microseconds"]["values"]
        raw = find(result, REDIS, "raw", PAUSE if row["state"] == PAUSE else READ)
        inline = find(result, row["bus"], "inline", row["state"])
        rows.append(
            [
                row["bus"],
                _name(WAYS[row["way"]], row["state"]),
                row["microseconds"],
                compare(values, inline["microseconds"]["values"]),
                compare(values, raw["microseconds"]["values"]),
                row["queries"],
                row["allocations"],
            ]
        )
    header = ["bus", "sent by", "µs", "÷ inline", "÷ `XADD`", "SQL queries", "allocations"]
    shares = [[place, f"{share:.0%}"] for place, share in result["profile"]["shares"].items()]
    stream = [["what an event holds", result["stream"]["bytes"]], ["memory in a stream", result["stream"]["memory"]]]
    return [
        ("One event", header, rows),
        ("Where the time of an event on Redis goes", ["place", "share"], shares),
        ("How large an event is on Redis", ["", "bytes"], stream),
    ]
