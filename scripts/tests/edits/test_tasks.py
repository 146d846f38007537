"""
The edits of ``programs/tasks.py``: what becomes of each shape, and of shapes with differences; what is refused.
"""

import difflib

import pytest
from edits.tasks import edit_tasks

from tests.edits.shapes import (
    AWARD,
    AWARD_CALL,
    AWARD_LOG,
    CHECK,
    DESCRIPTION,
    EVENT_IMPORTS,
    FIXTURES,
    HTTP_ERROR,
    OWN_TASKS,
    RESPONSE_AND_SESSION,
    RETURN,
    REVOKE,
    SESSION,
    SMALL_HELPER,
    Difference,
    changed,
    check_edit,
    check_refusal,
    shape,
)

IMPORT = (
    "from openedx.core.djangoapps.programs.events import"
    " emit_program_certificate_awarded, emit_program_certificate_revoked\n"
)
RESPONSE_IMPORT = "from requests import Response\n"
AWARDED_CALL = "            emit_program_certificate_awarded(student, program_uuid, response)\n"
KEPT_AWARD = f"            response = {AWARD_CALL.strip()}\n"
LOOKUP = "        student = User.objects.get(username=username)\n"
CLIENT = "    failed = []\n    client"  # In the award task of shape A.
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
LOOK_FOR_THIS = (AWARD_LOG, f"            # Operators look for this.\n{AWARD_LOG}")
KEPT_ANSWER = f"            answer = {AWARD_CALL.strip()}  # kept\n"
USED_ANSWER = "            LOGGER.debug(answer)\n"
CHECKED = f'user.username, "credential": {{"program_uuid": program_uuid}}}})\n{CHECK}'
AS_IT_IS = (
    SMALL_HELPER.replace("):\n", ') -> "Answer":\n    """\n    Ask.\n\n    Returns:\n        It.\n    """\n') + RETURN
)
SECOND = "username, program_uuid):\n"
DATA = EVENT_IMPORTS.partition("from openedx_events.learning.signals")[0]
MOVED = [(RESPONSE_AND_SESSION, SESSION), ('-> "Response"', "-> Response")]
AT_THE_TOP = (HTTP_ERROR, RESPONSE_IMPORT + HTTP_ERROR)
KIND = ("User = get_user_model()\n", "User = get_user_model()\nKIND = Response\n")
DATETIME = "    from datetime import datetime\n"


def extra_line(line: str) -> Difference:
    """Return the change that the award task of shape A has one more line before its loop."""
    return (CLIENT, CLIENT.replace("    client", f"    {line}\n    client"))


