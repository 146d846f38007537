"""
A fleet: learners a second, through real Celery workers with processes of their own.
"""

from benchmarks.rounds import compare, summarize, take_turns, target
from benchmarks.sites import KAFKA, OFF, REDIS, course_run, make_known
from testbed.servers.processes import ProcessError, wait_for

MODES = (OFF, REDIS, KAFKA)


def measure(sites, rounds, processes, learners, blocks, advance):
    """
    Measure.

    Args:
        sites (dict[str, Site]): as ``benchmarks.sites.start`` returns them.
        rounds (int): how many rounds.
        processes (tuple[int]): the numbers of processes of the workers.
        learners (int): learners of a block for each process.
        blocks (int): blocks of learners for each worker and round.
        advance (callable): called after each round.

    Returns:
        dict: learners a second.
    """
    ways = [(mode, number) for mode in MODES for number in processes]
    workers = {}
    for mode, number in ways:
        site = sites[mode]
        workers[mode, number] = site.start_worker(
            f"worker-{site.name}-{number}", number, [f"--queues={_queue(site, number)}"]
        )
    place = 0

    def run(mode, number):
        """Have a worker award some learners' certificates; return the seconds from its first task to its last."""
        nonlocal place
        site, count = sites[mode], learners * number
        names = [f"fleet{n}" for n in range(place, place + count)]
        place += count
        site.tasks_file.unlink(missing_ok=True)
        site.do("enqueue", usernames=names, queue=_queue(site, number))
        wait_for(
            lambda: site.tasks_file.read_text(encoding="utf-8").count('"state": "succeeded"') == count,
            f"{count} tasks of {workers[mode, number].name}",
            alive=[workers[mode, number]],
        )
        times = [task["at"] for task in site.tasks() if task["state"] in ("started", "succeeded")]
        return max(times) - min(times)

    total = (rounds * blocks + 1) * learners * sum(processes) * len(MODES)
    sites[OFF].do("fill", prefix="fleet", count=total, course_run=course_run(1))
    make_known(sites[OFF], [f"fleet{number}" for number in range(total)])
    for mode, number in ways:
        run(mode, number)
    speeds = {way: [] for way in ways}
    for _ in range(rounds):
        for number in processes:
            seconds = dict.fromkeys(MODES, 0)
            for mode in take_turns(MODES, blocks):
                seconds[mode] += run(mode, number)
            for mode in MODES:
                speeds[mode, number].append(blocks * learners * number / seconds[mode])
        advance()
    for worker in workers.values():
        worker.stop()
    found = sum(credential["username"].startswith("fleet") for credential in sites[OFF].credentials.credentials())
    if found != total:
        raise ProcessError(f"Credentials has {found} certificates of {total}")
    return {
        "latency": sites[OFF].latency,
        "rows": [
            {"mode": mode, "processes": number, "learners_per_second": summarize(speeds[mode, number])}
            for mode, number in ways
        ],
    }


def _queue(site, number):
    return f"benchmark.{site.name}.{number}"


def find(result, mode, processes):
    """Return the row of a mode and a number of processes."""
    [row] = [row for row in result["rows"] if (row["mode"], row["processes"]) == (mode, processes)]
    return row


def _pairs(result):
    """Yield a row, and the ratios of its speeds to those without the change."""
    for row in result["rows"]:
        without = find(result, OFF, row["processes"])["learners_per_second"]["values"]
        yield row, compare(row["learners_per_second"]["values"], without)


def judge(result):
    """Hold the result against the targets."""
    return [
        target(f"worker, processes: {row['processes']}, learners a second, {row['mode']} / {OFF}", ratio, least=0.95)
        for row, ratio in _pairs(result)
        if row["mode"] != OFF
    ]


def tabulate(result):
    """Return the result as tables: title, header and rows of each."""
    rows = [[row["processes"], row["mode"], row["learners_per_second"], ratio] for row, ratio in _pairs(result)]
    header = ["processes", "events", "learners/s", f"÷ {OFF}"]
    return [("A worker fleet", header, sorted(rows, key=lambda row: row[0]))]
