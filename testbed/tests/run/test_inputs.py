"""
Tests of reading programs and learners, and of what is expected of them.
"""

import json

import pytest

from testbed.run.__main__ import DATA
from testbed.run.inputs import (
    AWARDED,
    REVOKED,
    InputError,
    course_runs,
    expected_events,
    modes_that_count,
    obstacle,
    read_learners,
    read_programs,
)

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


def problem_of(read, path):
    """Read a file that cannot be used; return what is said of it, after its name."""
    with pytest.raises(InputError) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert str(raised.value).isprintable()  # and so one line
    return str(raised.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("{", "is no JSON: Expecting property name"),
        ("[" * 100_000, "is no JSON: maximum recursion depth"),
        ('[{"uuid": NaN}]', "is no JSON: Out of range float values"),
        ('[{"x": 1, "\\ud800": 2}]', "is no JSON: 'utf-8' codec can't encode character '\\ud800'"),
        (
            '[{"x": 1, "y": 2, "x": 3}]',
            "is no JSON: 'x' is there twice in the object that begins '{\"x\": 1, \"y\": 2}'",
        ),
        ({}, "programs: This field is required."),
        ({"results": None}, "results: This field may not be null."),
        ("7", 'the whole file: Expected a list of items but got type "int".'),
        (" ", "is empty"),
        ({"programs": {}}, 'programs: Expected a list of items but got type "dict".'),
        ([], "the whole file: This list may not be empty."),
        ([7], "[0]: Invalid data. Expected a dictionary, but got int."),
        ([program(uuid="7")], "[0].uuid: '7' is no UUID."),
        ([program(uuid=7)], "[0].uuid: 7 is no UUID."),
        ([program(uuid=None)], "[0].uuid: This field may not be null."),
        (
            {"programs": [program(), program(uuid=UUID.upper())]},
            f"programs[1].uuid: Duplicate '{UUID}': [0].uuid is the same.",
        ),
        ([program(title=["A"])], "[0].title: Not a valid string."),
        ([{"uuid": UUID}], "[0].title: This field is required."),
        ([program(status=None)], "[0].status: This field may not be null."),
        ([program(courses=None)], "[0].courses: This field may not be null."),
        ([program(courses=[{}])], "[0].courses[0].course_runs: This field is required."),
        ([program(courses=[{"course_runs": [RUN]}])], "[0].courses[0].course_runs[0]: Invalid data."),
        (
            [program(courses=[{"course_runs": [{"key": "no key", "type": "verified"}]}])],
            "[0].courses[0].course_runs[0].key: 'no key' is no course key.",
        ),
        ([program(courses=[{"course_runs": [{"key": RUN}]}])], "[0].courses[0].course_runs[0].type: This field is re"),
        (
            {"programs": [program(), program(courses=[{"course_runs": [{}, {"key": RUN, "type": ""}]}])]},
            "programs[1].courses[0].course_runs[0].key: This field is required.",
        ),
    ],
)
def test_unusable_programs(write, data, problem):
    assert problem_of(read_programs, write(data)).startswith(problem)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"learners": []}, "learners: This list may not be empty."),
        ([learner(username="")], "[0].username: This field may not be blank."),
        ([learner(username="a b")], "[0].username: Enter a valid username."),
        ([learner(username="x" * 151)], "[0].username: Ensure this field has no more than 150 characters."),
        ([learner(username="credentials_service_user")], "[0].username: 'credentials_service_user' is the name of a "),
        ([learner(email="nonsense")], "[0].email: Enter a valid email address."),
        ([learner(name="\x00")], "[0].name: Null characters are not allowed."),
        ([learner(name="\ud800")], "is no JSON: 'utf-8' codec can't encode character '\\ud800'"),
        ([learner(name=None)], "[0].name: This field may not be null."),
        ([learner(invalidat=[])], "[0].invalidat: There is no such field."),
        ({"learners": [learner(**{"in\nvalid\x1b": []})]}, "learners[0].in\\nvalid\\x1b: There is no such field."),
        (
            [{**learner(), "certificates": [{"course_run": RUN, "mode": "verified", "x": 1}]}],
            "[0].certificates[0].x: There is no such field.",
        ),
        (
            json.dumps([learner()])[:-2] + ', "name": "B"}]',
            "is no JSON: 'name' is there twice in the object that begins",
        ),
        ([learner(name="x" * 256)], "[0].name: Ensure this field has no more than 255 characters."),
        ([learner("no key")], "[0].certificates[0].course_run: 'no key' is no course key."),
        ([learner(RUN, RUN)], f"[0].certificates[1].course_run: Duplicate '{RUN}': [0].course_run is the same."),
        ([learner(RUN, mode=[])], "[0].certificates[0].mode: Not a valid string."),
        ([learner(RUN, invalidate=None)], "[0].invalidate: This field may not be null."),
        ([learner(RUN, invalidate=["no key"])], "[0].invalidate[0]: 'no key' is no course key."),
        ([learner(RUN, invalidate=[OTHER_RUN])], f"[0].invalidate[0]: The learner has no certificate of '{OTHER_RUN}'"),
        ([learner(RUN, invalidate=[RUN, RUN])], f"[0].invalidate[1]: The learner has no certificate of '{RUN}', or lo"),
        ([learner(), learner(email="b@example.com")], "[1].username: Duplicate 'a': [0].username is the same."),
        ([learner(), learner(username="b")], "[1].email: Duplicate 'a@example.com': [0].email is the same."),
    ],
)
def test_unusable_learners(write, data, problem):
    assert problem_of(read_learners, write(data)).startswith(problem)