# A shape; what is changed in it; what is changed in the edited shape then (the same if None); that shape, if another.
ACCEPTED = [
    # Events that are sent inline: as shape A, in variables, in the else of the try, with other words for nothing.
    ("a events", [], [], "a edited"),
    ("c variables", [], [], "c edited"),
    ("a events else", [], [], "a events edited else"),
    ("c variables else", [], [], "c edited else"),
    *[("c variables", [(old, new, 2)], [], "c edited") for old, new in (
        ('url="",', "certificate_available_date=None,"),
        (', title="", program_type="")', ")"),
    )],
    ("c variables", IN_A_VARIABLE, [], "c edited"),
    ("a events", [(SEND, PII)], []),
    ("a events", [(ANNOTATION, f"\n{TELL}{ANNOTATION}            #     with a second line\n")],
     [(AWARDED_CALL, f"\n{TELL}{AWARDED_CALL}")]),
    # Imports that something else uses, or that nothing used before; groups of imports.
    ("a events", [USES_USER_DATA, EXPORTS_PROGRAM_DATA],
     [USES_USER_DATA, EXPORTS_PROGRAM_DATA, (HTTP_ERROR, DATA_IMPORT.format("ProgramData, UserData"))]),
    ("c", [USES_USER_DATA], [USES_USER_DATA, (HTTP_ERROR, DATA_IMPORT.format("(\n    UserData,\n)"))]),
    ("a events", [*WITHOUT_IMPORTS, WITHOUT_OWNER, (HTTP_ERROR, "")],
     [*WITHOUT_IMPORTS, WITHOUT_OWNER, (f"import urljoin\n\n{HTTP_ERROR}", "import urljoin\n")]),
    ("a", [(CREDENTIALS_IMPORTS, "# Progress.\n")], [(CREDENTIALS_IMPORTS + IMPORT, f"{IMPORT}\n# Progress.\n")]),
    # What stands on the same line stays, and so does its import.
    ("a events", [(DATA, f"{DATA.rstrip()}; import lms\n")],
     [(HTTP_ERROR, f"{DATA.rstrip()}; import lms\n{HTTP_ERROR}")]),
    # Comments, and the log line.
    ("a", [LOOK_FOR_THIS, (AWARD_CALL, f"            # Ask.\n{AWARD_CALL.rstrip()};  # may raise\n")],
     [LOOK_FOR_THIS, (KEPT_AWARD, f"            # Ask.\n{KEPT_AWARD.rstrip()};  # may raise\n")]),
    ("a", [(AWARD_LOG, "")], None),
    # What the task keeps.
    ("a", [(AWARD_CALL, KEPT_ANSWER), (AWARD_LOG, AWARD_LOG + USED_ANSWER)],
     [(KEPT_AWARD, KEPT_ANSWER), (AWARDED_CALL, AWARDED_CALL.replace("response", "answer") + USED_ANSWER)]),
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
    ("c edited", [*MOVED, AT_THE_TOP], [], "c edited"),
    ("c edited", [*MOVED, AT_THE_TOP, KIND], [*MOVED, AT_THE_TOP, KIND], "c edited"),
    ("c plain", [(DATETIME, f"{DATETIME}\n    {RESPONSE_IMPORT}")],
     [("-> Response", '-> "Response"'), (f"{RESPONSE_IMPORT}{HTTP_ERROR}", HTTP_ERROR),
      (DATETIME, f"{DATETIME}\n    {RESPONSE_IMPORT}")]),
    *[("c plain", [(HTTP_ERROR, line + HTTP_ERROR)], [(RESPONSE_IMPORT + HTTP_ERROR, line + HTTP_ERROR)])
      for line in (RESPONSE_IMPORT, "from requests import (\n    Response,\n)\n")],
    *[("c plain", [(HTTP_ERROR, imports)], [(RESPONSE_IMPORT + HTTP_ERROR, expected)]) for imports, expected in (
        (f"\n# Errors.\n{HTTP_ERROR}", f"{RESPONSE_IMPORT}\n# Errors.\n{HTTP_ERROR}"),
        ("from aiohttp import HTTPError\n", f"from aiohttp import HTTPError\n{RESPONSE_IMPORT}"),
    )],
    ("c plain", [("\nif TYPE_CHECKING", "\nfrom .utils import a  # noqa: F401\n\nif TYPE_CHECKING")], None),
    ("c plain", WITHOUT_IMPORTS, None),
]  # fmt: skip

ARGUMENTS = "    Args:\n        client: A session,\n            opened before.\n\n        user: Who.\n"
RETURNS = f"    Returns:\n{DESCRIPTION}"
RAISES = "    Raises:\n        HTTPError: Refused.\n"
DOCSTRINGS = [
    (f"\n    Ask.\n\n{ARGUMENTS}\n    Returns:\n        None\n\n{RAISES}    ",
     f"\n    Ask.\n\n{ARGUMENTS}\n{RETURNS}\n{RAISES}    "),
    (f"\n    Ask.\n\n    Returns:\n      None\n\n{RAISES}    ",
     f"\n    Ask.\n\n    Returns:\n{DESCRIPTION[2:]}\n{RAISES}    "),
    ("\n    Ask.\n\n    Returns:\n        None", f"\n    Ask.\n\n{RETURNS.rstrip()}"),
    *[(text, text) for text in (
        f"\n    Ask.\n\n{RETURNS}    ",
        f"\n    Ask.\n\n{ARGUMENTS}{RAISES}    ",
        "Returns: None.",
        "",
    )],
]  # fmt: skip


@pytest.mark.parametrize("name", ["a", "c", "o2"])
def test_what_becomes_of_a_shape(name: str) -> None:
    source, edited = (shape(f"tasks_{name}{word}").splitlines(keepends=True) for word in ("", " edited"))
    diff = "".join(difflib.unified_diff(source, edited, "before", "after", n=1))
    assert diff == (FIXTURES / f"expected/tasks_{name}.diff").read_text()


