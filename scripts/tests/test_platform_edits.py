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
    add_repair_task,
    edit_apps,
    edit_settings,
    edit_tasks,
    parse,
)

FIXTURES = Path(__file__).parent / "fixtures"
REPOSITORY = Path(__file__).resolve().parent.parent.parent
OWN_SETTINGS = REPOSITORY / SETTINGS
OWN_TASKS = REPOSITORY / TASKS

TASK_SHAPES = ("a", "b", "b else", "c", "c variables else", "o2")
SETTINGS_SHAPES = ("s1", "s2", "s3", "s4")
NEWLINES = ("\n", "\r\n")

IMPORT = (
    "from openedx.core.djangoapps.programs.events import"
    " emit_program_certificate_awarded, emit_program_certificate_revoked\n"
)
HTTP_ERROR = "from requests.exceptions import HTTPError\n"
RESPONSE_IMPORT = "from requests import Response\n"
SESSION = "\n    from requests import Session\n"
RESPONSE_AND_SESSION = "\n    from requests import Response, Session\n"
AWARDED_LOG = '            LOGGER.info(f"Awarded program certificate to user {student.id} in program {program_uuid}")\n'
AWARDED_CALL = "            emit_program_certificate_awarded(student, program_uuid, response)\n"
EARLIER_CALL = "            emit_program_certificate_awarded(student, program_uuid)\n"
REVOKED_CALL = "            emit_program_certificate_revoked(student, program_uuid, response)\n"
AWARD_HELPER_CALL = "            award_program_certificate(client, student, program_uuid)\n"
REVOKE_HELPER_CALL = "            revoke_program_certificate(client, username, program_uuid)\n"
KEPT_AWARD = f"            response = {AWARD_HELPER_CALL.strip()}\n"
KEPT_REVOCATION = f"            response = {REVOKE_HELPER_CALL.strip()}\n"
LOOKUP = "        student = User.objects.get(username=username)\n"
LOOKUP_WITH_PROFILE = '        student = User.objects.select_related("profile").get(username=username)\n'
NONE = "        None\n"
DESCRIPTION = "        requests.Response: What Credentials answered.\n"
CHECK = "    response.raise_for_status()\n"
RETURN = "    return response\n"
CLIENT = "    failed = []\n    client"  # In the award task of shape A.
AWARD, REVOKE = "award_program_certificate", "revoke_program_certificate"

SUCCESSES = ((f"{AWARD}s", AWARD, "awarded"), (f"{REVOKE}s", REVOKE, "revoked"))
HELPERS = [AWARD, REVOKE]


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


def repaired(text, own=None):
    own = parse("own", own.encode() if own else OWN_TASKS.read_bytes())
    return add_repair_task(parse("tasks.py", text.encode()), own).bytes.decode()


def settings(text):
    own = parse("own", OWN_SETTINGS.read_bytes())
    return edit_settings(parse("common.py", text.encode()), own).bytes.decode()


def apps(text):
    return edit_apps(parse("apps.py", text.encode())).bytes.decode()


# What a shape is made of: its fixture, and what is done to that, one word each.


def fixture(name):
    """Return a file of the platform: ``tasks_a``, or ``tasks_c variables else edited``, say."""
    name, *words = name.split(" ")
    text = (FIXTURES / f"{name}.py.txt").read_text()
    for word in words:
        text = WORDS[word](text)
    compile(text, "variant.py", "exec")
    return text


def with_variables(source):
    """Let shape B or C build each event in a variable first."""
    for verb in ("AWARDED", "REVOKED"):
        call = source[source.index(f"            PROGRAM_CERTIFICATE_{verb}.send_event(") :]
        call = call[: call.index("\n            )\n") + len("\n            )\n")]
        data = replaced(call, f"PROGRAM_CERTIFICATE_{verb}.send_event(\n", "")
        data = replaced(data.strip(), "program_certificate=Program", "certificate = Program").removesuffix(")").strip()
        sent = f"            PROGRAM_CERTIFICATE_{verb}.send_event(program_certificate=certificate)\n"
        source = replaced(source, call, f"            {data}\n{sent}")
    return source


def in_else(source):
    """Move what follows the log line of each success into the ``else`` of the ``try``, the second with its log line."""
    for line in (AWARDED_LOG, "            revoke_program_certificate(client, username, program_uuid)\n"):
        line = line if line in source else f"            response = {line.strip()}\n"
        head, tail = source.split(line)
        moved, rest = tail[: tail.index("        except ")], tail[tail.index("        except ") :]
        attempt, failed, rest = rest.partition("            failed.append(program_uuid)\n")
        source = f"{head}{line}{attempt}{failed}        else:\n{moved}{rest}"
    return source


def earlier_version(text):
    """Return an edited shape as the change's first version left it: its helpers returned nothing."""
    text = replaced(text, ", response)\n", ")\n", 2)
    text = replaced(text, f" response = {AWARD}(", f" {AWARD}(")
    text = replaced(text, f" response = {REVOKE}(", f" {REVOKE}(")
    text = replaced(text, RETURN, "", 2).replace(DESCRIPTION, NONE)
    text = replaced(text, '.select_related("profile")', "", 2)
    return text.replace(RESPONSE_AND_SESSION, SESSION).replace('-> "Response":', "-> None:")


