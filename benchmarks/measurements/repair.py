"""Repair: learners a second by the command itself, and by workers that it hands the learners to."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.rounds import Result, Table, compare, find, summarize, take_turns, target
from benchmarks.sites import work_off
from testbed.servers.processes import ProcessError, Processes
from testbed.site.large import RepairSite

COMMAND = "the command"
# Seconds that the stand-in of Credentials sleeps before it answers.
SLEEP = 0.015


class MeasuredRepairSite(RepairSite):
    shell_module = "benchmarks.lms"
    patience = 3600


def measure(
    processes: Processes,
    directory: Path,
    rounds: int,
    advance: Callable[[], object],
    *,
    learners: int,
    workers: tuple[int, ...],
) -> Result:
    """Measure learners a second of the command and of workers with so many processes, and the command's peak memory."""
    site = MeasuredRepairSite(processes, directory, learners, 1)
    site.credentials.fault("delay", seconds=SLEEP, method="GET")
    for number in workers:
        site.start_worker(f"worker{number}", number, [f"--queues=repair{number}"])

    def run(way: str | int) -> float:
        """Send the events of all learners again, and return how many a second."""
        published = site.count_added()
        if way == COMMAND:
            seconds = site.do("republish", argv=["--all"])["seconds"]
        else:
            argv = ["--all", "--enqueue", "--queue", f"repair{way}", "--delay", "0"]
            seconds = work_off(site, learners, lambda: site.do("republish", argv=argv))
        if site.count_added() - published != learners:
            raise ProcessError(f"{way}: sent {site.count_added() - published} events of {learners}")
        return learners / seconds

    site.do("republish", argv=["--usernames", "learner0"])  # what the first run in a process costs does not count
    ways: list[str | int] = [COMMAND, *workers]
    speeds: dict[str | int, list[float]] = {way: [] for way in ways}
    for way in take_turns(speeds, rounds, advance):
        speeds[way].append(run(way))
    peak = site.do("republish", argv=["--usernames", "learner0"])["peak"]
    rows = [{"way": way, "learners_per_second": summarize(values)} for way, values in speeds.items()]
    return {"learners": learners, "sleep": SLEEP, "rows": rows, "peak": peak}


def judge(result: Result) -> list[Result]:
    one, two = (find(result, way=number)["learners_per_second"] for number in (1, 2))
    return [target("repair, learners a second, enqueued: 2 processes / 1", compare(two, one), least=1.8)]


def tabulate(result: Result) -> list[Table]:
    one = find(result, way=COMMAND)["learners_per_second"]
    rows = []
    for row in result["rows"]:
        name = COMMAND if row["way"] == COMMAND else f"enqueued, processes: {row['way']}"
        rows.append([name, row["learners_per_second"], compare(row["learners_per_second"], one)])
    return [("Repair", ["run by", "learners/s", "÷ the command"], rows)]
