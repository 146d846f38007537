"""
Edits ``programs/tasks.py``: after each success, the task hands the learner and Credentials' answer to the emitter.

A file that has the edit stays as it is; what an earlier version of the change has put there is brought up to date.
"""

import ast
import re
from dataclasses import dataclass

from edits.code import Code, Edit, bindings, blocks, called, function_named, mentions, variables
from edits.imports import drop_imports, guarded_import, import_emitters, import_response, move_response

EVENTS_MODULE = "openedx.core.djangoapps.programs.events"
PAYLOAD_CLASSES = ("ProgramCertificateData", "ProgramData", "UserData", "UserPersonalData")
ANSWER_VARIABLE = "response"
ANSWER_DESCRIPTION = "requests.Response: What Credentials answered."


@dataclass(frozen=True)
class Success:
    """One of the two places where Credentials has accepted something: the task, its helper, what announces it."""

    task: str
    helper: str
    signal: str
    emitter: str


SUCCESSES = tuple(
    Success(
        f"{verb}_program_certificates",
        f"{verb}_program_certificate",
        f"PROGRAM_CERTIFICATE_{past.upper()}",
        f"emit_program_certificate_{past}",
    )
    for verb, past in (("award", "awarded"), ("revoke", "revoked"))
)


def edit_tasks(code: Code) -> Code:
    """
    Let the helpers return what Credentials answered, hand that to the emitter after each success, import what is used.

    The emitter's call replaces an event that is sent inline, and its own call in an earlier version of the change. The
    look-up of the learner fetches the profile, which the event needs.
    """
    obsolete: set[str] = set()
    code = move_response(code)
    for success in SUCCESSES:
        code = return_answer(code, success.helper)
        code, inline = emit_after(code, success)
        code = select_profile(code, success.task)
        obsolete |= variables(*inline)
    return import_emitters(drop_imports(code, obsolete), EVENTS_MODULE, tuple(success.emitter for success in SUCCESSES))


# The helpers


def return_answer(code: Code, name: str) -> Code:
    """Let a helper return the response whose status it has checked; its annotation and its docstring follow."""
    helper, place = function_named(code, name), f"{name}()"
    variable = checked_response(code, helper, place)
    last = helper.body[-1]
    match last:
        case ast.Return(ast.Name()):
            return code
        case ast.Return():
            edits = [code.replace(last, f"return {variable}")]
        case _:
            edits = [code.below(last, f"{code.indentation(last)}return {variable}")]
    match helper.body[0]:
        case ast.Expr(ast.Constant(str()) as docstring):
            edits += describe_answer(code, docstring, place)
    match helper.returns:
        case None:
            return code.edited(*edits)
        case ast.Constant(None | "None") as annotation:
            edits.append(code.replace(annotation, '"Response"' if guarded_import(code) else "Response"))
            return import_response(code.edited(*edits))
    raise code.refusal(place, "is annotated to return something else than None")


def checked_response(code: Code, helper: ast.FunctionDef, place: str) -> str:
    """Return the variable whose ``raise_for_status()`` is the last that a helper does, a ``return`` of it aside."""
    nodes = list(ast.walk(helper))
    found = sum(isinstance(node, ast.Attribute) and node.attr == "raise_for_status" for node in nodes)
    if not found:
        raise code.refusal(place, "no requests-style call (raise_for_status); release not supported")
    if helper.decorator_list:
        raise code.refusal(place, "is decorated, so its callers may not get what it returns")
    ending = [statement for statement in helper.body[-1:] if isinstance(statement, ast.Return)]
    match helper.body[: len(helper.body) - len(ending)][-1:]:
        case [ast.Expr(ast.Call(ast.Attribute(ast.Name(variable)), [], [])) as check] if (
            found == 1 and mentions(check)["raise_for_status"] and code.is_alone(check)
        ):
            pass
        case _:
            raise code.refusal(place, "expected one raise_for_status(), of a variable, as the last statement")
    requests = [node for node in nodes if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)]
    if bindings(helper)[variable] != 1 or [variable] not in [list(map(ast.unparse, node.targets)) for node in requests]:
        raise code.refusal(place, f"{variable} is not bound once, to the answer of a request")
    returned = [node.value for node in nodes if isinstance(node, ast.Return)]
    if len(returned) != len(ending) or any(
        value and ast.unparse(value) not in ("None", variable) for value in returned
    ):
        raise code.refusal(place, f"returns something else than {variable}, or elsewhere than at its end")
    return variable