def with_small_helper(source):
    """Give shape A a small helper that awards."""
    head, _def, tail = source.partition(f"def {AWARD}(")
    _old, _gap, rest = tail.partition("\n\n\n")
    return f"{head}{SMALL_HELPER}\n\n{rest}"


def without_session(source):
    """Let shape C import nothing from ``requests`` for type checkers."""
    return replaced(replaced(source, SESSION, ""), 'client: "Session"', "client")


SMALL_HELPER = f"def {AWARD}(client, user, program_uuid):\n    response = client.post(1)\n{CHECK}"
WORDS = {
    "variables": with_variables,
    "else": in_else,
    "edited": tasks,
    "earlier": earlier_version,
    "small": with_small_helper,
    "plain": without_session,
}


def changed(shape, changes):
    """Return a shape of the tasks with (old, new) or (old, new, how often) replaced."""
    text = fixture(f"tasks_{shape}")
    for change in changes:
        text = replaced(text, *change)
    return text


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
    users.objects.select_related.side_effect = {"profile": mock.MagicMock(**{"get.return_value": student})}.__getitem__
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


# programs/tasks.py: every shape


@pytest.mark.parametrize("shape", TASK_SHAPES)
def test_tasks_emit_after_each_success_and_only_then(shape):
    source = fixture(f"tasks_{shape}")
    edited = tasks(source)

    for task, helper, word in SUCCESSES:
        assert run_task(edited, task, helper) == [
            (helper, "p1"),
            (word, True, "p1", True),
            (helper, "p2"),
            (helper, "p3"),
            (helper, "p4"),
            (word, True, "p4", True),
        ]
        assert run_helper(source, helper)[0] is None
        returned, answer, _module = run_helper(edited, helper)
        assert returned is answer
        with pytest.raises(FakeHTTPError):
            run_helper(edited, helper, refused=True)


@pytest.mark.parametrize("shape", TASK_SHAPES)
def test_edited_tasks_are_clean_and_are_edited_once(shape):
    edited = tasks(fixture(f"tasks_{shape}"))
    assert_clean(repaired(edited))
    assert tasks(edited) == edited
    assert tasks(fixture(f"tasks_{shape}").replace("\n", "\r\n")) == edited.replace("\n", "\r\n")
    assert tasks(earlier_version(edited)) == edited
    if "\r" not in edited:
        assert tasks(earlier_version(edited).replace("\n", "\r\n")) == edited.replace("\n", "\r\n")


def test_the_tasks_of_this_repository_stay_as_they_are():
    source = OWN_TASKS.read_text()
    assert "emit_program_certificate_awarded(student, program_uuid, response)" in source
    assert tasks(source) == source
    assert repaired(source) == source


O2_AWARD = f"{AWARD}(credentials_client, student, uuid, visible_date)\n"
O2_REVOCATION = f"{REVOKE}(credentials_client, username, program_uuid)\n"
LEARNER, LEARNER_WITH_PROFILE = (text.replace("student", "learner") for text in (LOOKUP, LOOKUP_WITH_PROFILE))


@pytest.mark.parametrize(
    ("shape", "added", "removed"),
    [
        (
            "a",
            [
                *[IMPORT, DESCRIPTION, RETURN, DESCRIPTION, RETURN, LOOKUP_WITH_PROFILE, KEPT_AWARD, AWARDED_CALL],
                *[LOOKUP_WITH_PROFILE, KEPT_REVOCATION, REVOKED_CALL],
            ],
            [NONE, NONE, LOOKUP, AWARD_HELPER_CALL, LOOKUP, REVOKE_HELPER_CALL],
        ),
        (
            "o2",
            [
                *[IMPORT, RETURN, LOOKUP_WITH_PROFILE, f"            response = {O2_AWARD}"],
                *["            emit_program_certificate_awarded(student, uuid, response)\n", RETURN],
                *[LEARNER_WITH_PROFILE, f"            response = {O2_REVOCATION}"],
                "            emit_program_certificate_revoked(learner, program_uuid, response)\n",
            ],
            [LOOKUP, f"            {O2_AWARD}", LEARNER, f"            {O2_REVOCATION}"],
        ),
    ],
)
def test_a_shape_keeps_every_other_line(shape, added, removed):
    source = fixture(f"tasks_{shape}")
    assert changed_lines(source, tasks(source)) == (added, removed)


def test_shape_a_has_them_at_their_places():
    edited = fixture("tasks_a edited")
    assert f"{KEPT_AWARD}{AWARDED_LOG}{AWARDED_CALL}        except HTTPError" in edited
    assert f"{IMPORT}from openedx.core.djangoapps.programs.utils import ProgramProgressMeter\n" in edited
    assert edited.count(f'    Returns:\n{DESCRIPTION}    """\n') == 2
    assert edited.count(f"{CHECK}{RETURN}\n\n") == 2


def test_shape_c_loses_its_inline_events_and_their_imports():
    source, edited = fixture("tasks_c"), fixture("tasks_c edited")
    added, removed = changed_lines(source, edited)
    assert RESPONSE_AND_SESSION[1:] in added
    assert f'def {AWARD}(client: "Session", user, program_uuid) -> "Response":\n' in added
    assert "openedx_events" not in edited
    assert "event_implemented_name" not in edited
    # 6 + 1 lines of imports, and for each event 2 of annotations and 17 of code; and what is replaced, as in shape A.
    assert len(removed) == 7 + 2 * 19 + 2 + 6


