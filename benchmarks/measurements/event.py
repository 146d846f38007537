"""One event: what sending it costs its caller."""

import statistics
from collections import Counter
from collections.abc import Callable

from benchmarks.rounds import Result, Table, compare, find, summarize, take_turns, target
from benchmarks.sites import IN_PROCESS, KAFKA, LATENCY, OFF, REDIS, SIZES, Sites, course_run
from testbed.servers.processes import ProcessError
from testbed.servers.valkey import connect
from testbed.site.site import Site

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
# Seconds of a pause, as a task waits for Credentials before each event; events of one way, before it is another's turn.
PAUSES = {READ: 0, PAUSE: LATENCY}
BLOCK = {READ: 25, PAUSE: 5}
# Events of which queries are counted.
COUNTED = 50


def measure(sites: Sites, rounds: int, advance: Callable[[], object], *, blocks: int) -> Result:
    """Measure each way on each bus, ``blocks`` of events a round."""
    sites[OFF].do("fill", prefix=PREFIX, count=1000, course_run=course_run(SIZES[0]))
    before = _count_received(sites)
    sent: Counter[str] = Counter()
    turns: dict[tuple[str, str], list[str]] = {}
    for bus in BUSES:
        names = [name for name in sites[bus].do("warm_up", prefix=PREFIX) if name != "raw" or bus == REDIS]
        sent[bus] += 1 + sum(name != "raw" for name in names)
        turns |= {(bus, state): names for state in ((READ, PAUSE) if bus == REDIS else (READ,))}
    ways = [(bus, name, state) for (bus, state), names in turns.items() for name in names]
    queries = {}
    for bus, name, state in ways:
        queries[bus, name, state] = sites[bus].do("count_queries", way=name, prefix=PREFIX, count=COUNTED)
        sent[bus] += COUNTED * (name != "raw")
    samples: dict[tuple[str, str, str], list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        found: dict[tuple[str, str, str], list[float]] = {way: [] for way in ways}
        # Within a round they take turns, too: what else the machine does mostly lasts longer than one.
        for bus, state in take_turns(turns, blocks):
            ask = {"ways": turns[bus, state], "prefix": PREFIX, "count": BLOCK[state]}
            for name, times in sites[bus].do("send", pause=PAUSES[state], **ask).items():
                found[bus, name, state] += times
                sent[bus] += len(times) * (name != "raw")
        for way in ways:
            samples[way].append(statistics.median(found[way]))
        advance()
    for bus, count in _count_received(sites).items():
        if count - before[bus] != sent[bus]:
            raise ProcessError(f"{bus} received {count - before[bus]} events of {sent[bus]}")
    rows = [
        {
            "bus": bus,
            "way": name,
            "state": state,
            "microseconds": summarize(times),
            "queries": queries[bus, name, state],
        }
        for (bus, name, state), times in samples.items()
    ]
    return {"rows": rows, "stream": _weigh(sites[REDIS])}


def _weigh(site: Site) -> dict[str, float]:
    """Return how many bytes an event is, and how many of Redis's memory it takes in a stream."""
    with connect(site.bus_url) as client:
        [(_id, fields)] = client.xrevrange(site.stream_key, count=1)
        memory = client.memory_usage(site.stream_key, samples=0) / client.xlen(site.stream_key)
    return {"bytes": sum(len(name) + len(value) for name, value in fields.items()), "memory": memory}


def _count_received(sites: Sites) -> dict[str, int]:
    return {REDIS: sites[REDIS].count_added(), KAFKA: sites[KAFKA].count_published()}


def _name(text: str, state: str) -> str:
    return f"{text}, {state}" if state else text


def judge(result: Result) -> list[Result]:
    targets = []
    for row in result["rows"]:
        if row["way"] == "emitter":
            inline = find(result, bus=row["bus"], way="inline", state=row["state"])
            name = f"{_name('one event, ' + row['bus'], row['state'])}: emitter / inline"
            targets.append(target(name, compare(row["microseconds"], inline["microseconds"]), most=1.05))
    queries = max(row["queries"] for row in result["rows"])
    return [*targets, target("one event: SQL queries", queries, most=0)]


def tabulate(result: Result) -> list[Table]:
    rows = []
    for row in result["rows"]:
        inline = find(result, bus=row["bus"], way="inline", state=row["state"])
        raw = find(result, bus=REDIS, way="raw", state=row["state"])
        name, microseconds = _name(WAYS[row["way"]], row["state"]), row["microseconds"]
        ratios = [compare(microseconds, other["microseconds"]) for other in (inline, raw)]
        rows.append([row["bus"], name, microseconds, *ratios, row["queries"]])
    header = ["bus", "sent by", "µs", "÷ inline", "÷ `XADD`", "SQL queries"]
    stream = [["what an event holds", result["stream"]["bytes"]], ["memory in a stream", result["stream"]["memory"]]]
    return [
        ("One event", header, rows),
        ("How large an event is on Redis", ["", "bytes"], stream),
    ]
