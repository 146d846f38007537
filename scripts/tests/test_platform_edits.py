"""
The edits of the platform's own files, on files written in each of the shapes that its releases have.
"""

import builtins
import difflib
import functools
import inspect
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from platform_edits import (
    APPS,
    EVENT_TYPES,
    PROGRAMS,
    SETTINGS,
    TASKS,
    Refusal,
    edit_apps,
    edit_settings,
    edit_tasks,
    parse,
)

FIXTURES = Path(__file__).parent / "fixtures"
REPOSITORY = Path(__file__).resolve().parent.parent.parent
OWN_SETTINGS = REPOSITORY / SETTINGS

TASK_SHAPES = ("a", "b", "c", "o2")
SETTINGS_SHAPES = ("s1", "s2", "s3", "s4")
NEWLINES = ("\n", "\r\n")

IMPORT = (
    "from openedx.core.djangoapps.programs.events import"
    " emit_program_certificate_awarded, emit_program_certificate_revoked\n"
)
HTTP_ERROR = "from requests.exceptions import HTTPError\n"
RESPONSE_IMPORT = "from requests import Response\n"
AWARDED_LOG = '            LOGGER.info(f"Awarded program certificate to user {student.id} in program {program_uuid}")\n'
AWARDED_CALL = "            emit_program_certificate_awarded(student, program_uuid, response)\n"
EARLIER_AWARDED_CALL = "            emit_program_certificate_awarded(student, program_uuid)\n"
REVOKED_CALL = "            emit_program_certificate_revoked(student, program_uuid, response)\n"
AWARD_HELPER_CALL = "            award_program_certificate(client, student, program_uuid)\n"
REVOKE_HELPER_CALL = "            revoke_program_certificate(client, username, program_uuid)\n"
KEPT_AWARD = f"            response = {AWARD_HELPER_CALL.strip()}\n"
KEPT_REVOCATION = f"            response = {REVOKE_HELPER_CALL.strip()}\n"
NONE = "        None\n"
DESCRIPTION = "        requests.Response: What Credentials answered.\n"
CHECK = "    response.raise_for_status()\n"
RETURN = "    return response\n"
# All that shape A gets and loses.
ADDED_TO_A = [
    IMPORT, *[DESCRIPTION, RETURN] * 2, KEPT_AWARD, AWARDED_CALL, KEPT_REVOCATION, REVOKED_CALL,
]  # fmt: skip
REMOVED_FROM_A = [NONE, NONE, AWARD_HELPER_CALL, REVOKE_HELPER_CALL]

SUCCESSES = (
    ("award_program_certificates", "award_program_certificate", "awarded"),
    ("revoke_program_certificates", "revoke_program_certificate", "revoked"),
)
HELPERS = [helper for _task, helper, _word in SUCCESSES]


def fixture(name):
    return (FIXTURES / f"{name}.py.txt").read_text()


def replaced(text, old, new, count=1):
    """Replace text that has to be there that often, so that no test passes on an unchanged fixture."""
    assert text.count(old) == count, old
    return text.replace(old, new)


def replaced_in(function, text, old, new):
    """Replace text that one function of a module has once."""
    start = text.index(f"def {function}(")
    code, gap, rest = text[start:].partition("\n\n\n")
    return text[:start] + replaced(code + gap, old, new) + rest


@functools.cache  # Many tests compare with the same edited fixture.
def tasks(text):
    return edit_tasks(parse("tasks.py", text.encode())).bytes.decode()


def settings(text):
    own = parse("own", OWN_SETTINGS.read_bytes())
    return edit_settings(parse("common.py", text.encode()), own).bytes.decode()


def apps(text):
    return edit_apps(parse("apps.py", text.encode())).bytes.decode()


def changed_lines(old, new):
    """Return the lines that were added and those that were removed."""
    lines = list(difflib.unified_diff(old.splitlines(True), new.splitlines(True), n=0))[2:]
    return [line[1:] for line in lines if line[0] == "+"], [line[1:] for line in lines if line[0] == "-"]


def assert_clean(text):
    """Check a file with the platform's import order, and compile it."""
    compile(text, "edited.py", "exec")
    first_party = 'lint.isort.known-first-party=["common", "lms", "openedx", "xmodule"]'
    options = ["--isolated", "--no-cache", "--select", "E,F,I", "--line-length", "120", "--config", first_party]
    command = [sys.executable, "-m", "ruff", "check", *options, "-"]
    result = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    assert result.returncode == 0, result.stdout.decode()


def execute(text, **known):
    """Run a module whose imports are all fakes, except for the standard library's."""

    def fake_import(name, global_names=None, local_names=None, fromlist=(), level=0):
        if name in ("typing", "urllib.parse"):
            return builtins.__import__(name, global_names, local_names, fromlist, level)
        if fromlist == ("*",):
            return SimpleNamespace(**known)
        return SimpleNamespace(**{item: known[item] if item in known else mock.MagicMock() for item in fromlist})

    namespace = {"__name__": "edited", "__builtins__": {**vars(builtins), "__import__": fake_import}}
    exec(compile(text, "edited.py", "exec"), namespace)
    return namespace


class FakeHTTPError(Exception):
    """What requests raises for an error status."""

    response = SimpleNamespace(status_code=404)


def run_task(text, task, helper):
    """
    Run one task of an edited module for four programs; Credentials knows the second not, and fails at the third.

    Of each call of the emitter is noted whether it got the learner, and the very object that the helper returned.
    """
    calls, answers = [], {}
    student = mock.MagicMock(id=7, username="ada")
    users = mock.MagicMock(DoesNotExist=type("DoesNotExist", (Exception,), {}))
    users.objects.get.return_value = student
    signals = {
        name: mock.MagicMock(**{"send_event.side_effect": AssertionError("sent inline")})
        for name in ("PROGRAM_CERTIFICATE_AWARDED", "PROGRAM_CERTIFICATE_REVOKED")
    }

    def fake_helper(_client, _user, program_uuid, *_date):
        calls.append((helper, program_uuid))
        failure = {"p2": FakeHTTPError(), "p3": ValueError()}.get(program_uuid)
        if failure:
            raise failure
        answers[program_uuid] = object()
        return answers[program_uuid]

    def emitter(word):
        def emit(user, uuid, response):
            calls.append((word, user is student, uuid, response is answers[uuid]))

        return emit

    namespace = execute(
        text,
        shared_task=lambda **_options: lambda function: function,
        set_code_owner_attribute=lambda function: function,
        MaxRetriesExceededError=type("MaxRetriesExceededError", (Exception,), {}),
        HTTPError=FakeHTTPError,
        User=users,
        get_user_model=lambda: users,
        ProgramProgressMeter=lambda _student: SimpleNamespace(
            completed_programs_with_available_dates=dict.fromkeys(["p1", "p2", "p3", "p4"])
        ),
        emit_program_certificate_awarded=emitter("awarded"),
        emit_program_certificate_revoked=emitter("revoked"),
        **signals,
    )
    namespace[helper] = fake_helper
    bound = mock.MagicMock(**{"request.retries": 0, "retry.return_value": RuntimeError("retried")})
    arguments = ["ada"] if task == "award_program_certificates" else ["ada", "course-v1:x+y+z"]
    with pytest.raises(Exception, match="failed|retried"):
        namespace[task](bound, *arguments)
    return calls