# programs/tasks.py: a shape with some differences, and how that differs when it is edited

BARE = 'ProgramData(uuid=program_uuid, title="", program_type="")'
SEND = "            PROGRAM_CERTIFICATE_AWARDED.send_event(\n"
PII = f"            pii = UserPersonalData(username='', email='', name='')\n{SEND}"
IN_A_VARIABLE = [
    (f"program={BARE}", "program=program", 2),
    ("            certificate =", f"            program = {BARE}\n            certificate =", 2),
]
ANNOTATION = "            # .. event_implemented_name: PROGRAM_CERTIFICATE_AWARDED\n"
TELL = "            # Tell the others.\n"
DATA_IMPORT = "from openedx_events.learning.data import {}\n" + HTTP_ERROR
SIGNALS = "import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED\n"
GET = "from requests import get\n"
WITHOUT_IMPORTS = [
    ("from celery import shared_task\n", ""),
    ("from celery.exceptions import MaxRetriesExceededError\n", ""),
    ("from celery.utils.log import get_task_logger\n", ""),
    ("from django.conf import settings\n", ""),
    ("from django.contrib.auth import get_user_model\n", ""),
]
WITHOUT_OWNER = ("from edx_django_utils.monitoring import set_code_owner_attribute\n", "")
CREDENTIALS_IMPORTS = (
    "from openedx.core.djangoapps.credentials.api import is_credentials_enabled\n"
    "from openedx.core.djangoapps.credentials.utils import (\n"
    "    get_credentials_api_base_url,\n    get_credentials_api_client,\n)\n"
)
USES_USER_DATA = ("User = get_user_model()\n", "User = get_user_model()\nKIND = UserData\n")
EXPORTS_PROGRAM_DATA = ("__name__)\n", '__name__)\n__all__ = ["ProgramData"]\n')
LOOK_FOR_THIS = (AWARDED_LOG, f"            # Operators look for this.\n{AWARDED_LOG}")
GET_IT, FIRST = ".get(username=username)\n", ".filter(username=username).first()\n"
KEPT_ANSWER = f"            answer = {AWARD_HELPER_CALL.strip()}  # kept\n"
USED_ANSWER = "            LOGGER.debug(answer)\n"
MANY_LINES = f"{AWARD}(  # ask\n                client, student, program_uuid\n            )\n"
CHECKED = f'user.username, "credential": {{"program_uuid": program_uuid}}}})\n{CHECK}'
AS_IT_IS = (
    SMALL_HELPER.replace("):\n", ') -> "Answer":\n    """\n    Ask.\n\n    Returns:\n        It.\n    """\n') + RETURN
)
SECOND = "username, program_uuid):\n"
AT_THE_TOP = (HTTP_ERROR, RESPONSE_IMPORT + HTTP_ERROR)
KIND = ("User = get_user_model()\n", "User = get_user_model()\nKIND = Response\n")
DATETIME = "    from datetime import datetime\n"


def extra_line(line):
    """Return the change that the award task of shape A has one more line before its loop."""
    return (CLIENT, CLIENT.replace("    client", f"    {line}\n    client"))


