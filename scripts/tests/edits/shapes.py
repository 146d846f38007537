"""
The platform's files in the shapes that its releases have, with small differences, and what the edits make of them.

A shape is named by its fixture and what is done to it: ``tasks_c variables else edited``.
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from apply_to_platform import REPOSITORY, SETTINGS
from checkout import TASKS
from edits.code import Code, Refusal
from edits.settings import edit_settings
from edits.tasks import edit_tasks

FIXTURES = Path(__file__).parent.parent / "fixtures"
OWN_TASKS = (REPOSITORY / TASKS).read_text()
OWN_SETTINGS = Code(f"this repository's {SETTINGS}", (REPOSITORY / SETTINGS).read_bytes())

# What is replaced in a shape: old, new, and how often if not once.
Difference = tuple[str, str] | tuple[str, str, int]

PROGRAMS = "openedx.core.djangoapps.programs"
AWARD, REVOKE = "award_program_certificate", "revoke_program_certificate"
HTTP_ERROR = "from requests.exceptions import HTTPError\n"
SESSION = "\n    from requests import Session\n"
RESPONSE_AND_SESSION = "\n    from requests import Response, Session\n"
NONE = "        None\n"
DESCRIPTION = "        requests.Response: What Credentials answered.\n"
CHECK = "    response.raise_for_status()\n"
RETURN = "    return response\n"
AWARD_LOG = '            LOGGER.info(f"Awarded program certificate to user {student.id} in program {program_uuid}")\n'
AWARD_CALL = f"            {AWARD}(client, student, program_uuid)\n"
REVOKE_CALL = f"            {REVOKE}(client, username, program_uuid)\n"
SMALL_HELPER = f"def {AWARD}(client, user, program_uuid):\n    response = client.post(1)\n{CHECK}"
EVENT_IMPORTS = (
    "from openedx_events.learning.data import ProgramCertificateData, ProgramData, UserData, UserPersonalData\n"
    "from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED\n"
)


def replaced(text: str, old: str, new: str, count: int = 1) -> str:
    """Replace text that has to be there that often, so that no test passes on an unchanged fixture."""
    assert text.count(old) == count, old
    return text.replace(old, new)


@functools.cache
def shape(name: str) -> str:
    """Return a file of the platform in a shape."""
    name, *words = name.split(" ")
    text = (FIXTURES / f"{name}.py.txt").read_text()
    for word in words:
        text = WORDS[word](text)
    return text


def changed(name: str, differences: list[Difference]) -> str:
    """Return a shape with some differences."""
    return functools.reduce(lambda text, difference: replaced(text, *difference), differences, shape(name))


def with_events(source: str) -> str:
    """Let shape A send its events inline, as shape C does. This is shape B."""
    for verb in ("Awarded", "Revoked"):
        _, log, rest = shape("tasks_c").partition(f'            LOGGER.info(f"{verb}')
        block = log + rest[: rest.index("        except ")]
        source = replaced(source, block[: block.index("\n") + 1], block)
    return replaced(source, HTTP_ERROR, EVENT_IMPORTS + HTTP_ERROR)


def with_variables(source: str) -> str:
    """Let shape B or C build each event in a variable first."""
    for verb in ("AWARDED", "REVOKED"):
        call = source[source.index(f"            PROGRAM_CERTIFICATE_{verb}.send_event(") :]
        call = call[: call.index("\n            )\n") + len("\n            )\n")]
        data = replaced(call, f"PROGRAM_CERTIFICATE_{verb}.send_event(\n", "")
        data = replaced(data.strip(), "program_certificate=Program", "certificate = Program").removesuffix(")").strip()
        sent = f"            PROGRAM_CERTIFICATE_{verb}.send_event(program_certificate=certificate)\n"
        source = replaced(source, call, f"            {data}\n{sent}")
    return source


def in_else(source: str) -> str:
    """Move what follows the log line of each success into the ``else`` of the ``try``, the second with its log line."""
    for line in (AWARD_LOG, REVOKE_CALL):
        line = line if line in source else f"            response = {line.strip()}\n"
        head, tail = source.split(line)
        moved, rest = tail[: tail.index("        except ")], tail[tail.index("        except ") :]
        attempt, failed, rest = rest.partition("            failed.append(program_uuid)\n")
        source = f"{head}{line}{attempt}{failed}        else:\n{moved}{rest}"
    return source


def earlier_version(text: str) -> str:
    """Return an edited shape as the change's first version left it: its helpers returned nothing."""
    text = replaced(text, ", response)\n", ")\n", 2)
    text = replaced(text, f" response = {AWARD}(", f" {AWARD}(")
    text = replaced(text, f" response = {REVOKE}(", f" {REVOKE}(")
    text = replaced(text, RETURN, "", 2).replace(DESCRIPTION, NONE)
    text = replaced(text, '.select_related("profile")', "", 2)
    return text.replace(RESPONSE_AND_SESSION, SESSION).replace('-> "Response":', "-> None:")


def with_small_helper(source: str) -> str:
    """Give shape A a small helper that awards."""
    head, _def, tail = source.partition(f"def {AWARD}(")
    rest = tail.partition("\n\n\n")[2]
    return f"{head}{SMALL_HELPER}\n\n{rest}"


def without_session(source: str) -> str:
    """Let shape C import nothing from ``requests`` for type checkers."""
    return replaced(replaced(source, SESSION, ""), 'client: "Session"', "client")


def with_comment(source: str) -> str:
    """Let shape S3 have the comment of a linter on its first line, and no comma at its end. This is shape S4."""
    source = replaced(source, ".update({\n", ".update({  # noqa: F405\n")
    return replaced(source, "    },  # the newest entry\n    # Further entries go here.\n", "    }\n")


WORDS: dict[str, Callable[[str], str]] = {
    "events": with_events,
    "variables": with_variables,
    "else": in_else,
    "edited": lambda text: edit_tasks(Code("tasks.py", text.encode())).text,
    "earlier": earlier_version,
    "small": with_small_helper,
    "plain": without_session,
    "comment": with_comment,
    "filled": lambda text: edit_settings(Code("common.py", text.encode()), OWN_SETTINGS).text,
}


def check_edit(editor: Callable[..., Code], source: str, expected: str, *own: Code) -> None:
    """Check what becomes of a file, that a second run leaves it, and that a file with other line ends keeps these."""
    for end in ("\n", "\r\n"):
        before, after = (re.sub(r"(?<!\r)\n", end, text) for text in (source, expected))
        edited = editor(Code("file.py", before.encode()), *own)
        assert edited.text == after
        assert editor(edited, *own).text == after


def check_refusal(editor: Callable[..., Code], source: str, message: str, *own: Code) -> None:
    """Check that a file is refused with one line."""
    code = Code("file.py", source.encode())
    with pytest.raises(Refusal, match=f"^file.py: {message}"):
        editor(code, *own)