@pytest.mark.parametrize("name", ["a", "a events", "a events else", "c", "c variables else", "o2"])
def test_a_shape_and_an_earlier_version_of_it_become_the_same(name: str) -> None:
    edited = shape(f"tasks_{name} edited")
    check_edit(edit_tasks, shape(f"tasks_{name}"), edited)
    check_edit(edit_tasks, shape(f"tasks_{name} edited earlier"), edited)


@pytest.mark.parametrize("row", ACCEPTED)
def test_a_shape_with_differences(row: tuple) -> None:
    name, changes, differences, *others = row
    [result] = others or [f"{name} edited"]
    expected = changed(f"tasks_{result}", changes if differences is None else differences)
    check_edit(edit_tasks, changed(f"tasks_{name}", changes), expected)


@pytest.mark.parametrize(("docstring", "expected"), DOCSTRINGS)
def test_a_docstring_follows(docstring: str, expected: str) -> None:
    head = f"def {AWARD}(client, user, program_uuid):\n"
    # Each line keeps its own end.
    source, edited = (
        changed(f"tasks_a small{word}", [(head, f'{head}    """{text}"""\n')]).replace("Ask.\n", "Ask.\r\n")
        for word, text in (("", docstring), (" edited", expected))
    )
    check_edit(edit_tasks, source, edited)


def test_the_tasks_of_this_repository_and_a_helper_without_a_line_feed() -> None:
    assert "emit_program_certificate_awarded(student, program_uuid, response)" in OWN_TASKS
    check_edit(edit_tasks, OWN_TASKS, OWN_TASKS)
    others = changed("tasks_a small", [(f"{SMALL_HELPER}\n\n", "")])
    edited = changed("tasks_a small edited", [(f"{SMALL_HELPER}{RETURN}\n\n", "")])
    check_edit(edit_tasks, f"{others}\n\n{SMALL_HELPER.rstrip()}", f"{edited}\n\n{SMALL_HELPER}{RETURN.rstrip()}")


def at(place: str, message: str) -> str:
    return rf"{place}\(\): .*{message}"