def run_helper(text, helper, refused=False):
    """Run one helper of a module; return what it returns, what Credentials answered, and the module."""
    namespace = execute(text, get_credentials_api_base_url=lambda: "https://credentials.example/api", Response=Answer)
    client = mock.MagicMock()
    client.post.return_value = Answer(refused)
    arguments = dict.fromkeys(inspect.signature(namespace[helper]).parameters, mock.MagicMock()) | {"client": client}
    returned = namespace[helper](**arguments)
    client.post.assert_called_once_with("https://credentials.example/api/credentials/", json=mock.ANY)
    assert client.post.return_value.checked
    return returned, client.post.return_value, namespace


class Answer:
    """A response of which nothing may be read but whether it is an error."""

    def __init__(self, refused):
        self.refused = refused
        self.checked = False

    def raise_for_status(self):
        self.checked = True
        if self.refused:
            raise FakeHTTPError


# programs/tasks.py


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("shape", TASK_SHAPES)
def test_tasks_emit_after_each_success_and_only_then(shape, newline):
    edited = tasks(fixture(f"tasks_{shape}").replace("\n", newline))

    for task, helper, word in SUCCESSES:
        assert run_task(edited, task, helper) == [
            (helper, "p1"),
            (word, True, "p1", True),
            (helper, "p2"),
            (helper, "p3"),
            (helper, "p4"),
            (word, True, "p4", True),
        ]


@pytest.mark.parametrize("helper", HELPERS)
@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("shape", TASK_SHAPES)
def test_helpers_return_what_credentials_answered(shape, newline, helper):
    source = fixture(f"tasks_{shape}").replace("\n", newline)
    returned, _answer, _module = run_helper(source, helper)
    assert returned is None

    returned, answer, _module = run_helper(tasks(source), helper)

    assert returned is answer
    with pytest.raises(FakeHTTPError):
        run_helper(tasks(source), helper, refused=True)


@pytest.mark.parametrize("shape", TASK_SHAPES)
def test_edited_tasks_are_clean(shape):
    assert_clean(tasks(fixture(f"tasks_{shape}")))


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("shape", TASK_SHAPES)
def test_tasks_are_edited_once(shape, newline):
    edited = tasks(fixture(f"tasks_{shape}").replace("\n", newline))
    assert tasks(edited) == edited


def test_the_tasks_of_this_repository_stay_as_they_are():
    source = (REPOSITORY / TASKS).read_text()
    assert "emit_program_certificate_awarded(student, program_uuid, response)" in source
    assert tasks(source) == source


@pytest.mark.parametrize("newline", NEWLINES)
def test_shape_a_keeps_every_other_line(newline):
    source = fixture("tasks_a").replace("\n", newline)
    added, removed = changed_lines(source, tasks(source))
    assert added == [line.replace("\n", newline) for line in ADDED_TO_A]
    assert removed == [line.replace("\n", newline) for line in REMOVED_FROM_A]


def test_shape_a_has_them_at_their_places():
    edited = tasks(fixture("tasks_a"))
    assert f"{KEPT_AWARD}{AWARDED_LOG}{AWARDED_CALL}        except HTTPError" in edited
    assert f"{IMPORT}from openedx.core.djangoapps.programs.utils import ProgramProgressMeter\n" in edited
    assert edited.count(f'    Returns:\n{DESCRIPTION}    """\n') == 2
    assert edited.count(f"{CHECK}{RETURN}\n\n") == 2


def test_shape_o2_keeps_every_other_line():
    source = fixture("tasks_o2")
    added, removed = changed_lines(source, tasks(source))
    award = "award_program_certificate(credentials_client, student, uuid, visible_date)\n"
    revoke = "revoke_program_certificate(credentials_client, username, program_uuid)\n"
    assert added == [
        IMPORT,
        RETURN,
        f"            response = {award}",
        "            emit_program_certificate_awarded(student, uuid, response)\n",
        RETURN,
        f"            response = {revoke}",
        "            emit_program_certificate_revoked(learner, program_uuid, response)\n",
    ]
    assert removed == [f"            {award}", f"            {revoke}"]


def test_shape_b_becomes_shape_a():
    first_line = "Shape B: as A, and each success sends its event inline."
    source = replaced(
        fixture("tasks_b"), first_line, "Shape A: decorators over several lines, double quotes, f-strings, no events."
    )
    assert tasks(source) == tasks(fixture("tasks_a"))


def test_shape_c_loses_its_inline_events_and_their_imports():
    source = fixture("tasks_c")
    edited = tasks(source)
    added, removed = changed_lines(source, edited)
    signature = "def award_program_certificate(client, user, program_uuid) -> {}:\n"
    assert added == [RESPONSE_IMPORT, IMPORT, signature.format("Response"), *ADDED_TO_A[1:]]
    assert "openedx_events" not in edited
    assert "event_implemented_name" not in edited
    assert set(removed) > {signature.format("None"), *REMOVED_FROM_A}
    # 6 + 1 lines of imports, and for each event 2 of annotations and 17 of code; and what is replaced.
    assert len(removed) == 7 + 2 * 19 + 1 + len(REMOVED_FROM_A)


def with_variables(source):
    """Let shape C build each event in a variable first."""
    for verb in ("AWARDED", "REVOKED"):
        call = source[source.index(f"            PROGRAM_CERTIFICATE_{verb}.send_event(") :]
        call = call[: call.index("\n            )\n") + len("\n            )\n")]
        data = replaced(call, f"PROGRAM_CERTIFICATE_{verb}.send_event(\n", "")
        data = replaced(data.strip(), "program_certificate=Program", "certificate = Program").removesuffix(")").strip()
        sent = f"            PROGRAM_CERTIFICATE_{verb}.send_event(program_certificate=certificate)\n"
        source = replaced(source, call, f"            {data}\n{sent}")
    compile(source, "variant.py", "exec")
    return source


def test_events_sent_from_variables_are_replaced():
    assert tasks(with_variables(fixture("tasks_c"))) == tasks(fixture("tasks_c"))


@pytest.mark.parametrize("variant", [str, with_variables])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('uuid="",', "uuid='',"),
        ('url="",', "certificate_available_date=None,"),
        (', title="", program_type="")', ")"),
        ("id=student.id", "id=7"),
    ],
)
def test_events_that_leave_empty_what_the_emitter_leaves_empty_are_replaced(variant, old, new):
    source = variant(replaced(fixture("tasks_c"), old, new, 2))
    assert tasks(source) == tasks(fixture("tasks_c"))


