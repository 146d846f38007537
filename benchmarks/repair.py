"""
Repair: learners a second by the command itself, and by workers that it hands the learners to.
"""

from benchmarks.rounds import compare, summarize, take_turns, target
from testbed.servers.processes import ProcessError, wait_for
from testbed.site.large import RepairSite

COMMAND = "the command"
# Seconds that the stand-in of Credentials sleeps before it answers.
SLEEP = 0.015


class MeasuredRepairSite(RepairSite):
    """A site whose LMS is measured."""

    shell_module = "benchmarks.lms"
    patience = 3600


def measure(processes, directory, learners, workers, rounds, advance):
    """
    Measure.

    Args:
        processes (Processes): starts what it takes.
        directory (Path): where databases go.
        learners (int): learners of a run.
        workers (tuple[int]): the numbers of processes of the workers.
        rounds (int): how many rounds.
        advance (callable): called after each run.

    Returns:
        dict: learners a second of each way, and the command's peak memory.
    """
    site = MeasuredRepairSite(processes, directory, learners, 1)
    site.credentials.fault("delay", seconds=SLEEP, method="GET")
    started = {number: site.start_worker(f"worker{number}", number, [f"--queues=repair{number}"]) for number in workers}

    def run(way):
        """Send the events of all learners again, and return how many a second."""
        site.tasks_file.unlink(missing_ok=True)
        published = site.count_added()
        if way == COMMAND:
            seconds = site.do("republish", argv=["--all"])["seconds"]
        else:
            site.do("republish", argv=["--all", "--enqueue", "--queue", f"repair{way}", "--delay", "0"])
            wait_for(
                lambda: site.tasks_file.read_text(encoding="utf-8").count('"state": "succeeded"') == learners,
                f"{learners} tasks of {started[way].name}",
                alive=[started[way]],
            )
            times = [task["at"] for task in site.tasks() if task["state"] in ("started", "succeeded")]
            seconds = max(times) - min(times)
        if site.count_added() - published != learners:
            raise ProcessError(f"{way}: sent {site.count_added() - published} events of {learners}")
        return learners / seconds

    ways = [COMMAND, *workers]
    site.do("republish", argv=["--usernames", "learner0"])  # what the first run in a process costs does not count
    speeds = {way: [] for way in ways}
    for way in take_turns(ways, rounds, advance):
        speeds[way].append(run(way))
    peak = site.do("republish", argv=["--usernames", "learner0"])["peak"]
    rows = [{"way": way, "learners_per_second": summarize(speeds[way])} for way in ways]
    return {"learners": learners, "sleep": SLEEP, "rows": rows, "peak": peak}


def find(result, way):
    """Return the learners a second of the command, or of a worker with so many processes."""
    [row] = [row for row in result["rows"] if row["way"] == way]
    return row["learners_per_second"]


def judge(result):
    """Hold the result against the targets."""
    ratio = compare(find(result, 2)["values"], find(result, 1)["values"])
    return [target("repair, learners a second, enqueued: 2 processes / 1", ratio, least=1.8)]


def tabulate(result):
    """Return the result as tables: title, header and rows of each."""
    one = find(result, COMMAND)["values"]
    rows = [
        [
            row["way"] if row["way"] == COMMAND else f"enqueued, processes: {row['way']}",
            row["learners_per_second"],
            compare(row["learners_per_second"]["values"], one),
        ]
        for row in result["rows"]
    ]
    return [("Repair", ["run by", "learners/s", "÷ the command"], rows)]
