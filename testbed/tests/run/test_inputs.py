"""Tests of reading programs and learners."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.run.inputs import InputError, read_learners, read_programs

UUID = "5c3a1f0e-8d64-4c1b-9a52-7f1e0d2b0001"
RUN = "course-v1:OpenX+A+2026"
OTHER_RUN = "course-v1:OpenX+B+2026"


def program(*runs: Any, **changes: Any) -> dict[str, Any]:
    """Return a program with two courses, or with one that has these runs."""
    two = [[{"key": key, "type": "verified"}] for key in (RUN, OTHER_RUN)]
    courses = [{"course_runs": course} for course in ([runs] if runs else two)]
    return {"uuid": UUID, "title": "A program", "courses": courses, **changes}


def learner(*runs: str, mode: Any = "verified", **changes: Any) -> dict[str, Any]:
    certificates = [{"course_run": run, "mode": mode} for run in runs]
    return {"username": "a", "email": "a@example.com", "name": "A", "certificates": certificates, **changes}


PROGRAMS: list[tuple[Any, str]] = [
    ("{", "is no JSON: Expecting property name"),
    ("[" * 100_000, "is no JSON: maximum recursion depth"),
    ('[{"uuid": NaN}]', "is no JSON: Out of range float values"),
    ('[{"x": 1, "\\ud800": 2}]', "is no JSON: 'utf-8' codec can't encode character '\\ud800'"),
    ('[{"x": 1, "y": 2, "x": 3}]', "is no JSON: 'x' is there twice in the object that begins '{\"x\": 1, \"y\": 2}'"),
    ("Höhe".encode("latin-1"), "is no JSON: 'utf-8' codec can't decode byte 0xf6"),
    ({}, "programs: This field is required."),
    (" ", "is empty"),
    ([], "the whole file: This list may not be empty."),
    ([program(uuid="7")], "[0].uuid: '7' is no UUID."),
    ({"programs": [program(), program(uuid=UUID.upper())]}, f"programs[1].uuid: Duplicate '{UUID}': [0].uuid is the s"),
    ([program(RUN)], "[0].courses[0].course_runs[0]: Invalid data."),
    ([program({"key": "no key"})], "[0].courses[0].course_runs[0].key: 'no key' is no course key."),
    ([program({"key": RUN})], "[0].courses[0].course_runs[0].type: This field is required."),
    ({"results": [program(), program({}, {"key": RUN})]}, "results[1].courses[0].course_runs[0].key: This field is re"),
]
LEARNERS: list[tuple[Any, str]] = [
    ([learner(username="a b")], "[0].username: Enter a valid username."),
    ([learner(username="credentials_service_user")], "[0].username: 'credentials_service_user' is the name of a serv"),
    ([learner(email="nonsense")], "[0].email: Enter a valid email address."),
    ([learner(name="x" * 256)], "[0].name: Ensure this field has no more than 255 characters."),
    ({"learners": [learner(**{"in\nvalid\x1b": []})]}, "learners[0].in\\nvalid\\x1b: There is no such field."),
    ([learner(certificates=[{"course_run": RUN, "x": 1}])], "[0].certificates[0].x: There is no such field."),
    ([learner(RUN, RUN)], f"[0].certificates[1].course_run: Duplicate '{RUN}': [0].course_run is the same."),
    ([learner(RUN, invalidate=["no key"])], "[0].invalidate[0]: 'no key' is no course key."),
    ([learner(RUN, invalidate=[OTHER_RUN])], f"[0].invalidate[0]: The learner has no certificate of '{OTHER_RUN}', or"),
    ([learner(RUN, invalidate=[RUN, RUN])], f"[0].invalidate[1]: The learner has no certificate of '{RUN}', or lo"),
    ([learner(), learner(email="b@example.com")], "[1].username: Duplicate 'a': [0].username is the same."),
    ([learner(), learner(username="b")], "[1].email: Duplicate 'a@example.com': [0].email is the same."),
]
CASES = [(read_programs, *case) for case in PROGRAMS] + [(read_learners, *case) for case in LEARNERS]


@pytest.mark.parametrize(("read", "data", "problem"), CASES)
def test_invalid_file(tmp_path: Path, read: Callable[[Path], list], data: Any, problem: str) -> None:
    path = tmp_path / "input.json"
    text = data if isinstance(data, str | bytes) else json.dumps(data)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(InputError) as raised:
        read(path)

    assert str(raised.value).startswith(f"{path}: {problem}")
    assert str(raised.value).isprintable()  # and so one line


def test_fields_of_the_api_that_are_not_used_pass_through(tmp_path: Path) -> None:
    course: Any = {"uuid": UUID, "title": None, "course_runs": [{"key": RUN, "type": None, "seats": []}]}
    page = program(title=None, type=None, hidden=False, courses=[course])
    (tmp_path / "page.json").write_text(json.dumps({"count": 1, "next": None, "results": [page]}))

    # The LMS sorts programs by title, which must be a string.
    assert read_programs(tmp_path / "page.json") == [page | {"title": "", "status": "active"}]