@pytest.mark.parametrize("variant", [str, with_variables])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('uuid="",', "uuid=credential.uuid,"),
        ('url="",', 'url="https://example.com",'),
        ('url="",', 'url="", certificate_available_date=now,'),
        ('url="",', "**more,"),
        ('title=""', "title=program.title"),
        ('program_type=""', 'program_type="MicroMasters"'),
        ('uuid=program_uuid, title="", program_type=""', 'program_uuid, "A title", "MicroMasters"'),
        ('program=ProgramData(uuid=program_uuid, title="", program_type="")', "program=describe(program_uuid)"),
        ("ProgramCertificateData(\n", "ProgramCertificateDataWithTitle(\n"),
    ],
)
def test_events_that_carry_more_than_the_emitter_sends_are_refused(variant, old, new):
    source = fixture("tasks_c")
    start = source.index("PROGRAM_CERTIFICATE_REVOKED.send_event(")
    source = variant(source[:start] + replaced(source[start:], old, new))
    with pytest.raises(Refusal, match=r"revoke_program_certificates\(\): .* sent (inline is not|in a way)"):
        tasks(source)


def test_a_title_in_a_variable_of_the_event_is_refused():
    program = 'ProgramData(uuid=program_uuid, title="", program_type="")'
    source = with_variables(fixture("tasks_c")).replace(f"program={program}", "program=program")
    source = replaced(
        source, "            certificate =", f"            program = {program}\n            certificate =", 2
    )
    assert tasks(source) == tasks(fixture("tasks_c"))
    with pytest.raises(Refusal, match="the event sent inline is not known to be without title"):
        tasks(source.replace('title=""', 'title="A title"'))


def test_a_variable_used_elsewhere_too_is_refused():
    source = replaced(
        fixture("tasks_b"),
        "            PROGRAM_CERTIFICATE_AWARDED.send_event(\n",
        "            pii = UserPersonalData(username='', email='', name='')\n"
        "            PROGRAM_CERTIFICATE_AWARDED.send_event(\n",
    )
    assert "pii = " not in tasks(source)
    source = replaced(source, "    failed = []\n    client", "    failed = []\n    pii = 1\n    client")
    with pytest.raises(Refusal, match=r"award_program_certificates\(\): pii is used elsewhere"):
        tasks(source)


def test_imports_that_something_else_uses_stay():
    source = replaced(fixture("tasks_b"), "User = get_user_model()\n", "User = get_user_model()\nKIND = UserData\n")
    source = replaced(source, "__name__)\n", '__name__)\n__all__ = ["ProgramData"]\n')
    edited = tasks(source)
    assert "from openedx_events.learning.data import ProgramData, UserData\n" in edited
    assert "openedx_events.learning.signals" not in edited
    assert_clean(edited)

    source = replaced(fixture("tasks_c"), "User = get_user_model()\n", "User = get_user_model()\nKIND = UserData\n")
    edited = tasks(source)
    assert "from openedx_events.learning.data import (\n    UserData,\n)\n" in edited
    assert_clean(edited)


def test_imports_that_were_unused_before_stay():
    source = replaced(fixture("tasks_b"), "UserData, UserPersonalData\n", "UserData, UserPersonalData, XBlockData\n")
    assert "from openedx_events.learning.data import XBlockData\n" in tasks(source)


def test_imports_named_like_a_keyword_of_the_event_stay():
    source = replaced(fixture("tasks_b"), "LOGGER = get", "from somewhere import status  # noqa: F401\nLOGGER = get")
    assert "from somewhere import status" in tasks(source)


def test_the_blank_line_between_two_groups_of_imports_stays():
    source = fixture("tasks_b")
    for line in source.splitlines(keepends=True):
        if line.startswith(("from celery", "from django", "from edx_django", "from requests")):
            source = replaced(source, line, "")
    # The whole group of third-party imports goes.
    assert "import urljoin\n\nfrom openedx.core" in tasks(source)

    # The first ones of the group go.
    last = "import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED\n"
    source = replaced(source, last, f"{last}from requests import get\n")
    assert "import urljoin\n\nfrom requests import get\n\nfrom openedx.core" in tasks(source)


def test_comments_stay_where_they_are():
    source = replaced(fixture("tasks_a"), AWARDED_LOG, f"            # Operators look for this.\n{AWARDED_LOG}")
    source = replaced(source, AWARD_HELPER_CALL, f"            # Ask.\n{AWARD_HELPER_CALL.rstrip()};  # may raise\n")
    edited = tasks(source)
    assert f"            # Ask.\n{KEPT_AWARD.rstrip()};  # may raise\n            # Operators" in edited
    assert replaced(edited, ";  # may raise\n", "\n") == tasks(replaced(source, ";  # may raise\n", "\n"))

    annotation = "            # .. event_implemented_name: PROGRAM_CERTIFICATE_AWARDED\n"
    comment = "\n            # Tell the others.\n"
    source = replaced(fixture("tasks_b"), annotation, f"{comment}{annotation}            #     with a second line\n")
    assert f"{AWARDED_LOG}{comment}{AWARDED_CALL}        except" in tasks(source)


def test_without_a_success_log_the_call_follows_the_helper():
    source = replaced(fixture("tasks_a"), AWARDED_LOG, "")
    assert f"{KEPT_AWARD}{AWARDED_CALL}" in tasks(source)


def test_the_import_comes_first_among_greater_ones():
    source = fixture("tasks_a")
    start = source.index("from openedx.core.djangoapps.credentials.api")
    end = source.index("from openedx.core.djangoapps.programs.utils")
    source = source[:start] + "# Progress.\n" + source[end:]
    edited = tasks(source)
    assert f"import HTTPError\n\n{IMPORT}\n# Progress.\nfrom openedx.core.djangoapps.programs.utils" in edited


def test_only_the_missing_call_is_added():
    edited = tasks(fixture("tasks_a"))
    assert tasks(replaced(edited, REVOKED_CALL, "")) == edited
    assert tasks(replaced(edited, IMPORT, "")) == edited


@pytest.mark.parametrize(
    ("shape", "old", "new", "message"),
    [
        ("a", "def award_program_certificates(", "def award_programs(", r"award_program_certificates\(\): .* found 0"),
        ("a", "def revoke_program_certificates(", "def revoke(", r"revoke_program_certificates\(\): .* found 0"),
        ("a", "def award_program_certificate(", "def award(", r"award_program_certificate\(\): .* found 0"),
        ("a", AWARD_HELPER_CALL, AWARD_HELPER_CALL * 2, "expected one call of .* found 2"),
        ("a", AWARD_HELPER_CALL, KEPT_AWARD + AWARD_HELPER_CALL, "expected one call of .* found 2"),
        ("a", AWARD_HELPER_CALL, f"{AWARD_HELPER_CALL}            done = award_program_certificate\n", "found 1"),
        ("a", "award_program_certificate(client, student, program_uuid)\n", "pass\n", "expected one call .* found 0"),
        ("a", "(client, student, program_uuid)\n", "(client, student, uuid)\n", "the variable of the loop"),
        ("a", "for program_uuid in sorted(completed(student)):", "while program_uuid := next(completed):", "found 0"),
        ("a", "for program_uuid in sorted(completed(student)):", "for program_uuid, _ in []:", "variable of the loop"),
        ("a", AWARDED_LOG, f"{AWARDED_LOG}            emit_program_certificate_awarded(student, 1)\n", "another way"),
        ("a", AWARDED_LOG, f"            if 1:\n    {EARLIER_AWARDED_CALL}{AWARDED_LOG}", "elsewhere than right after"),
        ("b", "            PROGRAM_CERTIFICATE_AWARDED.send_event(\n",
         "            if True: PROGRAM_CERTIFICATE_AWARDED.send_event(\n", "sent in a way"),
        ("b", '            PROGRAM_CERTIFICATE_AWARDED.send_event(\n',
         '            PROGRAM_CERTIFICATE_AWARDED.send_event(\n                time=NOW,\n', "sent in a way"),
        ("b", "            PROGRAM_CERTIFICATE_AWARDED.send_event(\n",
         "            now = 1\n            PROGRAM_CERTIFICATE_AWARDED.send_event(\n", "sent in a way"),
        ("a", "from requests.exceptions import HTTPError\n", "from requests.exceptions import HTTPError\n"
         "from x import PROGRAM_CERTIFICATE_AWARDED as AWARDED\n", "sent in a way"),
        ("a", "LOGGER = get", "from .events import emit_program_certificate_awarded\nLOGGER = get", "another way"),
        ("a", "from typing", "PATH = 1\nfrom typing", "no first-party import at the top"),
    ],
)  # fmt: skip
def test_other_shapes_of_the_tasks_are_refused(shape, old, new, message):
    text = fixture(f"tasks_{shape}")
    assert old in text
    with pytest.raises(Refusal, match=message):
        tasks(text.replace(old, new, 1))


