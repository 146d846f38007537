"""Tests that the figures that people read are those that were measured."""

import json
import random
import re
import statistics

import pytest

from benchmarks import report, sites
from benchmarks.measurements import event, repair
from benchmarks.rounds import Result, compare, find, show, summarize
from testbed import ROOT

RESULTS = ROOT / "benchmarks/results"


@pytest.fixture(scope="module")
def result() -> Result:
    """What was measured last."""
    return json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))


def test_values_are_shown_with_three_digits() -> None:
    shown = [show(value) for value in (1234567, 1234.5, 123.4, 12.34, 1.234, 0.0, "text", summarize([2.0]))]
    assert shown == ["1,234,567", "1,234", "123", "12.3", "1.23", "0.00", "text", "2.00"]
    assert show(summarize([1.0, 2.0, 30.0])) == "2.00 (1.00–30.0)"


def test_the_page_is_made_of_the_figures(result: Result) -> None:
    """It was neither edited, nor are the figures held against other targets now."""
    assert (RESULTS / "README.md").read_text(encoding="utf-8") == report.render(result)


def test_it_is_a_full_run_and_has_its_picture(result: Result) -> None:
    assert not result["quick"]
    assert result["rounds"] >= 5
    for row in result["one-event"]["rows"]:
        assert len(row["microseconds"]["values"]) == result["rounds"]
    assert [row["way"] for row in result["repair"]["rows"]] == [repair.COMMAND, 1, 2, 4]
    assert (RESULTS / "one-event.png").read_bytes().startswith(b"\x89PNG")


def test_the_readme_says_what_was_measured(result: Result) -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    task = result["one-task"]

    def longer(size: int) -> int:
        """Return by how many per cent a task for so many programs is longer."""
        seconds = (find(task, mode=mode, programs=size)["seconds"] for mode in (sites.REDIS, sites.OFF))
        return round(100 * (compare(*seconds)["median"] - 1))

    assert f"With Redis, a task for one program takes {longer(1)} % longer than without the events" in readme
    latency = f"{1000 * task['latency']:.0f} ms"
    assert f"and one for ten programs {longer(10)} %, if a request to Credentials takes {latency}" in readme


# The page about a site with ten million learners

PAGE = ROOT / "docs/ten-million-learners.md"


def test_the_page_begins_with_what_was_measured(result: Result) -> None:
    one_event, fleet, repaired = result["one-event"], result["fleet"], result["repair"]
    paused = find(one_event, bus=event.PAUSED, way="emitter")
    figures = {
        "learners a second, one process, Redis": find(fleet, mode=sites.REDIS, processes=1)["learners_per_second"],
        "a request of Credentials, ms": 1000 * fleet["latency"],
        "the emitter in a task, µs": paused["microseconds"],
        "memory of an event in a stream, bytes": one_event["memory"],
        "repair, learners a second, the command": find(repaired, way=repair.COMMAND)["learners_per_second"],
        "repair, learners a second, 2 processes": find(repaired, way=2)["learners_per_second"],
        "peak memory of the command, MiB": repaired["peak"],
    }
    shown = re.findall(r"^\| (.+) \| ([\d,.]+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(shown) == {
        name: show(value["median"] if isinstance(value, dict) else value) for name, value in figures.items()
    }


def test_the_page_reckons_right() -> None:
    """Each line of a block says what a product or quotient comes to, or what a sum does."""
    blocks = re.findall(r"^    (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(blocks) > 12
    for line in blocks:
        left, _, right = line.partition(" = ")
        [number] = re.findall(r"^[\d,.]+", right)
        value = eval(re.sub(r"[^\d.+*/() -]", "", left.replace("×", "*").replace("÷", "/")))  # pylint: disable=eval-used
        digits = len(number.partition(".")[2])
        shown = float(number.replace(",", ""))
        # As many digits as are shown, or three that count.
        assert abs(value - shown) <= max(0.5 * 10**-digits, 0.005 * shown), f"{line}: {value}"


def test_share_of_the_busiest_partition() -> None:
    """The key is hashed, so programs fall on partitions as dice do."""
    dice = random.Random(1)
    throws = [[dice.randrange(12) for _ in range(10)] for _ in range(5000)]
    busiest = statistics.mean(max(map(places.count, places)) / 10 for places in throws)
    assert f"10 programs use 7 on average, and the busiest holds {busiest:.0%}" in PAGE.read_text(encoding="utf-8")
