"""Tells, independently of the LMS, which events a run must lead to, and compares them with those that arrived."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from testbed.run.inputs import AWARDED, REVOKED, Learner, Program
from testbed.site.programs import runs_of

# Discovery's statuses of the programs that reach the LMS.
LISTED_STATUSES = ("active", "retired")

Event = tuple[str, str, str]  # type, username, program UUID


def course_runs(programs: list[Program], learners: list[Learner]) -> list[str]:
    """List the keys of all course runs that the programs and the learners name, sorted."""
    certificates = [certificate for learner in learners for certificate in learner["certificates"]]
    return sorted({*runs_of(*programs), *(certificate["course_run"] for certificate in certificates)})


def completed(program: Program, certificates: list[dict[str, str]]) -> bool:
    """Tell whether the certificates complete the program: one for each course, in a mode that counts."""
    held = {(certificate["course_run"], certificate["mode"]) for certificate in certificates}
    return not obstacle(program) and all(_ways(course) & held for course in program["courses"])


def obstacle(program: Program) -> str | None:
    """Tell why no learner can complete a program, or None if they can."""
    if program["status"] not in LISTED_STATUSES:
        return f"its status is {program['status']}, and only {' and '.join(LISTED_STATUSES)} ones reach the LMS"
    for index, course in enumerate(program["courses"]):
        if not _ways(course):
            return f"its courses[{index}] has no course run" + (" with a type" if course["course_runs"] else "")
    return None if program["courses"] else "it has no courses"


def modes_that_count(programs: list[Program], course_run: str) -> list[str]:
    """List the modes in which a certificate of a course run counts for any of the programs."""
    courses = [course for program in programs if not obstacle(program) for course in program["courses"]]
    return sorted({mode for course in courses for key, mode in _ways(course) if key == course_run})


def _ways(course: dict[str, Any]) -> set[tuple[str, str]]:
    """
    Return the certificates that complete a course: course run, mode.

    Of a course run's type, two modes count as professional; without a type, none counts.
    """
    modes = {"credit": ["verified"], "professional": ["professional", "no-id-professional"], None: []}
    return {(run["key"], mode) for run in course["course_runs"] for mode in modes.get(run["type"], [run["type"]])}


def expected_events(programs: list[Program], learners: Iterable[Learner]) -> list[Event]:
    """List the events that a run must lead to: awards, then revocations."""
    awards, revocations = [], []
    for learner in learners:
        for program in programs:
            if completed(program, learner["certificates"]):
                awards.append((AWARDED, learner["username"], program["uuid"]))
                if set(runs_of(program)) & set(learner["invalidate"]):
                    revocations.append((REVOKED, learner["username"], program["uuid"]))
    return awards + revocations


def compare(expected: list[Event], events: list[dict[str, Any]]) -> list[str]:
    """Compare the events that the consumer received with the expected ones; return a line for each difference."""
    found = Counter(
        (event["type"], certificate["user"]["pii"]["username"], certificate["program"]["uuid"])
        for event in events
        for certificate in [event["data"]["program_certificate"]]
    )
    wanted = Counter(expected)
    return [
        f"{word}: {event_type} for {username} in program {uuid}" + (f", {times} times" if times > 1 else "")
        for word, difference in (("missing", wanted - found), ("unexpected", found - wanted))
        for (event_type, username, uuid), times in difference.items()
    ]