def test_a_learner_who_is_filtered_for_is_found():
    lookup = "student = User.objects.get(username=username)"
    source = replaced(fixture("tasks_a"), lookup, "student = User.objects.filter(username=username).first()", 2)
    assert changed_lines(source, tasks(source)) == (ADDED_TO_A, REMOVED_FROM_A)


def test_a_learner_who_is_looked_up_in_another_way_is_refused():
    lookup = "student = User.objects.get(username=username)"
    source = replaced(fixture("tasks_a"), lookup, "student = find(username)", 2)
    with pytest.raises(Refusal, match=r"award_program_certificates\(\): cannot tell which variable holds the learner"):
        tasks(source)
    source = replaced(fixture("tasks_a"), "    failed = []\n    client", "    failed = []\n    student = 1\n    client")
    with pytest.raises(Refusal, match="cannot tell which variable holds the learner"):
        tasks(source)


def test_a_learner_who_is_looked_up_in_a_nested_function_is_refused():
    lookup = "        student = User.objects.get(username=username)\n"
    nested = (
        "        def find():\n            learner = User.objects.get(username=username)\n            return learner\n\n"
        "        student = find()\n"
    )
    with pytest.raises(Refusal, match=r"award_program_certificates\(\): cannot tell which variable holds the learner"):
        tasks(replaced(fixture("tasks_a"), lookup, nested, 2))


@pytest.mark.parametrize(
    "rebinding",
    [
        "for student in failed: pass",
        "for _, (student, *_) in failed: pass",
        "with open(username) as student: pass",
        "if student := 1: pass",
        "student: int = 1",
        "student += 1",
        "student, other = 1, 2",
        "[*student] = failed",
        "try: pass\n    except OSError as student: pass",
        "del student",
        "import student",
        "import somewhere as student",
        "from somewhere import student",
        "from somewhere import something as student",
        "def student(): pass",
        "class student: pass",
        "match username:\n        case [student, *_]: pass",
        "match username:\n        case {'id': 1, **student}: pass",
        "def rebind():\n        nonlocal student\n        student = 1",
    ],
)
def test_a_learner_variable_that_is_bound_again_is_refused(rebinding):
    lines = f"    failed = []\n    {rebinding}\n    client"
    source = replaced(fixture("tasks_a"), "    failed = []\n    client", lines)
    compile(source, "variant.py", "exec")
    with pytest.raises(Refusal, match=r"award_program_certificates\(\): cannot tell which variable holds the learner"):
        tasks(source)


def test_what_is_only_named_like_the_learner_variable_is_no_obstacle():
    lines = (
        "    failed = []\n    from common.student.models import get\n    get(student=student).student = 1\n"
        "    failed[student] = 2\n    client"
    )
    source = replaced(fixture("tasks_a"), "    failed = []\n    client", lines)
    assert changed_lines(source, tasks(source)) == (ADDED_TO_A, REMOVED_FROM_A)


def test_a_slumber_client_is_refused():
    with pytest.raises(Refusal, match=r"award_program_certificate\(\): no requests-style call"):
        tasks(fixture("tasks_o1"))


# The earlier version of the change


def earlier_version(shape):
    """Return a shape as the change's first version left it: the helpers return nothing, the emitter takes two."""
    text = tasks(fixture(f"tasks_{shape}"))
    text = replaced(text, ", response)\n", ")\n", 2)
    text = replaced(text, " response = award_program_certificate(", " award_program_certificate(")
    text = replaced(text, " response = revoke_program_certificate(", " revoke_program_certificate(")
    text = replaced(text, RETURN, "", 2).replace(DESCRIPTION, NONE)
    return text.replace(RESPONSE_IMPORT, "").replace("-> Response:", "-> None:")


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("shape", TASK_SHAPES)
def test_the_earlier_version_is_brought_up_to_date(shape, newline):
    source = earlier_version(shape).replace("\n", newline)
    assert tasks(source) == tasks(fixture(f"tasks_{shape}")).replace("\n", newline)


def test_the_earlier_version_is_what_it_was():
    added, removed = changed_lines(fixture("tasks_a"), earlier_version("a"))
    assert added == [IMPORT, EARLIER_AWARDED_CALL, EARLIER_AWARDED_CALL.replace("awarded", "revoked")]
    assert removed == []


def test_only_what_is_of_the_earlier_version_is_brought_up_to_date():
    edited = tasks(fixture("tasks_c"))
    assert tasks(replaced(edited, AWARDED_CALL, EARLIER_AWARDED_CALL)) == edited
    assert tasks(replaced_in("revoke_program_certificate", edited, RETURN, "")) == edited
    assert tasks(replaced_in("revoke_program_certificates", edited, ", response)", ")")) == edited


def test_comments_at_a_call_of_the_earlier_version_stay():
    comments = f"            # Tell the others.\n{EARLIER_AWARDED_CALL.rstrip()}  # never raises\n"
    source = replaced(earlier_version("a"), EARLIER_AWARDED_CALL, comments)
    expected = f"            # Tell the others.\n{AWARDED_CALL.rstrip()}  # never raises\n"
    assert tasks(source) == replaced(tasks(fixture("tasks_a")), AWARDED_CALL, expected)


@pytest.mark.parametrize(
    "arguments",
    [
        "student",
        "user, program_uuid",
        "student, program_uuid, answer",
        "student, program_uuid, time=NOW",
        "student, program_uuid, response=response",
        "student, program_uuid, response, time=NOW",
    ],
)
def test_a_call_of_the_emitter_with_other_arguments_is_refused(arguments):
    source = replaced(tasks(fixture("tasks_a")), "awarded(student, program_uuid, response)", f"awarded({arguments})")
    message = (
        r"award_program_certificates\(\): calls the emitter in another way than .*\(student, program_uuid, response\)$"
    )
    with pytest.raises(Refusal, match=message):
        tasks(source)