# A shape; what is changed in it; what is changed in the edited shape then (the same if None); that shape, if another.
ACCEPTED = [
    # Events that are sent inline: as shape A, in variables, in the else of the try, with other words for nothing.
    ("b", [("B: as A, and each success sends its event inline.", "A")],
     [("A: decorators over several lines, double quotes, f-strings, no events.", "A")], "a edited"),
    ("c variables", [], [], "c edited"),
    ("b else", [], [], "b edited else"),
    ("c variables else", [], [], "c edited else"),
    *[(shape, [(old, new, 2)], [], "c edited") for shape in ("c", "c variables") for old, new in (
        ('uuid="",', "uuid='',"),
        ('url="",', "certificate_available_date=None,"),
        (', title="", program_type="")', ")"),
        ("id=student.id", "id=7"),
    )],
    ("c variables", IN_A_VARIABLE, [], "c edited"),
    ("b", [(SEND, PII)], []),
    ("b", [(ANNOTATION, f"\n{TELL}{ANNOTATION}            #     with a second line\n")],
     [(AWARDED_CALL, f"\n{TELL}{AWARDED_CALL}")]),
    # Imports that something else uses, or that nothing used before; groups of imports.
    ("b", [USES_USER_DATA, EXPORTS_PROGRAM_DATA],
     [USES_USER_DATA, EXPORTS_PROGRAM_DATA, (HTTP_ERROR, DATA_IMPORT.format("ProgramData, UserData"))]),
    ("c", [USES_USER_DATA], [USES_USER_DATA, (HTTP_ERROR, DATA_IMPORT.format("(\n    UserData,\n)"))]),
    ("b", [("UserData, UserPersonalData\n", "UserData, UserPersonalData, XBlockData\n")],
     [(HTTP_ERROR, DATA_IMPORT.format("XBlockData"))]),
    ("b", [("LOGGER = get", "from somewhere import status  # noqa: F401\nLOGGER = get")], None),
    ("b", [*WITHOUT_IMPORTS, WITHOUT_OWNER, (HTTP_ERROR, "")],
     [*WITHOUT_IMPORTS, WITHOUT_OWNER, (f"import urljoin\n\n{HTTP_ERROR}", "import urljoin\n")]),
    ("b", [*WITHOUT_IMPORTS, WITHOUT_OWNER, (HTTP_ERROR, ""), (SIGNALS, SIGNALS + GET)],
     [*WITHOUT_IMPORTS, WITHOUT_OWNER, (HTTP_ERROR, GET)]),
    ("a", [(CREDENTIALS_IMPORTS, "# Progress.\n")], [(CREDENTIALS_IMPORTS + IMPORT, f"{IMPORT}\n# Progress.\n")]),
    # Comments, the log line, and what is there already.
    ("a", [LOOK_FOR_THIS, (AWARD_HELPER_CALL, f"            # Ask.\n{AWARD_HELPER_CALL.rstrip()};  # may raise\n")],
     [LOOK_FOR_THIS, (KEPT_AWARD, f"            # Ask.\n{KEPT_AWARD.rstrip()};  # may raise\n")]),
    ("a", [(AWARDED_LOG, "")], None),
    ("a edited", [(REVOKED_CALL, "")], [], "a edited"),
    ("a edited", [(IMPORT, "")], [], "a edited"),
    ("c edited", [(AWARDED_CALL, EARLIER_CALL)], [], "c edited"),
    ("c edited", [(f"{CHECK}{RETURN}\n\n@", f"{CHECK}\n\n@")], [], "c edited"),
    ("a edited earlier", [(EARLIER_CALL, f"{TELL}{EARLIER_CALL.rstrip()}  # never raises\n")],
     [(AWARDED_CALL, f"{TELL}{AWARDED_CALL.rstrip()}  # never raises\n")], "a edited"),
    # The learner.
    ("a", [(LOOKUP, LOOKUP.replace(GET_IT, FIRST), 2)],
     [(LOOKUP_WITH_PROFILE, LOOKUP_WITH_PROFILE.replace(GET_IT, FIRST), 2)]),
    ("a", [(LOOKUP, LOOKUP_WITH_PROFILE.replace('"', "'"), 2)],
     [(LOOKUP_WITH_PROFILE, LOOKUP_WITH_PROFILE.replace('"', "'"), 2)]),
    ("a", [extra_line("from x import get\n    get(student=student).student = 1\n    failed[student] = 2")], None),
    # What the task keeps.
    ("a", [(AWARD_HELPER_CALL, KEPT_ANSWER), (AWARDED_LOG, AWARDED_LOG + USED_ANSWER)],
     [(KEPT_AWARD, KEPT_ANSWER), (AWARDED_CALL, AWARDED_CALL.replace("response", "answer") + USED_ANSWER)]),
    ("a", [(AWARD_HELPER_CALL, f"            {MANY_LINES}")], [(KEPT_AWARD, f"            response = {MANY_LINES}")]),
    ("a", [extra_line("print(response=1)")], None),
    # The helpers: a return of nothing, comments, another variable, one that returns the answer already.
    *[("a", [(CHECKED, f"{CHECKED}    # Done.\n    {code}  # nothing\n")],
       [(CHECKED + RETURN, f"{CHECKED}    # Done.\n    return response  # nothing\n")])
      for code in ("return", "return None", "return (None)")],
    ("a small", [(f"(1)\n{CHECK}", f"(1)\n    # Or else.\n{CHECK.rstrip()}  # raises\n    # That was it.\n")],
     [(f"(1)\n{CHECK}{RETURN}", f"(1)\n    # Or else.\n{CHECK.rstrip()}  # raises\n{RETURN}    # That was it.\n")]),
    ("a small", [(SMALL_HELPER, SMALL_HELPER.replace("response", "answer"))],
     [(SMALL_HELPER + RETURN, (SMALL_HELPER + RETURN).replace("response", "answer"))]),
    ("a small", [(SMALL_HELPER, AS_IT_IS)], [(SMALL_HELPER + RETURN, AS_IT_IS)]),
    # The annotation of a helper, and the import of its class: beside Session, there already, at its place.
    *[(shape, [("-> None:", f"-> {text}:")], []) for text in ('"None"', "'None'") for shape in ("c", "c plain")],
    *[(shape, [(SECOND, SECOND.replace(":", " -> None:"))], [(SECOND, SECOND.replace(":", f" -> {text}:"))])
      for shape, text in (("c", '"Response"'), ("c plain", "Response"))],
    ("c", [(SESSION, RESPONSE_AND_SESSION)], []),
    ("c edited", [(RESPONSE_AND_SESSION, SESSION), ('-> "Response"', "-> Response"), AT_THE_TOP], [], "c edited"),
    ("c edited", [(RESPONSE_AND_SESSION, SESSION), ('-> "Response"', "-> Response"), AT_THE_TOP, KIND],
     [(RESPONSE_AND_SESSION, SESSION), ('-> "Response"', "-> Response"), AT_THE_TOP, KIND], "c edited"),
    ("c plain", [(DATETIME, f"{DATETIME}\n    {RESPONSE_IMPORT}")],
     [("-> Response", '-> "Response"'), (f"{RESPONSE_IMPORT}{HTTP_ERROR}", HTTP_ERROR),
      (DATETIME, f"{DATETIME}\n    {RESPONSE_IMPORT}")]),
    *[("c plain", [(HTTP_ERROR, line + HTTP_ERROR)], [(RESPONSE_IMPORT + HTTP_ERROR, line + HTTP_ERROR)]) for line in (
        RESPONSE_IMPORT,
        "from requests import Response, Session  # noqa: F401\n",
        "from requests import (\n    Response,\n)\n",
    )],
    *[("c plain", [(HTTP_ERROR, imports)], [(RESPONSE_IMPORT + HTTP_ERROR, expected)]) for imports, expected in (
        (f"{HTTP_ERROR}from rules import a\n", f"{RESPONSE_IMPORT}{HTTP_ERROR}from rules import a\n"),
        (f"\n# Errors.\n{HTTP_ERROR}", f"{RESPONSE_IMPORT}\n# Errors.\n{HTTP_ERROR}"),
        ("from aiohttp import HTTPError\n", f"from aiohttp import HTTPError\n{RESPONSE_IMPORT}"),
        ("from responses import HTTPError\n", f"{RESPONSE_IMPORT}from responses import HTTPError\n"),
    )],
    ("c plain", [("\nif TYPE_CHECKING", "\nfrom .utils import a  # noqa: F401\n\nif TYPE_CHECKING")], None),
    ("c plain", WITHOUT_IMPORTS, None),
]  # fmt: skip