def test_unreadable_file(tmp_path):
    for path, problem in ((tmp_path / "missing.json", "No such file or directory"), (tmp_path, "Is a directory")):
        assert problem_of(read_programs, path) == f"cannot be read: {problem}"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "latin-1"])
def test_other_encodings(tmp_path, encoding):
    path = tmp_path / "input.json"
    path.write_bytes(json.dumps([program(title="Höhere Mathematik")], ensure_ascii=False).encode(encoding))

    assert problem_of(read_programs, path).startswith("is no JSON: ")


def test_page_of_the_api(write):
    assert len(read_programs(write({"count": 1, "next": None, "previous": None, "results": [program()]}))) == 1


def test_what_discovery_gives_beyond_need_passes_through(write):
    extra = {"type": None, "subtitle": "", "type_attrs": {"slug": "honor"}, "banner_image": None, "hidden": False}
    course = {"uuid": UUID, "key": "OpenX+A", "title": None, "course_runs": [{"key": RUN, "type": None, "seats": []}]}

    assert read_programs(write([program(courses=[course], **extra)])) == [
        {**program(courses=[course], **extra), "status": "active"}
    ]


def test_title_of_null_is_a_text_for_the_lms(write):
    assert [item["title"] for item in read_programs(write([program(title=None)]))] == [""]


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
        ([program(title=None, type=None)], [learner(RUN, OTHER_RUN)], 1),
        (
            [program(courses=[{"course_runs": [{"key": RUN, "type": "verified"}]}, {"course_runs": []}])],
            [learner(RUN)],
            0,
        ),
        ([program(courses=[{"course_runs": [{"key": RUN, "type": None}]}])], [learner(RUN)], 0),
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
        ("honor", "honor", True),
        ("honor", "audit", False),
        ("honor", "verified", False),
        ("verified", "audit", False),
        (None, "honor", False),
    ],
)
def test_modes(write, run_type, mode, counts):
    programs = [program(courses=[{"course_runs": [{"key": RUN, "type": run_type}]}])]

    awards, _revocations = expected(write, programs, [learner(RUN, mode=mode)])

    assert bool(awards) is counts
    assert (mode in modes_that_count(read_programs(write(programs)), RUN)) is counts


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"status": "unpublished"}, "its status is unpublished, and only active and retired ones reach the LMS"),
        ({"courses": []}, "it has no courses"),
        (
            {"courses": [{"course_runs": [{"key": RUN, "type": "honor"}]}, {"course_runs": []}]},
            "its courses[1] has no course run",
        ),
        (
            {"courses": [{"course_runs": [{"key": RUN, "type": None}]}]},
            "its courses[0] has no course run with a type",
        ),
        ({"courses": [{"course_runs": [{"key": RUN, "type": None}, {"key": OTHER_RUN, "type": "honor"}]}]}, None),
    ],
)
def test_obstacle(write, changes, reason):
    [item] = read_programs(write([program(**changes)]))

    assert obstacle(item) == reason
    assert modes_that_count([item], RUN) == ([] if reason or changes else ["verified"])


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