# What the task keeps


def test_a_variable_that_keeps_the_answer_already_is_used():
    kept = f"            answer = {AWARD_HELPER_CALL.strip()}  # kept\n"
    use = "            LOGGER.debug(answer)\n"
    source = replaced(fixture("tasks_a"), AWARD_HELPER_CALL, kept)
    source = replaced(source, AWARDED_LOG, AWARDED_LOG + use)
    edited = tasks(source)
    assert (
        f"{kept}{AWARDED_LOG}            emit_program_certificate_awarded(student, program_uuid, answer)\n{use}"
        in edited
    )
    assert tasks(edited) == edited
    assert ("awarded", True, "p1", True) in run_task(edited, *SUCCESSES[0][:2])


@pytest.mark.parametrize("variable", ["program_uuid", "failed", "student"])
def test_a_variable_that_keeps_something_else_too_is_refused(variable):
    source = replaced(fixture("tasks_a"), AWARD_HELPER_CALL, f"            {variable} = {AWARD_HELPER_CALL.strip()}\n")
    with pytest.raises(Refusal, match=rf"award_program_certificates\(\): {variable}, .* is bound elsewhere too"):
        tasks(source)


@pytest.mark.parametrize(
    "statement",
    [
        "done = also = {}",
        "done, = {}",
        "done: bool = {}",
        "done += {}",
        "self.done = {}",
        "done[0] = {}",
        "done = not {}",
        "done = {}.ok",
        "done = {}; print(done)",
        "print(done := {})",
        "{}.close()",
        "{}(1)",
        "self.{}",
        "if {}: pass",
    ],
)
def test_another_form_of_the_call_is_refused(statement):
    call = f"            {statement.format(AWARD_HELPER_CALL.strip())}\n"
    source = replaced(fixture("tasks_a"), AWARD_HELPER_CALL, call)
    compile(source, "variant.py", "exec")
    with pytest.raises(Refusal, match=r"award_program_certificates\(\): expected one call of .* found 0"):
        tasks(source)


def test_a_call_over_several_lines_keeps_them():
    lines = "award_program_certificate(  # ask\n                client, student, program_uuid\n            )\n"
    edited = tasks(replaced(fixture("tasks_a"), AWARD_HELPER_CALL, f"            {lines}"))
    assert edited == replaced(tasks(fixture("tasks_a")), KEPT_AWARD, f"            response = {lines}")


@pytest.mark.parametrize(
    "line",
    [
        "response = 1",
        "print(response)",
        "print(f'{response}')",
        "print(response=response)",
        "response.failed = 1",
        "for response in failed: pass",
        "from somewhere import response",
        "def find():\n        return response",
        "def find(response): pass",
        "try: pass\n    except OSError as response: pass",
    ],
)
def test_a_task_that_uses_the_variable_already_is_refused(line):
    source = replaced_in("revoke_program_certificates", fixture("tasks_a"), "    failed = []\n", f"    {line}\n")
    compile(source, "variant.py", "exec")
    with pytest.raises(Refusal, match=r"tasks.py: revoke_program_certificates\(\): response is used already"):
        tasks(source)


def test_what_is_only_named_like_the_variable_is_no_obstacle():
    source = fixture("tasks_a")
    assert "exc.response.status_code" in source
    source = replaced(source, "    failed = []\n    client", "    failed = []\n    print(response=1)\n    client")
    assert changed_lines(source, tasks(source)) == (ADDED_TO_A, REMOVED_FROM_A)


# The helpers


SMALL_HELPER = "def {}(client, user, program_uuid):\n    response = client.post(1)\n" + CHECK


def with_helper(helper, code):
    """Give shape A a helper with that code."""
    head, _def, tail = fixture("tasks_a").partition(f"def {helper}(")
    _old, _gap, rest = tail.partition("\n\n\n")
    return f"{head}{code}\n\n{rest}"


@pytest.mark.parametrize("helper", HELPERS)
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (CHECK, "", "no requests-style call"),
        (f"response = client.post(1)\n{CHECK}", "client.post(1).raise_for_status()\n", "expected one raise_for_status"),
        (f"\n    response = client.post(1)\n{CHECK}", " client.raise_for_status()\n", "expected one raise_for_status"),
        (CHECK, f"{CHECK}    print(1)\n", "expected one raise_for_status"),
        (CHECK, f"    if response:\n    {CHECK}", "expected one raise_for_status"),
        (CHECK, f"{CHECK}{CHECK}", "expected one raise_for_status"),
        (CHECK, f"    response.raise_for_status\n{CHECK}", "expected one raise_for_status"),
        (CHECK, "    response.raise_for_status(1)\n", "expected one raise_for_status"),
        (CHECK, "    checked = response.raise_for_status()\n", "expected one raise_for_status"),
        (CHECK, "    return response.raise_for_status()\n", "expected one raise_for_status"),
        (CHECK, "    response.raise_for_status(); return response\n", "expected one raise_for_status"),
        (CHECK, "    response.first.raise_for_status()\n", "expected one raise_for_status"),
        (CHECK, f"{CHECK}{RETURN}{RETURN}", "expected one raise_for_status"),
        (CHECK, f"    response = wrap(response)\n{CHECK}", "response is not bound once"),
        (CHECK, f"    del response\n{CHECK}", "response is not bound once"),
        (CHECK, f"    print(response := 1)\n{CHECK}", "response is not bound once"),
        ("response = client", "response = None or client", "response is not bound once"),
        ("response = client", "response = answer = client", "response is not bound once"),
        ("response = client", "response: object = client", "response is not bound once"),
        (CHECK, "    client.raise_for_status()\n", "client is not bound once"),
        (CHECK, f"{CHECK}    return True\n", "returns something else than response"),
        (CHECK, f"{CHECK}    return client\n", "returns something else than response"),
        (CHECK, f"{CHECK}    return response.ok\n", "returns something else than response"),
        (CHECK, f"    if not response:\n        return False\n{CHECK}", "returns something else than response"),
        (CHECK, f"    if not response:\n        return\n{CHECK}", "elsewhere than at its end"),
        (CHECK, f"    if not response:\n        return response\n{CHECK}{RETURN}", "elsewhere than at its end"),
        ("def ", "@quiet\ndef ", "is decorated"),
    ],
)  # fmt: skip
def test_other_helpers_are_refused(helper, old, new, message):
    code = SMALL_HELPER.format(helper)
    assert RETURN in tasks(with_helper(helper, code))
    source = with_helper(helper, replaced(code, old, new))
    compile(source, "variant.py", "exec")
    with pytest.raises(Refusal, match=rf"tasks.py: {helper}\(\): .*{message}"):
        tasks(source)


@pytest.mark.parametrize("code", ["return", "return None", "return (None)"])
def test_a_return_of_nothing_becomes_one_of_the_answer(code):
    ending = f"{CHECK}    # Done.\n    {code}  # nothing\n"
    source = replaced_in("award_program_certificate", fixture("tasks_a"), CHECK, ending)
    edited = tasks(source)
    expected = ending.replace(code, "return response")
    assert edited == replaced_in("award_program_certificate", tasks(fixture("tasks_a")), CHECK + RETURN, expected)
    returned, answer, _module = run_helper(edited, "award_program_certificate")
    assert returned is answer