def describe_answer(code: Code, docstring: ast.Constant, place: str) -> list[Edit]:
    """Return the edit that lets a docstring that says ``Returns: None``, in Google's style, name the answer."""
    text = code.segment(docstring)
    mentioned = re.findall(r"^[ \t]*:?returns?:", text, re.MULTILINE | re.IGNORECASE)
    if not mentioned:
        return []
    # All that is indented further belongs to it.
    section = re.search(r"\n([ \t]*)Returns:\s*\n\1[ \t]+(\S.*(?:\s*\n\1[ \t]+\S.*)*)", text)
    content = section[2].rstrip("\"' \t\r\n") if section else ""
    if not section or len(mentioned) > 1 or content not in ("None", ANSWER_DESCRIPTION):
        raise code.refusal(place, "its docstring says that it returns something else than None")
    start = code.start(docstring) + section.start(2)
    return [Edit(start, start + len(content), ANSWER_DESCRIPTION)]


# The tasks


def emit_after(code: Code, success: Success) -> tuple[Code, list[ast.stmt]]:
    """
    Keep what the helper returns, and hand it to the emitter right after the helper has succeeded and that was logged.

    Returns:
        The edited file and the statements of an event sent inline that the emitter's call replaces.
    """
    task, place = function_named(code, success.task), f"{success.task}()"
    block, position, program = find_helper_call(code, task, success)
    answer, edits = keep_answer(code, task, block[position])
    arguments = f"{learner_lookup(code, task)[0]}, {program}"
    call, earlier = f"{success.emitter}({arguments}, {answer})", f"{success.emitter}({arguments})"

    otherwise = [node.orelse for node in ast.walk(task) if isinstance(node, ast.Try) and node.body is block]
    # An event may be sent in the ``else`` of the ``try``.
    places = [after_log(code, statements) for statements in (block[position + 1 :], *otherwise)]
    announced = next(filter(None, (announcement(code, statements, success) for statements in places)), [])
    emitted = bool(announced) and called(code, announced[0]) == success.emitter
    inline = [] if emitted else announced
    if emitted:
        if code.segment(announced[0]) not in (call, earlier):
            raise code.refusal(place, f"calls the emitter in another way than {call}")
        edits.append(code.replace(announced[0], call))
    elif inline:
        edits.append(replace_event(code, inline, call))
    else:
        previous = block[-len(places[0]) - 1]
        edits.append(code.below(previous, code.indentation(previous) + call))
    if mentions(code.tree)[success.emitter] != emitted:
        raise code.refusal(place, f"{success.emitter} is used elsewhere than right after {success.helper}()")
    # Without an event sent inline, not even an import of the signal (under another name, say) is expected.
    if mentions(code.tree, imports=not inline)[success.signal] != bool(inline):
        raise code.refusal(place, f"{success.signal} is sent in a way that this script does not know")
    if inline and not is_bare(inline):
        what = "the event sent inline is not known to be without title, program_type, uuid, url and date: left to you"
        raise code.refusal(place, what)
    for variable in bindings(*inline):
        if mentions(task)[variable] != mentions(*inline)[variable]:
            raise code.refusal(place, f"{variable} is used elsewhere than in the event sent inline")
    return code.edited(*edits), inline


def find_helper_call(code: Code, task: ast.FunctionDef, success: Success) -> tuple[list[ast.stmt], int, str]:
    """Return the block in which the task calls its helper, the position there, and the loop's variable."""
    place, found = f"{success.task}()", []
    for block, loop in blocks(task):
        for position, statement in enumerate(block):
            match statement:
                case ast.Expr(ast.Call(ast.Name(success.helper)) as call) | ast.Assign(
                    [ast.Name()], ast.Call(ast.Name(success.helper)) as call
                ) if loop and code.is_alone(statement):
                    found.append((block, position, loop.target, [*call.args, *(item.value for item in call.keywords)]))
    if len(found) != 1 or mentions(task)[success.helper] != 1:
        raise code.refusal(place, f"expected one call of {success.helper}() in a for-loop, found {len(found)}")
    [(block, position, target, values)] = found
    if not isinstance(target, ast.Name) or target.id not in map(ast.unparse, values):
        raise code.refusal(place, f"{success.helper}() is not called with the variable of the loop around it")
    return block, position, target.id