@pytest.mark.parts
@pytest.mark.parametrize("row", ACCEPTED)
def test_variants_are_edited(row):
    shape, changes, differences, *others = row
    [result] = others or [f"{shape} edited"]
    edited = tasks(changed(shape, changes))
    assert edited == changed(result, changes if differences is None else differences)
    assert tasks(edited) == edited


def test_a_helper_may_be_the_last_function():
    source = replaced(fixture("tasks_a small"), f"{SMALL_HELPER}\n\n", "") + f"\n\n{SMALL_HELPER.rstrip()}"
    edited = tasks(source)
    assert edited.endswith(f"\n\n\n{SMALL_HELPER}{RETURN.rstrip()}")
    assert repaired(edited).count("\n\n\n@shared_task(\n") == 3


def test_the_annotation_is_evaluated_where_the_class_is_imported():
    for shape, expected in (("c plain", Answer), ("c", "Response")):
        _returned, _answer, module = run_helper(fixture(f"tasks_{shape} edited"), AWARD)
        assert module[AWARD].__annotations__["return"] == expected


# What is said about the helpers: the docstring


ARGUMENTS = "    Args:\n        client: A session,\n            opened before.\n\n        user: Who.\n"
RETURNS = f"    Returns:\n{DESCRIPTION}"
RAISES = "    Raises:\n        HTTPError: Refused.\n"


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
        *[(text, text) for text in (
            f"\n    Ask.\n\n{RETURNS}    ",
            "\n    Ask.\n\n    No more of it.\n    ",
            f"\n    Ask.\n\n{RAISES}    ",
            "\n    Mind the Args:\n        user: Who.\n    ",
            "Ask, and answer: None.",
            "Returns: None.",
            "",
        )],
    ],
)  # fmt: skip
def test_a_docstring_follows(docstring, expected):
    head = f"def {AWARD}(client, user, program_uuid):\n"
    source = changed("a small", [(head, f'{head}    """{docstring}"""\n')])
    edited = changed("a small edited", [(head, f'{head}    """{expected}"""\n')])
    assert tasks(source) == edited
    assert tasks(source.replace("\n", "\r\n")) == edited.replace("\n", "\r\n")


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
def test_a_docstring_that_says_something_else_is_refused(returns):
    source = replaced_in(REVOKE, fixture("tasks_c"), "    Returns:\n        None\n", returns)
    with pytest.raises(Refusal, match=rf"tasks.py: {REVOKE}\(\): its docstring says that it returns something else"):
        tasks(source)


# programs/tasks.py: what is refused, by its message


def at(place, message):
    return rf"tasks.py: {place}\(\): .*{message}"


