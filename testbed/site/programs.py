"""Programs for the sites of tests, as Credentials and the catalog know them."""

from collections.abc import Sequence
from typing import Any

Program = dict[str, Any]


def make_program(number: int, *courses: Sequence[str]) -> Program:
    """Describe a program; of each course, any of its runs will do."""
    return {
        "uuid": f"7a1e4b7c-0f0d-4f57-9b8e-{number:012}",
        "title": f"Program {number}",
        "type": "MicroMasters",
        "status": "active",
        "courses": [{"course_runs": [{"key": key, "type": "verified"} for key in runs]} for runs in courses],
    }


def runs_of(*programs: Program) -> list[str]:
    """List the course runs of programs."""
    return [run["key"] for program in programs for course in program["courses"] for run in course["course_runs"]]