def keep_answer(code: Code, task: ast.FunctionDef, statement: ast.stmt) -> tuple[str, list[Edit]]:
    """Return the variable that keeps what the helper returns, and the edit that assigns it, if that is missing."""
    match statement:
        case ast.Assign([ast.Name(variable)]):
            if bindings(task)[variable] != 1:
                what = f"{variable}, which keeps what the helper returns, is bound elsewhere too"
                raise code.refusal(f"{task.name}()", what)
            return variable, []
    if ANSWER_VARIABLE in variables(task):
        what = f"{ANSWER_VARIABLE} is used already, for something else than the helper's answer"
        raise code.refusal(f"{task.name}()", what)
    start = code.start(statement)
    return ANSWER_VARIABLE, [Edit(start, start, f"{ANSWER_VARIABLE} = ")]


def after_log(code: Code, statements: list[ast.stmt]) -> list[ast.stmt]:
    """Return some statements without the first, if that logs a success."""
    logged = statements and (called(code, statements[0]) or "").lower() in ("logger.info", "log.info")
    return statements[1:] if logged else statements


def learner_lookup(code: Code, task: ast.FunctionDef) -> tuple[str, ast.expr]:
    """Return the variable that holds the user looked up by ``username``, and the users among whom it is looked for."""
    found = []
    for node in [node for block, _ in blocks(task) for node in block]:
        match node:
            case ast.Assign([ast.Name(variable)], ast.Call(ast.Attribute(users, "get"), [], [by])) if (
                ast.unparse(by) == "username=username"
            ):
                found.append((variable, users))
    if len(found) != 1 or bindings(task)[found[0][0]] != 1:
        what = "cannot tell which variable holds the learner: no single look-up by username"
        raise code.refusal(f"{task.name}()", what)
    return found[0]


def select_profile(code: Code, name: str) -> Code:
    """Let a task fetch the profile with the learner, unless it does."""
    _, users = learner_lookup(code, function_named(code, name))
    match users:
        case ast.Call(ast.Attribute(ast.Attribute(attr="objects"), "select_related"), [ast.Constant("profile")], []):
            return code
        case ast.Attribute(attr="objects"):
            return code.edited(Edit(code.end(users), code.end(users), '.select_related("profile")'))
    raise code.refusal(f"{name}()", "the learner is looked up in another way than by User.objects")


def announcement(code: Code, following: list[ast.stmt], success: Success) -> list[ast.stmt]:
    """Return the emitter's call, or what builds and sends an event inline, if these statements start with that."""
    for position, statement in enumerate(following):
        match statement:
            case ast.Expr(ast.Call()) if position == 0 and called(code, statement) == success.emitter:
                return [statement]
            # Any other argument (a time, say) would be lost.
            case ast.Expr(ast.Call(_, [], [ast.keyword("program_certificate")])):
                return following[: position + 1] if called(code, statement) == f"{success.signal}.send_event" else []
            case ast.Assign([ast.Name()], ast.Call(ast.Name(name))) if name in PAYLOAD_CLASSES:
                continue
        break
    return []


def is_bare(inline: list[ast.stmt]) -> bool:
    """Tell whether an event sent inline leaves empty what the emitter leaves empty, so that nothing is lost."""
    assigned = {ast.unparse(node.targets[0]): node.value for node in inline if isinstance(node, ast.Assign)}

    def fields_of(value: ast.expr | None, name: str) -> dict[str | None, ast.expr]:
        match assigned.get(value.id, value) if isinstance(value, ast.Name) else value:
            case ast.Call(ast.Name(found), [], keywords) if found == name:
                return {keyword.arg: keyword.value for keyword in keywords}
        return {}

    sent = next(node.value for node in ast.walk(inline[-1]) if isinstance(node, ast.keyword))
    certificate = fields_of(sent, "ProgramCertificateData")
    program = fields_of(certificate.get("program"), "ProgramData")
    if not program or None in certificate or None in program:
        return False
    texts = [certificate.get("uuid"), certificate.get("url"), program.get("title"), program.get("program_type")]
    date = certificate.get("certificate_available_date")
    return all(not text or ast.unparse(text) == "''" for text in texts) and (not date or ast.unparse(date) == "None")


def replace_event(code: Code, inline: list[ast.stmt], call: str) -> Edit:
    """Return the edit that replaces an event sent inline. Its annotations go too: the emitter carries its own."""
    kept, inside = "", False
    for line in [line for statement in inline for line in code.lines_above(statement)]:
        # They continue on lines that are indented further.
        inside = bool(re.match(r"\s*#\s*\.\. event_", line)) or (inside and line.strip().startswith("#   "))
        kept += "" if inside else line
    above = "".join(code.lines_above(inline[0]))
    start = code.starts[inline[0].lineno - 1] - len(above)
    return Edit(start, code.end(inline[-1]), kept + code.indentation(inline[0]) + call)