def test_comments_around_the_check_stay():
    ending = f"    # Or else.\n{CHECK.rstrip()}  # raises\n    # That was it.\n"
    source = replaced_in("award_program_certificate", fixture("tasks_a"), CHECK, ending)
    assert f"    # Or else.\n{CHECK.rstrip()}  # raises\n{RETURN}    # That was it.\n" in tasks(source)


def test_a_helper_may_be_the_last_function_and_call_the_response_otherwise():
    helper = SMALL_HELPER.format(HELPERS[0]).replace("response", "answer").rstrip("\n")
    source = f"{with_helper(HELPERS[0], '')}\n\n{helper}"
    assert tasks(source).endswith(f"\n\n\n{helper}\n    return answer")


def test_a_helper_that_returns_the_answer_stays_as_it_is():
    docstring = '    """\n    Ask.\n\n    Returns:\n        The answer.\n    """\n'
    helper = SMALL_HELPER.format(HELPERS[0]).replace("):\n", f') -> "Answer":\n{docstring}') + RETURN
    assert helper in tasks(with_helper(HELPERS[0], helper))


# What is said about the helpers: the annotation


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("annotation", ["None", '"None"', "'None'"])
def test_an_annotation_follows(annotation, newline):
    source = replaced(fixture("tasks_c"), "-> None:", f"-> {annotation}:").replace("\n", newline)
    edited = tasks(source)
    imports = RESPONSE_IMPORT + HTTP_ERROR
    assert f"{imports}\nfrom openedx".replace("\n", newline) in edited
    assert "def award_program_certificate(client, user, program_uuid) -> Response:" in edited
    assert "def revoke_program_certificate(client, username, program_uuid):" in edited
    _returned, _answer, module = run_helper(edited, "award_program_certificate")
    assert module["award_program_certificate"].__annotations__ == {"return": Answer}


def test_two_annotations_need_one_import():
    source = replaced(fixture("tasks_c"), "username, program_uuid):\n", "username, program_uuid) -> None:\n")
    edited = tasks(source)
    assert edited.count(RESPONSE_IMPORT) == 1
    assert edited.count("-> Response:") == 2
    assert_clean(edited)
    assert tasks(edited) == edited


def test_without_an_annotation_none_is_added():
    edited = tasks(fixture("tasks_b"))
    assert "-> Response" not in edited
    assert RESPONSE_IMPORT not in edited


@pytest.mark.parametrize(
    "imported",
    [
        RESPONSE_IMPORT,
        "from requests import Response, Session  # noqa: F401\n",
        "from requests import (\n    Response,\n)\n",
    ],
)
def test_an_import_of_the_class_is_used(imported):
    source = replaced(fixture("tasks_c"), "from requests.exc", f"{imported}from requests.exc")
    edited = tasks(source)
    assert edited.count("import Response") + edited.count("    Response,\n") == 1
    assert imported in edited
    assert_clean(edited)


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        (f"{HTTP_ERROR}from rules import a\n", f"{RESPONSE_IMPORT}{HTTP_ERROR}from rules import a\n"),
        (f"\n# Errors.\n{HTTP_ERROR}", f"{RESPONSE_IMPORT}\n# Errors.\n{HTTP_ERROR}"),
        ("from aiohttp import HTTPError\n", f"from aiohttp import HTTPError\n{RESPONSE_IMPORT}"),
        ("from responses import HTTPError\n", f"{RESPONSE_IMPORT}from responses import HTTPError\n"),
    ],
)
def test_the_import_of_the_class_comes_at_its_place(imports, expected):
    source = fixture("tasks_c")
    assert tasks(replaced(source, HTTP_ERROR, imports)) == replaced(
        tasks(source), RESPONSE_IMPORT + HTTP_ERROR, expected
    )


def test_the_import_of_the_class_does_not_follow_a_relative_one():
    relative = "\nfrom .utils import a  # noqa: F401\n"
    edited = tasks(replaced(fixture("tasks_c"), "\nif TYPE_CHECKING", f"{relative}\nif TYPE_CHECKING"))
    assert RESPONSE_IMPORT + HTTP_ERROR in edited
    assert_clean(edited)


def test_the_import_of_the_class_comes_first_among_greater_ones():
    source = fixture("tasks_c")
    head, tail = source.index("from celery"), source.index(HTTP_ERROR)
    edited = tasks(source[:head] + source[tail:])
    assert f"import urljoin\n\n{RESPONSE_IMPORT}{HTTP_ERROR}\nfrom openedx" in edited


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-> None:", "-> bool:", "is annotated to return something else than None"),
        ("-> None:", "-> 'Response':", "is annotated to return something else than None"),
        ("-> None:", "-> Response | None:", "is annotated to return something else than None"),
        ("LOGGER = get", "Response = 1\nLOGGER = get", "Response is bound in another way"),
        ("LOGGER = get", "class Response: pass\nLOGGER = get", "Response is bound in another way"),
        ("LOGGER = get", "def f(Response): pass\nLOGGER = get", "Response is bound in another way"),
        ("LOGGER = get", f"{RESPONSE_IMPORT}Response = 1\nLOGGER = get", "Response is bound in another way"),
        ("    from datetime", f"    {RESPONSE_IMPORT}    from datetime", "Response is bound in another way"),
        (HTTP_ERROR, f"from requests.models import Response\n{HTTP_ERROR}", "Response is bound in another way"),
        (HTTP_ERROR, f"from x import Y as Response\n{HTTP_ERROR}", "Response is bound in another way"),
        (HTTP_ERROR, f"from requests import Session\n{HTTP_ERROR}", "requests is imported from in another way"),
        (HTTP_ERROR, f"from requests import *\n{HTTP_ERROR}", "requests is imported from in another way"),
        (HTTP_ERROR, f"from requests import Response as R\n{HTTP_ERROR}", "requests is imported from in another way"),
        ("from celery import", "X = 1\nfrom celery import", "no third-party import at the top"),
    ],
)
def test_an_annotation_that_cannot_follow_is_refused(old, new, message):
    with pytest.raises(Refusal, match=rf"tasks.py: (award_program_certificate\(\)|imports): {message}"):
        tasks(replaced(fixture("tasks_c"), old, new))


# What is said about the helpers: the docstring


