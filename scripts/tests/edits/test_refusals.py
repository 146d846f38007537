"""
What the edits of ``programs/tasks.py`` refuse: the place, the message, a shape, and what is changed in it.
"""

import pytest
from edits.tasks import edit_tasks

from tests.edits.shapes import (
    AWARD,
    AWARD_CALL,
    AWARD_LOG,
    CHECK,
    HTTP_ERROR,
    RETURN,
    REVOKE,
    SMALL_HELPER,
    Difference,
    changed,
    check_refusal,
    replaced,
)
from tests.edits.test_tasks import (
    AWARDED_CALL,
    BARE,
    EARLIER_CALL,
    IN_A_VARIABLE,
    KEPT_AWARD,
    LOOKUP,
    PII,
    RESPONSE_IMPORT,
    SEND,
    extra_line,
)


def at(place: str, message: str) -> str:
    return rf"{place}\(\): .*{message}"


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
    *[(at(f"{AWARD}s", message), "a", [(AWARD_CALL, new)]) for message, new in (
        ("expected one call of .* found 2", AWARD_CALL * 2),
        ("expected one call of .* found 2", KEPT_AWARD + AWARD_CALL),
        ("expected one call of .* found 1", f"{AWARD_CALL}            done = {AWARD}\n"),
        ("expected one call of .* found 0", "            pass\n"),
        ("the variable of the loop", AWARD_CALL.replace("program_uuid", "uuid")),
        *[(r"expected one call of .* found 0", f"            {form.format(AWARD_CALL.strip())}\n") for form in (
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
        *[(f"{variable}, .* is bound elsewhere too", f"            {variable} = {AWARD_CALL.strip()}\n")
          for variable in ("program_uuid", "failed", "student")],
    )],
    (at(f"{AWARD}s", "found 0"), "a",
     [("for program_uuid in sorted(completed(student)):", "while program_uuid := next(completed):")]),
    (at(f"{AWARD}s", "the variable of the loop"), "a",
     [("for program_uuid in sorted(completed(student)):", "for program_uuid, _ in []:")]),
    # The emitter, the signals and the imports.
    (at(f"{AWARD}s", "another way"), "a",
     [(AWARD_LOG, f"{AWARD_LOG}            emit_program_certificate_awarded(student, 1)\n")]),
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
     [(AWARD_LOG, f"            if 1:\n    {EARLIER_CALL}{AWARD_LOG}")]),
    (at(f"{AWARD}s", "elsewhere than right after"), "a events edited else", [(AWARD_LOG, AWARD_LOG + AWARDED_CALL)]),
    *[(at(f"{AWARD}s", "sent in a way"), shape, [(SEND, new)]) for shape in ("a events", "a events else") for new in (
        SEND.replace("PROGRAM", "if True: PROGRAM"),
        f"{SEND}                time=NOW,\n",
        f"            now = 1\n{SEND}",
    )],
    (at(f"{AWARD}s", "sent in a way"), "a",
     [(HTTP_ERROR, f"{HTTP_ERROR}from x import PROGRAM_CERTIFICATE_AWARDED as AWARDED\n")]),
    (at(f"{REVOKE}s", "sent in a way"), "a events else",
     [("        else:\n            LOGGER.info(f\"Revoked", "        finally:\n            LOGGER.info(f\"Revoked")]),
    ("imports: .* another way", "a",
     [("LOGGER = get", "from .events import emit_program_certificate_awarded\nLOGGER = get")]),
    ("imports: no first-party import at the top", "a", [("from typing", "PATH = 1\nfrom typing")]),
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
    (at(f"{AWARD}s", "pii is used elsewhere"), "a events",
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
    *[(f"imports: {message}", "c plain", [change]) for message, *change in (
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
    ("imports: Response is bound in another way", "c", [("LOGGER = get", "Response = 1\nLOGGER = get")]),
    *[("imports: requests is imported from in another way", "c", [("import Session\n", f"import {names}\n")])
      for names in ("Session, get", "Session as S", "(Session)")],
    *[(at(AWARD, "its docstring says that it returns something else than None"), "c",
       [("    Returns:\n        None\n\n    Raises:\n", f"{text}\n    Raises:\n")]) for text in (
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
    )],
]  # fmt: skip


@pytest.mark.parametrize(("message", "name", "changes"), REFUSED)
def test_other_shapes_are_refused(message: str, name: str, changes: list[Difference]) -> None:
    check_refusal(edit_tasks, changed(f"tasks_{name}", changes), message)
