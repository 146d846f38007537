"""Tests of how rounds are made and summarized."""

from collections import Counter

import pytest

from benchmarks.rounds import compare, summarize, take_turns, target


def test_each_way_has_one_turn_a_round_in_changing_order() -> None:
    turns = list(take_turns("abcd", 20))
    assert turns == list(take_turns("abcd", 20))  # two runs have the same order
    rounds = ["".join(turns[start : start + 4]) for start in range(0, 80, 4)]
    assert [sorted(order) for order in rounds] == [list("abcd")] * 20
    # No way is always after the same other one.
    before = Counter(zip(turns, turns[1:], strict=False))
    assert max(before.values()) < 15


def test_summaries_and_ratios_within_a_round() -> None:
    assert summarize([3, 1, 2, 10]) == {"median": 2.5, "low": 1, "high": 10, "values": [3, 1, 2, 10]}
    # A machine that was slow in the second round hit both.
    assert compare(summarize([11, 110, 11]), summarize([10, 100, 10]))["values"] == [1.1, 1.1, 1.1]


@pytest.mark.parametrize(
    ("values", "limits", "met"),
    [
        ([1, 2, 9], {"most": 2}, True),
        ([0, 2, 3], {"most": 0.9}, False),
        ([0.95], {"least": 0.95}, True),
        ([0.94], {"least": 0.95}, False),
    ],
)
def test_targets(values: list[float], limits: dict[str, float], met: bool) -> None:
    assert target("", summarize(values), **limits)["met"] == met
    if len(values) == 1:
        assert target("", values[0], **limits)["met"] == met
