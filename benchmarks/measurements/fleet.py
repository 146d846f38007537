"""A fleet: learners a second, through real Celery workers with processes of their own."""

from itertools import islice

from benchmarks.rounds import Advance, Result, Table, compare, find, held, summarize, take_turns
from benchmarks.sites import KAFKA, OFF, REDIS, Sites, check_awarded, fill, work_off

MODES = (OFF, REDIS, KAFKA)


def measure(
    sites: Sites, rounds: int, advance: Advance, *, processes: tuple[int, ...], learners: int, blocks: int
) -> Result:
    """Measure learners a second of workers with so many ``processes``, by blocks of ``learners`` for each process."""
    queues = {(mode, number): f"{sites[mode].name}-{number}" for mode in MODES for number in processes}
    for (mode, number), queue in queues.items():
        sites[mode].start_worker(f"worker-{queue}", number, [f"--queues={queue}"])
    total = (rounds * blocks + 1) * learners * sum(processes) * len(MODES)
    usernames = iter(fill(sites[OFF], "fleet", total))

    def run(mode: str, number: int) -> float:
        """Have a worker award some learners' certificates; return the seconds from its first task to its last."""
        ask = {"usernames": list(islice(usernames, learners * number)), "queue": queues[mode, number]}
        return work_off(sites[mode], learners * number, lambda: sites[mode].do("enqueue", **ask))

    for mode, number in queues:
        run(mode, number)
    speeds: dict[tuple[str, int], list[float]] = {way: [] for way in queues}
    for _ in range(rounds):
        for number in processes:
            seconds = dict.fromkeys(MODES, 0.0)
            for mode in take_turns(MODES, blocks):
                seconds[mode] += run(mode, number)
            for mode in MODES:
                speeds[mode, number].append(blocks * learners * number / seconds[mode])
        advance()
    check_awarded(sites[OFF], "fleet", total)
    rows = [
        {"mode": mode, "processes": number, "learners_per_second": summarize(values)}
        for (mode, number), values in speeds.items()
    ]
    return {"latency": sites[OFF].latency, "rows": rows}


def tabulate(result: Result) -> list[Table]:
    rows = []
    for row in sorted(result["rows"], key=lambda row: row["processes"]):
        without = find(result, mode=OFF, processes=row["processes"])["learners_per_second"]
        speed = row["learners_per_second"]
        rows.append([row["processes"], row["mode"], speed, held(compare(speed, without), least=0.95)])
    return [("A worker fleet", ["processes", "events", "learners/s", f"÷ {OFF}, ≥ 0.95"], rows)]