OTHER_HELPERS = [
    # The check, in another form.
    *[(at(AWARD, "expected one raise_for_status"), old, new) for old, new in (
        (f"response = client.post(1)\n{CHECK}", "client.post(1).raise_for_status()\n"),
        (f"\n    response = client.post(1)\n{CHECK}", " client.raise_for_status()\n"),
        (CHECK, f"{CHECK}    print(1)\n"),
        (CHECK, f"    if response:\n    {CHECK}"),
        (CHECK, f"{CHECK}{CHECK}"),
        (CHECK, f"    response.raise_for_status\n{CHECK}"),
        (CHECK, "    response.raise_for_status(1)\n"),
        (CHECK, "    checked = response.raise_for_status()\n"),
        (CHECK, "    return response.raise_for_status()\n"),
        (CHECK, "    response.raise_for_status(); return response\n"),
        (CHECK, "    response.first.raise_for_status()\n"),
        (CHECK, f"{CHECK}{RETURN}{RETURN}"),
    )],
    *[(at(AWARD, "(response|client) is not bound once"), old, new) for old, new in (
        (CHECK, f"    response = wrap(response)\n{CHECK}"),
        (CHECK, f"    del response\n{CHECK}"),
        (CHECK, f"    print(response := 1)\n{CHECK}"),
        ("response = client", "response = None or client"),
        ("response = client", "response = answer = client"),
        ("response = client", "response: object = client"),
        (CHECK, "    client.raise_for_status()\n"),
    )],
    *[(at(AWARD, "returns something else than response, or elsewhere than at its end"), CHECK, new) for new in (
        f"{CHECK}    return True\n",
        f"{CHECK}    return client\n",
        f"{CHECK}    return response.ok\n",
        f"    if not response:\n        return False\n{CHECK}",
        f"    if not response:\n        return\n{CHECK}",
        f"    if not response:\n        return response\n{CHECK}{RETURN}",
    )],
    (at(AWARD, "no requests-style call"), CHECK, ""),
    (at(AWARD, "is decorated"), "def ", "@quiet\ndef "),
]  # fmt: skip

REFUSED = [
    # Functions and calls that are not there, or not as they should be.
    (at(f"{AWARD}s", "found 0"), "a", [(f"def {AWARD}s(", "def award_programs(")]),
    (at(f"{REVOKE}s", "found 0"), "a", [(f"def {REVOKE}s(", "def revoke(")]),
    (at(AWARD, "found 0"), "a", [(f"def {AWARD}(", "def award(")]),
    (at(AWARD, "no requests-style call"), "o1", []),
    *[(at(f"{AWARD}s", message), "a", [(AWARD_HELPER_CALL, new)]) for message, new in (
        ("expected one call of .* found 2", AWARD_HELPER_CALL * 2),
        ("expected one call of .* found 2", KEPT_AWARD + AWARD_HELPER_CALL),
        ("expected one call of .* found 1", f"{AWARD_HELPER_CALL}            done = {AWARD}\n"),
        ("expected one call of .* found 0", "            pass\n"),
        ("the variable of the loop", AWARD_HELPER_CALL.replace("program_uuid", "uuid")),
        *[(r"expected one call of .* found 0", f"            {form.format(AWARD_HELPER_CALL.strip())}\n") for form in (
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
        )],
        *[(f"{variable}, .* is bound elsewhere too", f"            {variable} = {AWARD_HELPER_CALL.strip()}\n")
          for variable in ("program_uuid", "failed", "student")],
    )],
    (at(f"{AWARD}s", "found 0"), "a",
     [("for program_uuid in sorted(completed(student)):", "while program_uuid := next(completed):")]),
    (at(f"{AWARD}s", "the variable of the loop"), "a",
     [("for program_uuid in sorted(completed(student)):", "for program_uuid, _ in []:")]),
    # The emitter, the signals and the imports.
    (at(f"{AWARD}s", "another way"), "a",
     [(AWARDED_LOG, f"{AWARDED_LOG}            emit_program_certificate_awarded(student, 1)\n")]),
    *[(at(f"{AWARD}s", r"calls the emitter in another way than .*\(student, program_uuid, response\)$"), "a edited",
       [("awarded(student, program_uuid, response)", f"awarded({arguments})")]) for arguments in (
        "student",
        "user, program_uuid",
        "student, program_uuid, answer",
        "student, program_uuid, time=NOW",
        "student, program_uuid, response=response",
        "student, program_uuid, response, time=NOW",
    )],
    (at(f"{AWARD}s", "elsewhere than right after"), "a",
     [(AWARDED_LOG, f"            if 1:\n    {EARLIER_CALL}{AWARDED_LOG}")]),
    (at(f"{AWARD}s", "elsewhere than right after"), "b edited else", [(AWARDED_LOG, AWARDED_LOG + AWARDED_CALL)]),
    *[(at(f"{AWARD}s", "sent in a way"), shape, [(SEND, new)]) for shape in ("b", "b else") for new in (
        SEND.replace("PROGRAM", "if True: PROGRAM"),
        f"{SEND}                time=NOW,\n",
        f"            now = 1\n{SEND}",
    )],
    (at(f"{AWARD}s", "sent in a way"), "a",
     [(HTTP_ERROR, f"{HTTP_ERROR}from x import PROGRAM_CERTIFICATE_AWARDED as AWARDED\n")]),
    (at(f"{REVOKE}s", "sent in a way"), "b else",
     [("        else:\n            LOGGER.info(f\"Revoked", "        finally:\n            LOGGER.info(f\"Revoked")]),
    ("tasks.py: imports: .* another way", "a",
     [("LOGGER = get", "from .events import emit_program_certificate_awarded\nLOGGER = get")]),
    ("tasks.py: imports: no first-party import at the top", "a", [("from typing", "PATH = 1\nfrom typing")]),
    # Events that carry more than the emitter sends.
    *[(at(f"{AWARD}s", "sent (inline is not|in a way)"), shape, [(old, new, 2)])
      for shape in ("c", "c variables", "c else") for old, new in (
        ('uuid="",', "uuid=credential.uuid,"),
        ('url="",', 'url="https://example.com",'),
        ('url="",', 'url="", certificate_available_date=now,'),
        ('url="",', "**more,"),
        ('title=""', "title=program.title"),
        ('program_type=""', 'program_type="MicroMasters"'),
        ('uuid=program_uuid, title="", program_type=""', 'program_uuid, "A title", "MicroMasters"'),
        (f"program={BARE}", "program=describe(program_uuid)"),
        ("ProgramCertificateData(\n", "ProgramCertificateDataWithTitle(\n"),
    )],
    (at(f"{AWARD}s", "the event sent inline is not known to be without title"), "c variables",
     [*IN_A_VARIABLE, ('title=""', 'title="A title"', 2)]),
    (at(f"{AWARD}s", "pii is used elsewhere"), "b",
     [(SEND, PII), extra_line("pii = 1")]),
    # The learner.
    *[(at(f"{AWARD}s", "cannot tell which variable holds the learner"), "a", [(LOOKUP, new, 2)]) for new in (
        "        student = find(username)\n",
        "        def find():\n            learner = User.objects.get(username=username)\n"
        "            return learner\n\n        student = find()\n",
    )],
    *[(at(f"{AWARD}s", "cannot tell which variable holds the learner"), "a", [extra_line(line)]) for line in (
        "student = 1",
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
    )],
    *[(at(f"{AWARD}s", "looked up in another way than by User.objects"), "a",
       [("student = User.objects.get", f"student = {users}.get", 2)]) for users in (
        "find_users()",
        "User.objects.using('replica')",
        "User.objects.select_related('preferences')",
        "User.objects.select_related('profile', 'preferences')",
        "User.objects.filter(is_active=True)",
    )],
    # A variable named like the answer's.
    *[(at(f"{AWARD}s", "response is used already"), "a", [extra_line(line)]) for line in (
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
    )],
    # The helpers and their annotations.
    *[(message, "a small", [(SMALL_HELPER, replaced(SMALL_HELPER, old, new))]) for message, old, new in OTHER_HELPERS],
    (at(REVOKE, "is decorated"), "a", [(f"def {REVOKE}(", f"@quiet\ndef {REVOKE}(")]),
    *[(at(AWARD, "is annotated to return something else than None"), "c", [("-> None:", new)]) for new in (
        "-> bool:",
        "-> 'Response':",
        "-> Response | None:",
    )],
    *[(f"tasks.py: imports: {message}", "c plain", [change]) for message, *change in (
        ("Response is bound in another way", "LOGGER = get", "Response = 1\nLOGGER = get"),
        ("Response is bound in another way", "LOGGER = get", "class Response: pass\nLOGGER = get"),
        ("Response is bound in another way", "LOGGER = get", "def f(Response): pass\nLOGGER = get"),
        ("Response is bound in another way", "LOGGER = get", f"{RESPONSE_IMPORT}Response = 1\nLOGGER = get"),
        ("Response is bound in another way", "    from datetime", "    from x import Response\n    from datetime"),
        ("Response is bound in another way", HTTP_ERROR, f"from requests.models import Response\n{HTTP_ERROR}"),
        ("Response is bound in another way", HTTP_ERROR, f"from x import Y as Response\n{HTTP_ERROR}"),
        ("requests is imported from in another way", HTTP_ERROR, f"from requests import Session\n{HTTP_ERROR}"),
        ("requests is imported from in another way", HTTP_ERROR, f"from requests import *\n{HTTP_ERROR}"),
        ("requests is imported from in another way", HTTP_ERROR, f"from requests import Response as R\n{HTTP_ERROR}"),
        ("no third-party import at the top", "from celery import", "X = 1\nfrom celery import"),
    )],
    ("tasks.py: imports: Response is bound in another way", "c", [("LOGGER = get", "Response = 1\nLOGGER = get")]),
    *[("tasks.py: imports: requests is imported from in another way", "c", [("import Session\n", f"import {names}\n")])
      for names in ("Session, get", "Session as S", "(Session)")],
]  # fmt: skip