# The place and the message; a shape; what is changed in it.
REFUSED = [
    # Functions and calls that are not there, or not as they should be.
    (at(f"{AWARD}s", "found 0"), "a", [(f"def {AWARD}s(", "def award_programs(")]),
    (at(AWARD, "no requests-style call"), "o1", []),
    *[(at(f"{AWARD}s", message), "a", [(AWARD_CALL, new)]) for message, new in (
        ("expected one call of .* found 1", f"{AWARD_CALL}            done = {AWARD}\n"),
        ("the variable of the loop", AWARD_CALL.replace("program_uuid", "uuid")),
        ("student, .* is bound elsewhere too", f"            student = {AWARD_CALL.strip()}\n"),
        ("expected one call of .* found 0", f"            done = {AWARD_CALL.strip()}; print(done)\n"),
    )],
    *[(at(f"{AWARD}s", message), "a", [("for program_uuid in sorted(completed(student)):", new)]) for message, new in (
        ("found 0", "while program_uuid := next(completed):"),
        ("the variable of the loop", "for program_uuid, _ in []:"),
    )],
    # The emitter, the signals and the imports.
    (at(f"{AWARD}s", r"calls the emitter in another way than .*\(student, program_uuid, response\)$"), "a edited",
     [("awarded(student, program_uuid, response)", "awarded(student, program_uuid, response, time=NOW)")]),
    (at(f"{AWARD}s", "elsewhere than right after"), "a events edited else", [(AWARD_LOG, AWARD_LOG + AWARDED_CALL)]),
    *[(at(f"{AWARD}s", "sent in a way"), "a events else", [(SEND, new)]) for new in (
        f"{SEND}                time=NOW,\n",
        f"            now = 1\n{SEND}",
    )],
    (at(f"{AWARD}s", "sent in a way"), "a",
     [(HTTP_ERROR, f"{HTTP_ERROR}from x import PROGRAM_CERTIFICATE_AWARDED as AWARDED\n")]),
    ("imports: .* another way", "a",
     [("LOGGER = get", "from .events import emit_program_certificate_awarded\nLOGGER = get")]),
    ("imports: no first-party import at the top", "a", [("from typing", "PATH = 1\nfrom typing")]),
    # Events that carry more than the emitter sends.
    *[(at(f"{AWARD}s", "sent (inline is not|in a way)"), name, [(old, new, 2)])
      for name in ("c", "c variables", "c else") for old, new in (
        ('uuid="",', "uuid=credential.uuid,"),
        ('url="",', 'url="", certificate_available_date=now,'),
        ('url="",', "**more,"),
        ('uuid=program_uuid, title="", program_type=""', 'program_uuid, "A title", "MicroMasters"'),
        ("ProgramCertificateData(\n", "ProgramCertificateDataWithTitle(\n"),
    )],
    (at(f"{AWARD}s", "the event sent inline is not known to be without title"), "c variables",
     [*IN_A_VARIABLE, ('title=""', 'title="A title"', 2)]),
    (at(f"{AWARD}s", "pii is used elsewhere"), "a events", [(SEND, PII), extra_line("pii = 1")]),
    # The learner, and a variable named like the answer's.
    *[(at(f"{AWARD}s", "cannot tell which variable holds the learner"), "a", [change]) for change in (
        (LOOKUP, "        student = User.objects.filter(username=username).first()\n", 2),
        (LOOKUP, f"        def find():\n    {LOOKUP}            return student\n\n        student = find()\n", 2),
        extra_line("for _, (student, *_) in failed: pass"),
    )],
    *[(at(f"{AWARD}s", "looked up in another way than by User.objects"), "a",
       [("student = User.objects.get", f"student = {users}.get", 2)])
      for users in ("find_users()", "User.objects.select_related('profile', 'preferences')")],
    (at(f"{AWARD}s", "response is used already"), "a", [extra_line("response.failed = 1")]),
    # The helpers.
    *[(at(AWARD, message), "a small", [(f"(1)\n{CHECK}", f"(1)\n{new}")]) for message, new in (
        ("expected one raise_for_status", f"{CHECK}    print(1)\n"),
        ("expected one raise_for_status", f"{CHECK}{CHECK}"),
        ("expected one raise_for_status", "    response.raise_for_status(1)\n"),
        ("expected one raise_for_status", "    response.raise_for_status(); return response\n"),
        ("expected one raise_for_status", "    client.post(2).raise_for_status()\n"),
        ("response is not bound once", f"    response = wrap(response)\n{CHECK}"),
        ("returns something else than response", f"{CHECK}    return response.ok\n"),
        ("returns something else than response", f"    if not response:\n        return\n{CHECK}"),
    )],
    (at(AWARD, "response is not bound once"), "a small", [("response = client.post(1)", "response = client or 1")]),
    (at(REVOKE, "is decorated"), "a", [(f"def {REVOKE}(", f"@quiet\ndef {REVOKE}(")]),
    *[(at(AWARD, "its docstring says that it returns something else than None"), "c",
       [("    Returns:\n        None\n\n    Raises:\n", f"{text}\n    Raises:\n")]) for text in (
        "    Returns:\n        None: Nothing.\n",
        "    Returns:\n        None\n\n        or so\n",
        "    :return: None\n",
        "    Returns:\n        None\n\n    Returns:\n        None\n",
    )],
    # Their annotations.
    *[(at(AWARD, "is annotated to return something else than None"), "c", [("-> None:", f"-> {annotation}:")])
      for annotation in ("bool", "'Response'", "Response | None")],
    *[(f"imports: {message}", "c plain", [change]) for message, *change in (
        ("Response is bound in another way", "LOGGER = get", f"{RESPONSE_IMPORT}Response = 1\nLOGGER = get"),
        ("Response is bound in another way", DATETIME, f"{DATETIME}    from x import Response\n"),
        ("requests is imported from in another way", HTTP_ERROR, f"from requests import Response as R\n{HTTP_ERROR}"),
        ("no third-party import at the top", "from celery import", "X = 1\nfrom celery import"),
    )],
    *[("imports: requests is imported from in another way", "c", [("import Session\n", f"import {names}\n")])
      for names in ("Session, get", "Session as S")],
]  # fmt: skip


@pytest.mark.parametrize(("message", "name", "changes"), REFUSED)
def test_other_shapes_are_refused(message: str, name: str, changes: list[Difference]) -> None:
    check_refusal(edit_tasks, changed(f"tasks_{name}", changes), message)