ARGUMENTS = "    Args:\n        client: A session,\n            opened before.\n\n        user: Who.\n"
RETURNS = f"    Returns:\n{DESCRIPTION}"
RAISES = "    Raises:\n        HTTPError: Refused.\n"


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        (f"\n    Ask.\n\n{ARGUMENTS}    ", f"\n    Ask.\n\n{ARGUMENTS}\n{RETURNS}    "),
        (f"Ask.\n\n{ARGUMENTS}\n{RAISES}    ", f"Ask.\n\n{ARGUMENTS}\n{RETURNS}\n{RAISES}    "),
        (f"\n    Ask.\n\n{ARGUMENTS.rstrip()}", f"\n    Ask.\n\n{ARGUMENTS}\n{RETURNS.rstrip()}"),
        (f"\n    Ask.\n\n{ARGUMENTS}\n    More.\n    ", f"\n    Ask.\n\n{ARGUMENTS}\n{RETURNS}\n    More.\n    "),
        ("\n    Ask.\n\n    Args:\n      user: Who.\n    ",
         f"\n    Ask.\n\n    Args:\n      user: Who.\n\n    Returns:\n{DESCRIPTION[2:]}    "),
        (f"\n    Ask.\n\n{ARGUMENTS}\n    Returns:\n        None\n\n{RAISES}    ",
         f"\n    Ask.\n\n{ARGUMENTS}\n{RETURNS}\n{RAISES}    "),
        (f"\n    Ask.\n\n    Returns:\n      None\n\n{RAISES}    ",
         f"\n    Ask.\n\n    Returns:\n{DESCRIPTION[2:]}\n{RAISES}    "),
        ("\n    Ask.\n\n    Returns:\n        None", f"\n    Ask.\n\n{RETURNS.rstrip()}"),
        (f"\n    Ask.\n\n{RETURNS}    ", f"\n    Ask.\n\n{RETURNS}    "),
        ("\n    Ask.\n\n    No more of it.\n    ", "\n    Ask.\n\n    No more of it.\n    "),
        (f"\n    Ask.\n\n{RAISES}    ", f"\n    Ask.\n\n{RAISES}    "),
        ("\n    Mind the Args:\n        user: Who.\n    ", "\n    Mind the Args:\n        user: Who.\n    "),
        ("Ask, and answer: None.", "Ask, and answer: None."),
        ("Returns: None.", "Returns: None."),
        ("", ""),
    ],
)  # fmt: skip
def test_a_docstring_follows(docstring, expected, newline):
    helper = SMALL_HELPER.format(HELPERS[0])
    before, after = (replaced(helper, "):\n", f'):\n    """{text}"""\n') for text in (docstring, expected))
    edited = tasks(with_helper(HELPERS[0], before).replace("\n", newline))
    assert f"\n\n\n{after}{RETURN}\n\n".replace("\n", newline) in edited


def test_without_a_docstring_none_is_added():
    helper = SMALL_HELPER.format(HELPERS[0])
    assert f"\n\n\n{helper}{RETURN}\n\n" in tasks(with_helper(HELPERS[0], helper))


@pytest.mark.parametrize(
    "returns",
    [
        "    Returns:\n        bool: Whether it was.\n",
        "    Returns:\n        None: Nothing.\n",
        "    Returns:\n        None\n        or so\n",
        "    Returns:\n        None\n\n        or so\n",
        "    Returns:\n",
        "    Returns: None\n",
        "    Return:\n        None\n",
        "    :return: None\n",
        "    :returns: None\n",
        "    Returns:\n        None\n\n    Returns:\n        None\n",
    ],
)
@pytest.mark.parametrize("helper", HELPERS)
def test_a_docstring_that_says_something_else_is_refused(helper, returns):
    source = replaced_in(helper, fixture("tasks_c"), "    Returns:\n        None\n", returns)
    with pytest.raises(Refusal, match=rf"tasks.py: {helper}\(\): its docstring says that it returns something else"):
        tasks(source)


# lms/envs/common.py


def configuration(text):
    """Run the settings and return the producer configuration, its other part and what was derived."""
    derived = []
    namespace = execute(
        text,
        EVENT_BUS_PRODUCER_CONFIG={"base": {}},
        Derived=lambda function: ("derived", function),
        derived_collection_entry=lambda *path: derived.append(path),
    )
    return namespace["EVENT_BUS_PRODUCER_CONFIG"], derived


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("shape", SETTINGS_SHAPES)
def test_settings_get_two_disabled_entries(shape, newline):
    source = fixture(f"settings_{shape}").replace("\n", newline)
    before, derived_before = configuration(source)
    edited = settings(source)
    after, derived_after = configuration(edited)

    assert list(after) == [*before, *EVENT_TYPES]
    for event_type in EVENT_TYPES:
        assert after[event_type] == {
            "learning-program-certificate-lifecycle": {
                "event_key_field": "program_certificate.program.uuid",
                "enabled": False,
            }
        }
    assert list(derived_after) == list(derived_before)
    assert settings(edited) == edited


def own_entry_lines():
    lines = OWN_SETTINGS.read_text().splitlines(keepends=True)
    found = []
    for event_type in EVENT_TYPES:
        start = lines.index(f'    "{event_type}": {{\n')
        found += lines[start : lines.index("    },\n", start) + 1]
    return found


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize(
    ("shape", "bare", "comma"),
    [("s1", "    }\n", "    },\n"), ("s2", "", ""), ("s3", "", ""), ("s4", "    }\n", "    },\n")],
)
def test_settings_keep_every_other_line(shape, bare, comma, newline):
    source = fixture(f"settings_{shape}").replace("\n", newline)
    # Other lines may look like those that are added: compare the text, not a diff.
    entries = "".join(own_entry_lines())
    end = "})\n" if shape in ("s3", "s4") else "}\n"
    last = fixture(f"settings_{shape}").rindex(f"\n{end}") + 1
    head, tail = fixture(f"settings_{shape}")[:last], fixture(f"settings_{shape}")[last:]
    head = head.removesuffix(bare) + comma
    assert settings(source) == (head + entries + tail).replace("\n", newline)


@pytest.mark.parametrize("shape", SETTINGS_SHAPES)
def test_edited_settings_are_clean(shape):
    assert_clean(settings(fixture(f"settings_{shape}")))


def test_every_added_entry_has_its_toggle_annotation():
    added, _removed = changed_lines(fixture("settings_s2"), settings(fixture("settings_s2")))
    for event_type in EVENT_TYPES:
        name = f"            # .. toggle_name: EVENT_BUS_PRODUCER_CONFIG['{event_type}']\n"
        assert added.count(name) == 1


def test_entries_take_over_the_indentation():
    source = "EVENT_BUS_PRODUCER_CONFIG = {\n  'other': {\n  }\n}"
    edited = settings(source)
    head = "EVENT_BUS_PRODUCER_CONFIG = {\n  'other': {\n  },\n"
    assert edited.startswith(f'{head}  "{EVENT_TYPES[0]}": {{\n      ')
    assert edited.endswith("\n  },\n}")
    assert list(configuration(edited)[0]) == ["other", *EVENT_TYPES]


def test_an_empty_configuration_is_filled():
    edited = settings("EVENT_BUS_PRODUCER_CONFIG = {  # none\n}\n")
    assert edited == "EVENT_BUS_PRODUCER_CONFIG = {  # none\n" + "".join(own_entry_lines()) + "}\n"


def test_a_comment_behind_a_last_entry_without_comma_stays():
    edited = settings("EVENT_BUS_PRODUCER_CONFIG = {\n    'other': {}  # why\n    # more\n}\n")
    assert edited.startswith("EVENT_BUS_PRODUCER_CONFIG = {\n    'other': {},  # why\n    # more\n    \"org.")


