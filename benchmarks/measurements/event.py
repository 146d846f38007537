"""One event: what sending it costs its caller, by the emitter and by the same code inline."""

import statistics
from collections import Counter, defaultdict

from benchmarks.rounds import Advance, Result, Table, compare, find, held, summarize, take_turns
from benchmarks.sites import IN_PROCESS, KAFKA, LATENCY, OFF, REDIS, Sites, fill
from testbed.servers.processes import ProcessError
from testbed.servers.valkey import connect

PREFIX = "event"
WAYS = {"emitter": "emitter", "inline": "the same, inline"}
PAUSED = f"{REDIS}, after a pause"
# The bus, the seconds of a pause before each event, as a task waits for Credentials, and each way's events in a turn.
CASES = {
    IN_PROCESS: (IN_PROCESS, 0, 25),
    REDIS: (REDIS, 0, 25),
    PAUSED: (REDIS, LATENCY, 5),
    KAFKA: (KAFKA, 0, 25),
}


def measure(sites: Sites, rounds: int, advance: Advance, *, blocks: int) -> Result:
    """Measure both ways in each case, ``blocks`` of events a round."""
    fill(sites[OFF], PREFIX, 25)
    sent: Counter[str] = Counter()

    def send(case: str) -> dict[str, list[tuple[float, int]]]:
        bus, pause, count = CASES[case]
        sent[bus] += len(WAYS) * count
        return sites[bus].do("send", prefix=PREFIX, count=count, pause=pause)

    for case in CASES:
        send(case)  # opens the connections, and loads the schemas
    microseconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    queries: Counter[tuple[str, str]] = Counter()
    for _ in range(rounds):
        found: dict[tuple[str, str], list[float]] = defaultdict(list)
        # Within a round they take turns, too: what else the machine does mostly lasts longer than one.
        for case in take_turns(CASES, blocks):
            for way, samples in send(case).items():
                found[case, way] += [time for time, _ in samples]
                queries[case, way] = max(queries[case, way], *(number for _, number in samples))
        for key, times in found.items():
            microseconds[key].append(statistics.median(times))
        advance()
    redis = sites[REDIS]
    for bus, count in ((REDIS, redis.count_added()), (KAFKA, sites[KAFKA].count_published())):
        if count != sent[bus]:
            raise ProcessError(f"{bus} received {count} events of {sent[bus]}")
    with connect(redis.bus_url) as client:
        memory = client.memory_usage(redis.stream_key, samples=0) / client.xlen(redis.stream_key)
    rows = [
        {"bus": case, "way": way, "microseconds": summarize(microseconds[case, way]), "queries": queries[case, way]}
        for case in CASES
        for way in WAYS
    ]
    return {"rows": rows, "memory": memory}


def tabulate(result: Result) -> list[Table]:
    rows = []
    for row in result["rows"]:
        ratio = compare(row["microseconds"], find(result, bus=row["bus"], way="inline")["microseconds"])
        ways = [row["bus"], WAYS[row["way"]]]
        rows.append([*ways, row["microseconds"], held(ratio, most=1.05), held(row["queries"], most=0)])
    return [
        ("One event", ["bus", "sent by", "µs", "÷ inline, ≤ 1.05", "SQL queries, ≤ 0"], rows),
        ("Memory of Redis", ["what", "bytes"], [["an event in a stream", result["memory"]]]),
    ]
