"""Tests of how rounds are made and summarized."""

from collections import Counter

from benchmarks.rounds import compare, held, summarize, take_turns


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


def test_what_misses_its_target_is_bold() -> None:
    assert held(summarize([1.0, 2.0, 9.0]), most=2) == "2.00 (1.00–9.00)"
    assert held(summarize([0.0, 2.0, 3.0]), most=0.9) == "**2.00 (0.00–3.00)**"
    assert (held(0.95, least=0.95), held(0.94, least=0.95)) == ("0.95", "**0.94**")
    assert (held(0, most=0), held(1, most=0)) == ("0", "**1**")