def test_without_entries_of_its_own_nothing_is_added():
    own = parse("own", b"EVENT_BUS_PRODUCER_CONFIG = {\n}\n")
    with pytest.raises(Refusal, match=f"this repository's {SETTINGS}: {EVENT_TYPES[0]}: no such entry"):
        edit_settings(parse("common.py", fixture("settings_s1").encode()), own)


def test_entries_that_are_there_are_left():
    edited = settings(fixture("settings_s2"))
    quoted = edited.replace('"', "'")
    assert settings(quoted) == quoted
    lines = own_entry_lines()
    without_second = replaced(edited, "".join(lines[len(lines) // 2 :]), "")
    assert list(configuration(without_second)[0])[-1] == EVENT_TYPES[0]
    assert settings(without_second) == edited


@pytest.mark.parametrize("value", ["True", "Derived(_should_send_certificate_events)"])
def test_an_entry_that_is_enabled_stays_so(value):
    edited = settings(fixture("settings_s2"))
    lines = own_entry_lines()
    without_second = replaced(edited, "".join(lines[len(lines) // 2 :]), "")
    start = without_second.index(EVENT_TYPES[0])
    enabled = without_second[:start] + without_second[start:].replace('"enabled": False', f'"enabled": {value}', 1)

    both = settings(enabled)

    assert both == edited[:start] + edited[start:].replace('"enabled": False', f'"enabled": {value}', 1)
    assert settings(both) == both


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("program_certificate.program.uuid", "program_certificate.uuid"),
        ('    "learning-program-certificate-lifecycle"', '    "my-topic"'),
        ('"enabled": False', '"disabled": True'),
    ],
)
def test_an_entry_with_other_contents_is_refused(old, new):
    head, tail = settings(fixture("settings_s2")).split(f'"{EVENT_TYPES[1]}": {{')
    text = head + f'"{EVENT_TYPES[1]}": {{' + tail.replace(old, new, 1)
    with pytest.raises(Refusal, match=rf"lms/envs/common.py: {EVENT_TYPES[1]}: .* there already"):
        settings(text)


def test_an_entry_whose_key_is_concatenated_is_seen():
    edited = settings(fixture("settings_s2"))
    prefix, rest = EVENT_TYPES[0][:20], EVENT_TYPES[0][20:]
    source = replaced(edited, f'    "{EVENT_TYPES[0]}": {{', f"    \"{prefix}\" '{rest}': {{")
    assert list(configuration(source)[0]) == list(configuration(edited)[0])
    assert settings(source) == source

    with pytest.raises(Refusal, match=rf"{EVENT_TYPES[0]}: .* there already"):
        settings(source.replace('    "learning-program-certificate-lifecycle"', '    "my-topic"', 1))
    with pytest.raises(Refusal, match=f"{EVENT_TYPES[0]}: mentioned elsewhere"):
        settings(f"{fixture('settings_s3')}EVENT_BUS_PRODUCER_CONFIG['{prefix}' '{rest}'] = 1\n")


def test_strings_that_cannot_be_evaluated_are_no_obstacle(recwarn):
    source = "ODD = ['\\d' '\\w', f'{1}' 'x', b'x' b'y']\nEVENT_BUS_PRODUCER_CONFIG = {\n}\n"
    assert EVENT_TYPES[1] in settings(source)
    assert EVENT_TYPES[1] in settings(source.replace("'\\w'", "'\\x'"))
    assert not recwarn


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found 0"),
        ("EVENT_BUS_PRODUCER_CONFIG |= {\n}\n", "found 0"),
        ("EVENT_BUS_PRODUCER_CONFIG = {\n}\nEVENT_BUS_PRODUCER_CONFIG.update({\n})\n", "found 2"),
        ("if True:\n    EVENT_BUS_PRODUCER_CONFIG = {\n    }\n", "at the top level"),
        ("EVENT_BUS_PRODUCER_CONFIG = dict(a=1)\n", "expected a dict literal"),
        ("EVENT_BUS_PRODUCER_CONFIG.update(**{\n})\n", "expected a dict literal"),
        ("EVENT_BUS_PRODUCER_CONFIG.update(other)\n", "expected a dict literal"),
        ("EVENT_BUS_PRODUCER_CONFIG = {}\n", "expected a dict literal"),
        ("EVENT_BUS_PRODUCER_CONFIG = {'other': {}}\n", "expected a dict literal"),
        ("EVENT_BUS_PRODUCER_CONFIG = {\n    'other': {}}\n", "expected a dict literal"),
        (f"EVENT_BUS_PRODUCER_CONFIG = {{\n}}\nEVENT_BUS_PRODUCER_CONFIG['{EVENT_TYPES[0]}'] = 1\n", "mentioned else"),
    ],
)
def test_other_shapes_of_the_settings_are_refused(text, message):
    with pytest.raises(Refusal, match=message):
        settings(text)


# programs/apps.py


SIGNALS_IMPORT = "from . import signals  # noqa: F401 pylint: disable=unused-import\n"


@pytest.mark.parametrize(
    ("imported", "expected"),
    [
        (SIGNALS_IMPORT, "from . import checks, signals  # noqa: F401 pylint: disable=unused-import\n"),
        ("from . import api, signals  # noqa: F401\n", "from . import api, checks, signals  # noqa: F401\n"),
        (f"from {PROGRAMS} import signals  # noqa: F401\n", f"from {PROGRAMS} import checks, signals  # noqa: F401\n"),
        (
            f"# Receivers.\n        import {PROGRAMS}.signals  # noqa: F401\n",
            f"import {PROGRAMS}.checks  # noqa: F401\n\n"
            f"        # Receivers.\n        import {PROGRAMS}.signals  # noqa: F401\n",
        ),
    ],
)
@pytest.mark.parametrize("newline", NEWLINES)
def test_ready_imports_the_checks_as_it_imports_the_signals(imported, expected, newline):
    source = replaced(fixture("apps"), SIGNALS_IMPORT, imported).replace("\n", newline)
    edited = apps(source)
    assert edited == replaced(fixture("apps"), SIGNALS_IMPORT, expected).replace("\n", newline)
    assert apps(edited) == edited
    if newline == "\n":
        assert_clean(edited)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def ready(", "def prepare(", r"ready\(\): expected one such method, found 0"),
        ("class ProgramsConfig(AppConfig):", "if True:", r"ready\(\): expected one such method, found 0"),
        (SIGNALS_IMPORT, "pass\n", "expected one import of the app's signals, found 0"),
        (SIGNALS_IMPORT, "from .signals import handler\n", "expected one import of the app's signals, found 0"),
        (SIGNALS_IMPORT, "from . import (signals)\n", "in parentheses"),
        (SIGNALS_IMPORT, "from . import *\n", "found 0"),
    ],
)
def test_other_shapes_of_the_app_are_refused(old, new, message):
    with pytest.raises(Refusal, match=f"{APPS}: .*{message}"):
        apps(replaced(fixture("apps"), old, new))


# Any file


@pytest.mark.parametrize("source", [b"def (:\n", b"print 'x'\n", b"x = '\xff'\n", b"# coding: nope\n", b"x = \x00\n"])
def test_what_is_not_python_is_refused(source):
    with pytest.raises(Refusal, match="some.py: whole file: not valid Python"):
        parse("some.py", source)