@pytest.mark.parts
@pytest.mark.parametrize(("message", "shape", "changes"), REFUSED)
def test_other_shapes_of_the_tasks_are_refused(message, shape, changes):
    source = changed(shape, changes)
    compile(source, "variant.py", "exec")
    with pytest.raises(Refusal, match=message):
        tasks(source)


# programs/tasks.py: the repair's task

OPTIONS = (
    "@shared_task(\n    bind=True,\n    ignore_result=True,\n    autoretry_for=(Exception,),\n    max_retries=10,\n"
)
RETRIES = "    retry_backoff=30,\n    retry_backoff_max=600,\n"
LATE = "    acks_late=True,\n    reject_on_worker_lost=True,\n)\n"
OWNER = "@set_code_owner_attribute\n"
ENABLED = "    from openedx.core.djangoapps.credentials.api import is_credentials_enabled\n"
REPAIR = "republish_program_certificates"
ONE_LINE = "@shared_task(bind=True, ignore_result=True)\n"
NEIGHBOUR = f"@set_code_owner_attribute\ndef {REVOKE}s("


def repair(decorators, imports=""):
    """Return the task as it is in this repository, with other decorators and more imports."""
    text = OWN_TASKS.read_text()
    text = text[text.index(f"def {REPAIR}(") :].partition("\n\n\n")[0].rstrip("\n") + "\n"
    return decorators + replaced(text, f"    from {PROGRAMS}.republish", f"{imports}    from {PROGRAMS}.republish")


