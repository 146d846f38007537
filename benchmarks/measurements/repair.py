"""Repair: learners a second by the command itself, and by workers that it hands the learners to."""

from pathlib import Path

from benchmarks.rounds import Advance, Result, Table, compare, find, held, summarize, take_turns
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
    processes: Processes, directory: Path, rounds: int, advance: Advance, *, learners: int, workers: tuple[int, ...]
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
    speeds: dict[str | int, list[float]] = {COMMAND: [], **{number: [] for number in workers}}
    for way in take_turns(speeds, rounds, advance):
        speeds[way].append(run(way))
    peak = site.do("republish", argv=["--usernames", "learner0"])["peak"]
    rows = [{"way": way, "learners_per_second": summarize(values)} for way, values in speeds.items()]
    return {"learners": learners, "sleep": SLEEP, "rows": rows, "peak": peak}


def tabulate(result: Result) -> list[Table]:
    one, rows = find(result, way=1)["learners_per_second"], []
    for row in result["rows"]:
        name = COMMAND if row["way"] == COMMAND else f"enqueued, processes: {row['way']}"
        ratio = compare(row["learners_per_second"], one)
        rows.append([name, row["learners_per_second"], held(ratio, least=1.8) if row["way"] == 2 else ratio])
    return [("Repair", ["run by", "learners/s", "÷ 1 process (2: ≥ 1.8)"], rows)]
