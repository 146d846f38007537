"""
Tests of how rounds are made and summarized.
"""

from collections import Counter

from benchmarks.rounds import compare, summarize, take_turns, target


def test_each_way_has_one_turn_a_round_in_changing_order():
    turns = list(take_turns("abcd", 20))

    rounds = ["".join(turns[start : start + 4]) for start in range(0, 80, 4)]
    assert [sorted(order) for order in rounds] == [list("abcd")] * 20
    assert len(set(rounds)) > 5
    # No way is always after the same other one.
    before = Counter(zip(turns, turns[1:], strict=False))
    assert all(before[other, way] < 15 for way in "abcd" for other in "abcd")


def test_two_runs_have_the_same_order():
    assert list(take_turns("abcd", 5)) == list(take_turns("abcd", 5))


def test_median_and_range():
    assert summarize([3, 1, 2, 10]) == {"median": 2.5, "low": 1, "high": 10, "values": [3, 1, 2, 10]}


def test_ratios_are_of_the_same_round():
    # A machine that was slow in the second round hit both.
    assert compare([11, 110, 11], [10, 100, 10])["values"] == [1.1, 1.1, 1.1]


def test_targets():
    assert target("", summarize([1, 2, 9]), most=2)["met"]
    assert not target("", summarize([1, 2.1, 0]), most=0.9)["met"]
    assert target("", 0.95, least=0.95)["met"]
    assert not target("", 0.94, least=0.95)["met"]