REPAIR_TASKS = {
    "a": (f"{OPTIONS}{LATE}{OWNER}", ""),
    "b": (f"{OPTIONS}{LATE}{OWNER}", ""),
    "c": (f"{OPTIONS}{LATE}", ""),
    "o2": (f"{OPTIONS}{RETRIES}{LATE}{OWNER}", ENABLED),
}


@pytest.mark.parametrize(("shape", "expected"), REPAIR_TASKS.items())
def test_the_repair_is_appended(shape, expected):
    source = fixture(f"tasks_{shape}")
    edited = repaired(source)
    assert edited == f"{source}\n\n{repair(*expected)}"
    assert repaired(edited) == edited
    assert repaired(source.replace("\n", "\r\n")) == edited.replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("old", "new", "decorator"),
    [
        # On one line as long as that is short enough, in whatever order, without what is given already.
        (
            ONE_LINE,
            "@shared_task(**OPTIONS)\n",
            "@shared_task(**OPTIONS, acks_late=True, reject_on_worker_lost=True)\n",
        ),
        (
            ONE_LINE,
            "@shared_task(autoretry_for=(OSError,), acks_late=False, bind=True)\n",
            "@shared_task(autoretry_for=(OSError,), bind=True, acks_late=True, reject_on_worker_lost=True)\n",
        ),
        (
            ONE_LINE,
            "@shared_task(\n    bind=True, autoretry_for=(OSError,)\n)\n",
            f"@shared_task(\n    bind=True,\n    autoretry_for=(OSError,),\n{LATE}",
        ),
    ],
)
def test_the_repair_is_decorated_as_its_neighbour(old, new, decorator):
    source = replaced(fixture("tasks_o2"), old, new, 2)
    assert repaired(source) == f"{source}\n\n{repair(decorator + OWNER, ENABLED)}"


def test_another_version_of_the_repair_is_replaced_where_it_is():
    source = fixture("tasks_a")
    new = repair(*REPAIR_TASKS["a"])
    old = f"@shared_task(bind=True)\ndef {REPAIR}(self, user_id):\n    return user_id\n"
    place = "\n\nLOGGER = get"
    assert repaired(replaced(source, place, f"\n\n# Repair.\n{old}{place}")) == replaced(
        source, place, f"\n\n# Repair.\n{new}{place}"
    )


def test_what_the_repair_needs_and_the_platform_has_is_imported_in_it():
    source = replaced(fixture("tasks_a"), CREDENTIALS_IMPORTS.partition("\n")[0] + "\n", "")
    assert repaired(source).endswith(f"\n\n{repair(REPAIR_TASKS['a'][0], ENABLED)}")
    # A name that is there for type checkers only is not there.
    source = replaced(source, "    from datetime", f"{ENABLED}    from datetime")
    assert repaired(source).endswith(f"\n\n{repair(REPAIR_TASKS['a'][0], ENABLED)}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("import MaxRetriesExceededError\n", "import Ignore\n", rf"{REPAIR}\(\): needs MaxRetriesExceededError"),
        ("User = get_user_model()", "USER = get_user_model()", rf"{REPAIR}\(\): needs User"),
        ("LOGGER = get", f"from x import {REPAIR}\nLOGGER = get", rf"{REPAIR}\(\): expected one .* found 0"),
        ("LOGGER = get", f"def {REPAIR}(): pass\ndef {REPAIR}(): pass\nLOGGER = get", "expected one .* found 2"),
        (f"def {REVOKE}s(", "def revoke(", rf"{REVOKE}s\(\): expected one function of this name, found 0"),
        (NEIGHBOUR, NEIGHBOUR.replace("@set", "@quiet\n@set"), rf"{REVOKE}s\(\): is decorated in another way"),
        (f"{OPTIONS})\n{NEIGHBOUR}", f"@app.task(bind=True)\n{NEIGHBOUR}", "is decorated in another way"),
        (f"{OPTIONS})\n{NEIGHBOUR}", NEIGHBOUR, "is decorated in another way"),
        (f"{OPTIONS})\n{NEIGHBOUR}", f"def {REVOKE}s(", "is decorated in another way"),
        (f"{OPTIONS})\n{NEIGHBOUR}", f"@shared_task\n{NEIGHBOUR}", "is decorated in another way"),
        (f"{OPTIONS})\n{NEIGHBOUR}", f"@shared_task(*OPTIONS, bind=True)\n{NEIGHBOUR}", "is decorated in another way"),
        (f"{OPTIONS})\n{NEIGHBOUR}", f"@shared_task(bind=True, name='x')\n{NEIGHBOUR}", "has a name, or is without"),
        (f"{OPTIONS})\n{NEIGHBOUR}", f"@shared_task(ignore_result=True)\n{NEIGHBOUR}", "has a name, or is without"),
    ],
)
def test_a_file_that_cannot_take_the_repair_is_refused(old, new, message):
    source = replaced(fixture("tasks_a"), old, new)
    with pytest.raises(Refusal, match=f"tasks.py: .*{message}"):
        repaired(source)


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
