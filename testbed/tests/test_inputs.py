"""
Tests of reading programs and learners, and of what is expected of them.
"""

import json

import pytest

from testbed.inputs import AWARDED, REVOKED, InputError, course_runs, expected_events, read_learners, read_programs
from testbed.run import DATA

UUID = "5c3a1f0e-8d64-4c1b-9a52-7f1e0d2b0001"
RUN = "course-v1:OpenX+A+2026"
OTHER_RUN = "course-v1:OpenX+B+2026"


def program(**changes):
    """A program with two courses."""
    courses = [{"course_runs": [{"key": key, "type": "verified"}]} for key in (RUN, OTHER_RUN)]
    return {"uuid": UUID, "title": "A program", "courses": courses, **changes}


def learner(*runs, mode="verified", **changes):
    """A learner with certificates."""
    certificates = [{"course_run": run, "mode": mode} for run in runs]
    return {"username": "a", "email": "a@example.com", "name": "A", "certificates": certificates, **changes}


@pytest.fixture
def write(tmp_path):
    """Write a JSON file, and return its path."""

    def write(data):
        path = tmp_path / "input.json"
        path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ({}, "programs: is missing"),
        ("7", "the whole file: must be an object or a list"),
        (" ", "is empty"),
        ({"programs": {}}, "programs: must be a list"),
        ([], "the whole file: has no program"),
        ([7], "[0]: must be an object"),
        ([program(uuid="7")], "[0].uuid: invalid uuid '7'"),
        ([program(uuid=7)], "[0].uuid: must be a text"),
        ([{**program(), "uuid": None}], "[0].uuid: must be a text"),
        ({"programs": [program(), program(uuid=UUID.upper())]}, f"programs[1].uuid: duplicate '{UUID}'"),
        ([program(title="")], "[0].title: must have 1 to 255 characters"),
        ([{"uuid": UUID}], "[0].title: is missing"),
        ([program(courses=[{}])], "[0].courses[0].course_runs: is missing"),
        (
            [program(courses=[{"course_runs": [{"key": "no key", "type": "verified"}]}])],
            "[0].courses[0].course_runs[0].key: invalid course key 'no key'",
        ),
        ([program(courses=[{"course_runs": [{"key": RUN}]}])], "[0].courses[0].course_runs[0].type: is missing"),
    ],
)
def test_unusable_programs(write, data, problem):
    path = write(data)

    with pytest.raises(InputError) as raised:
        read_programs(path)

    assert str(raised.value).startswith(f"{path}: {problem}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"learners": []}, "learners: has no learner"),
        ([learner(username="")], "[0].username: must have 1 to 150 characters"),
        ([learner(username="a b")], "[0].username: may have letters"),
        ([learner(username="credentials_service_user")], "[0].username: 'credentials_service_user' is the name"),
        ([learner(email="nonsense")], "[0].email: is no e-mail address"),
        ([learner(name="line\nbreak")], "[0].name: has a control character"),
        ([learner(name="\ud800")], "[0].name: has a control character, or half of a surrogate pair"),
        ([learner(invalidat=[])], "[0].invalidat: is no field of this"),
        ([{**learner(), "certificates": [{"course_run": RUN, "mode": "verified", "x": 1}]}], "[0].certificates[0].x:"),
        ([learner(name="x" * 256)], "[0].name: must have 1 to 255 characters"),
        ([learner("no key")], "[0].certificates[0].course_run: invalid course key 'no key'"),
        ([learner(RUN, RUN)], f"[0].certificates[1].course_run: duplicate '{RUN}'"),
        ([learner(RUN, mode=7)], "[0].certificates[0].mode: must be a text"),
        ([learner(RUN, invalidate=[OTHER_RUN])], "[0].invalidate[0]: the learner has no certificate in"),
        ([learner(RUN, invalidate=[RUN, RUN])], f"[0].invalidate[1]: duplicate '{RUN}'"),
        ([learner(), learner(email="b@example.com")], "[1].username: duplicate 'a', it is at [0].username too"),
        ([learner(), learner(username="b")], "[1].email: duplicate"),
    ],
)
def test_unusable_learners(write, data, problem):
    path = write(data)

    with pytest.raises(InputError) as raised:
        read_learners(path)

    assert str(raised.value).startswith(f"{path}: {problem}")


def test_unreadable_file(tmp_path):
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(InputError, match="cannot be read") as raised:
            read_programs(path)
        assert str(path) in str(raised.value)
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match="is no JSON"):
        read_programs(binary)


def test_page_of_the_api(write):
    assert len(read_programs(write({"count": 1, "next": None, "previous": None, "results": [program()]}))) == 1


def expected(write, programs, learners):
    """Read both and return what is expected of them."""
    return expected_events(read_programs(write(programs)), read_learners(write(learners)))


@pytest.mark.parametrize(
    ("programs", "learners", "awards"),
    [
        ([program()], [learner(RUN, OTHER_RUN)], 1),
        ([program()], [learner(RUN)], 0),
        ([program()], [learner(RUN, OTHER_RUN, mode="honor")], 0),
        ([program(status="retired")], [learner(RUN, OTHER_RUN)], 1),
        ([program(status="deleted")], [learner(RUN, OTHER_RUN)], 0),
        ([program(courses=[])], [learner(RUN)], 0),
    ],
)
def test_awards(write, programs, learners, awards):
    assert expected(write, programs, learners) == ([(AWARDED, "a", UUID)] * awards, [])


@pytest.mark.parametrize(
    ("run_type", "mode", "counts"),
    [
        ("credit", "verified", True),
        ("professional", "no-id-professional", True),
        ("professional", "professional", True),
        ("professional", "verified", False),
        ("verified", "credit", False),
    ],
)
def test_modes(write, run_type, mode, counts):
    programs = [program(courses=[{"course_runs": [{"key": RUN, "type": run_type}]}])]

    awards, _revocations = expected(write, programs, [learner(RUN, mode=mode)])

    assert bool(awards) is counts


def test_revocation_only_of_what_was_awarded(write):
    programs = [program(), program(uuid=UUID.replace("1", "2"), courses=[])]
    learners = [
        learner(RUN, OTHER_RUN, invalidate=[RUN, OTHER_RUN]),
        learner(RUN, username="b", email="b@example.com", invalidate=[RUN]),
    ]

    assert expected(write, programs, learners)[1] == [(REVOKED, "a", UUID)]


def test_course_runs(write):
    programs, learners = read_programs(write([program()])), read_learners(write([learner("course-v1:X+Y+Z")]))

    assert course_runs(programs, learners) == [RUN, OTHER_RUN, "course-v1:X+Y+Z"]


def test_shipped_files():
    awards, revocations = expected_events(read_programs(DATA / "programs.json"), read_learners(DATA / "learners.json"))

    assert (len(awards), len(revocations)) == (3, 1)
