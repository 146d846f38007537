"""Tests of which events a run expects, and of what counts as a difference."""

from typing import Any

import pytest

from testbed.run.comparing import compare, completed, course_runs, expected_events, modes_that_count, obstacle
from testbed.run.inputs import AWARDED, REVOKED
from testbed.tests.run.test_inputs import OTHER_RUN, RUN, UUID, learner, program

PROGRAM = program(status="active")


@pytest.mark.parametrize(
    ("run_type", "mode", "counts"),
    [
        ("credit", "verified", True),
        ("professional", "no-id-professional", True),
        ("professional", "verified", False),
        ("verified", "credit", False),
        ("honor", "honor", True),
        ("honor", "audit", False),
        (None, "honor", False),
    ],
)
def test_modes(run_type: str | None, mode: str, counts: bool) -> None:
    one_course = program({"key": RUN, "type": run_type}, status="active")

    assert completed(one_course, [{"course_run": RUN, "mode": mode}]) is counts
    assert (mode in modes_that_count([one_course], RUN)) is counts


NO_TYPE, HONOR = {"key": RUN, "type": None}, {"key": RUN, "type": "honor"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"status": "retired"}, None),
        ({"status": "unpublished"}, "its status is unpublished, and only active and retired ones reach the LMS"),
        ({"courses": []}, "it has no courses"),
        ({"courses": [{"course_runs": [HONOR]}, {"course_runs": []}]}, "its courses[1] has no course run"),
        ({"courses": [{"course_runs": [NO_TYPE]}]}, "its courses[0] has no course run with a type"),
        ({"courses": [{"course_runs": [NO_TYPE, {**HONOR, "key": OTHER_RUN}]}]}, None),
    ],
)
def test_obstacles(changes: dict[str, Any], reason: str | None) -> None:
    changed = PROGRAM | changes

    assert obstacle(changed) == reason
    if reason:
        assert not modes_that_count([changed], RUN)
        assert not completed(changed, learner(RUN, OTHER_RUN)["certificates"])


def test_expected_events() -> None:
    programs = [PROGRAM, program(uuid=UUID.replace("1", "2"), status="active", courses=[])]
    learners = [
        learner(RUN, OTHER_RUN, invalidate=[RUN, OTHER_RUN]),
        learner(RUN, username="one course of two", invalidate=[RUN]),
        learner(RUN, OTHER_RUN, username="wrong mode", mode="honor", invalidate=[]),
        learner("course-v1:X+Y+Z", username="other course", invalidate=[]),
    ]

    assert expected_events(programs, learners) == [(AWARDED, "a", UUID), (REVOKED, "a", UUID)]
    assert course_runs(programs, learners) == [RUN, OTHER_RUN, "course-v1:X+Y+Z"]


def test_differences_are_named() -> None:
    certificate = {"user": {"pii": {"username": "a"}}, "program": {"uuid": UUID}}
    award = {"type": AWARDED, "data": {"program_certificate": certificate}}

    assert compare([(AWARDED, "a", UUID)], [award]) == []
    assert compare([(AWARDED, "b", UUID)], [award, award]) == [
        f"missing: {AWARDED} for b in program {UUID}",
        f"unexpected: {AWARDED} for a in program {UUID}, 2 times",
    ]
