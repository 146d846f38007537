"""
The edits to the platform's own files, on LibCST trees: what is not touched survives byte for byte.

Each ``edit_...`` takes a parsed file and returns it edited, or as it is if it carries the edit already; what an earlier
version of the change has put there is brought up to date. What it does not recognise it refuses; it never guesses.
"""

import ast
import re
import sys
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import libcst.matchers as m
from libcst.helpers import get_full_name_for_node
from libcst.metadata import ExpressionContext, ExpressionContextProvider, MetadataWrapper

PROGRAMS = "openedx.core.djangoapps.programs"
TASKS = "openedx/core/djangoapps/programs/tasks.py"
APPS = "openedx/core/djangoapps/programs/apps.py"
SETTINGS = "lms/envs/common.py"

FIRST_PARTY = ("common", "lms", "openedx", "xmodule")
BUS_CHECKS = "openedx.core.lib.event_bus_checks"
EVENTS_MODULE = f"{PROGRAMS}.events"
EMITTERS = ("emit_program_certificate_awarded", "emit_program_certificate_revoked")
EVENT_TYPES = (
    "org.openedx.learning.program.certificate.awarded.v1",
    "org.openedx.learning.program.certificate.revoked.v1",
)
PAYLOAD_CLASSES = {"ProgramCertificateData", "ProgramData", "UserData", "UserPersonalData"}
ANSWER_VARIABLE = "response"
ANSWER_DESCRIPTION = "requests.Response: What Credentials answered."
REPAIR_TASK = "republish_program_certificates"
NEIGHBOUR = "revoke_program_certificates"
# The repair may run twice, so Celery may run it again when a worker is lost.
REPAIR_OPTIONS = {"acks_late": "True", "reject_on_worker_lost": "True"}
# For a neighbour that Celery does not retry by itself: as the newer releases have them.
RETRY_OPTIONS = {
    "autoretry_for": "(Exception,)",
    "max_retries": "10",
    "retry_backoff": "30",
    "retry_backoff_max": "600",
}


class Refusal(Exception):
    """Why the change cannot be applied, as one line: the file, the place in it, what is wrong there."""

    def __init__(self, file: str | Path, place: str, what: str):
        super().__init__(f"{file}: {place}: {what}")


@dataclass(frozen=True)
class Success:
    """One of the two places where Credentials has accepted something: the task, its helper, what announces it."""

    task: str
    helper: str
    signal: str
    emitter: str


SUCCESSES = (
    Success("award_program_certificates", "award_program_certificate", "PROGRAM_CERTIFICATE_AWARDED", EMITTERS[0]),
    Success("revoke_program_certificates", "revoke_program_certificate", "PROGRAM_CERTIFICATE_REVOKED", EMITTERS[1]),
)


# Reading code


def parse(file: str, source: bytes) -> cst.Module:
    """
    Parse a Python file.

    Raises:
        Refusal: The file is no Python, or LibCST would not write it back byte for byte.
    """
    try:
        module = cst.parse_module(source)
    except cst.ParserSyntaxError as error:
        raise Refusal(file, "whole file", f"not valid Python ({error.message.partition(': expected')[0]})") from error
    except (SyntaxError, UnicodeError) as error:
        raise Refusal(file, "whole file", f"not valid Python ({error})") from error
    if module.bytes != source:
        raise Refusal(file, "whole file", "cannot be written back unchanged")
    return module


def names(*nodes: cst.CSTNode) -> Counter[str]:
    """Count the names that some code mentions, attribute and keyword names included."""
    return Counter(found.value for node in nodes for found in m.findall(node, m.Name()))


def names_outside_imports(node: cst.CSTNode) -> Counter[str]:
    """Count the names that some code mentions other than to import them, and those that it mentions as text."""
    imports = m.findall(node, m.Import() | m.ImportFrom())
    texts = Counter(string.raw_value for string in m.findall(node, m.SimpleString()))
    return names(node) - names(*imports) + texts


def bindings(*statements: cst.CSTNode) -> Counter[str]:
    """Count at how many places some code, functions in it included, binds or deletes each name, however it does."""
    code = cst.Module(body=statements)
    contexts = MetadataWrapper(code).resolve(ExpressionContextProvider)
    bound = [node for node, context in contexts.items() if context != ExpressionContext.LOAD]
    imported = [alias.name for alias in m.findall(code, m.ImportAlias(asname=None))]
    captured = m.findall(code, m.MatchAs() | m.MatchStar() | m.MatchMapping())
    return names(*(node for node in bound if isinstance(node, cst.Name)), *imported, *captured)


def text_of(node: cst.CSTNode | None) -> str | None:
    """Return the text that a string literal stands for, None for any other code."""
    if not isinstance(node, (cst.SimpleString, cst.ConcatenatedString)):
        return None
    with warnings.catch_warnings(action="ignore"):  # Of a backslash that escapes nothing.
        try:
            value = node.evaluated_value
        except (SyntaxError, ValueError):
            return None
    return value if isinstance(value, str) else None


def variables(*nodes: cst.CSTNode) -> set[str]:
    """Return the names that stand for themselves in some code: neither attributes of others nor keywords."""
    keywords = [found.keyword for node in nodes for found in m.findall(node, m.Arg(keyword=m.Name()))]
    attributes = [found.attr for node in nodes for found in m.findall(node, m.Attribute())]
    return set((names(*nodes) - Counter(label.value for label in [*keywords, *attributes])).keys())


def called(statement: cst.CSTNode) -> str | None:
    """Return the dotted name that a statement calls, if the statement is that one call and nothing else."""
    if m.matches(statement, m.SimpleStatementLine(body=[m.Expr(m.Call())])):
        return get_full_name_for_node(statement.body[0].value.func)
    return None


def imported_from(statement: cst.CSTNode) -> str | None:
    """Return the module of a ``from ... import`` line ("." for ``from . import``), None for any other statement."""
    if not m.matches(statement, m.SimpleStatementLine(body=[m.ImportFrom()])):
        return None
    node = statement.body[0]
    return "." * len(node.relative) + (get_full_name_for_node(node.module) if node.module else "")


def top_level_function(module: cst.Module, name: str) -> cst.FunctionDef:
    """Return the one function of that name in the tasks."""
    found = [node for node in module.body if isinstance(node, cst.FunctionDef) and node.name.value == name]
    if len(found) != 1:
        raise Refusal(TASKS, f"{name}()", f"expected one function of this name, found {len(found)}")
    return found[0]


def blocks(node: cst.CSTNode, loop: cst.For | None = None) -> Iterator[tuple[cst.IndentedBlock, cst.For | None]]:
    """Yield each block below ``node`` with the innermost for-loop around it; nested functions are not entered."""
    for child in node.children:
        if isinstance(child, (cst.FunctionDef, cst.ClassDef)):
            continue
        if isinstance(child, cst.IndentedBlock):
            yield child, loop
        yield from blocks(child, child if isinstance(child, cst.For) else loop)


def insert_before(body: list[cst.CSTNode], index: int, new: cst.SimpleStatementLine) -> None:
    """Put an import in front of another: it takes over the blank lines there, comments stay with the other."""
    lines = list(body[index].leading_lines)
    blank = next((number for number, line in enumerate(lines) if line.comment), len(lines))
    # The import order wants a blank line in front of a comment.
    comments = [cst.EmptyLine(indent=False), *lines[blank:]] if lines[blank:] else []
    body[index] = body[index].with_changes(leading_lines=comments)
    body.insert(index, new.with_changes(leading_lines=lines[:blank]))


# programs/tasks.py


def edit_tasks(module: cst.Module) -> cst.Module:
    """
    Let the helpers return what Credentials answered, hand that to the emitter after each success, import what is used.

    The emitter's call replaces an event that is sent inline, and its own call in an earlier version of the change. The
    look-up of the learner fetches the profile, which the event needs.
    """
    obsolete: set[str] = set()
    module = move_response(module)
    for success in SUCCESSES:
        module = return_answer(module, success.helper)
        module, removed = emit_after(module, success)
        module = select_profile(module, success.task)
        obsolete |= variables(*removed)
    return import_emitters(drop_imports(module, obsolete))


def return_answer(module: cst.Module, name: str) -> cst.Module:
    """Let a helper return the response whose status it has checked; its annotation and its docstring follow."""
    helper, place = top_level_function(module, name), f"{name}()"
    *others, last = helper.body.body
    variable = checked_response(helper, place)
    answer = cst.Return(cst.Name(variable))
    if not m.matches(last, m.SimpleStatementLine(body=[m.Return()])):
        body = [*others, last, cst.SimpleStatementLine(body=[answer])]
    elif m.matches(last.body[0].value, m.Name(variable)):
        return module
    else:
        body = [*others, last.with_changes(body=[answer])]

    if m.matches(body[0], m.SimpleStatementLine(body=[m.Expr(m.SimpleString())])):
        docstring = body[0].body[0].value
        text = describe_answer(docstring.raw_value, module.default_newline, place)
        literal = docstring.with_changes(value=docstring.value.replace(docstring.raw_value, text))
        body[0] = body[0].deep_replace(docstring, literal)
    edited = helper.with_changes(body=helper.body.with_changes(body=body))
    if not helper.returns:
        return module.deep_replace(helper, edited)
    annotation = helper.returns.annotation
    if not m.matches(annotation, m.Name("None")) and text_of(annotation) != "None":
        raise Refusal(TASKS, place, "is annotated to return something else than None")
    guarded = import_for_type_checkers(module)
    response = cst.SimpleString('"Response"') if guarded else cst.Name("Response")
    edited = edited.with_changes(returns=helper.returns.with_changes(annotation=response))
    return import_response(module.deep_replace(helper, edited))


def checked_response(helper: cst.FunctionDef, place: str) -> str:
    """Return the variable whose ``raise_for_status()`` is the last that a helper does, a ``return`` of it aside."""
    check = m.Attribute(attr=m.Name("raise_for_status"))
    found = len(m.findall(helper, check))
    if not found:
        raise Refusal(TASKS, place, "no requests-style call (raise_for_status); release not supported")
    if helper.decorators:
        raise Refusal(TASKS, place, "is decorated, so its callers may not get what it returns")
    body = list(helper.body.body)
    ending = body.pop().body if m.matches(body[-1], m.SimpleStatementLine(body=[m.Return()])) else []
    checking = m.Expr(m.Call(func=check & m.Attribute(value=m.Name()), args=[]))
    if found != 1 or not (body and m.matches(body[-1], m.SimpleStatementLine(body=[checking]))):
        raise Refusal(TASKS, place, "expected one raise_for_status(), of a variable, as the last statement")
    variable = body[-1].body[0].value.func.value.value
    assignment = m.Assign(targets=[m.AssignTarget(target=m.Name(variable))], value=m.Call())
    if bindings(helper)[variable] != 1 or not m.findall(helper, assignment):
        raise Refusal(TASKS, place, f"{variable} is not bound once, to the answer of a request")
    known = m.Return(value=None) | m.Return(value=m.Name("None") | m.Name(variable))
    if len(m.findall(helper, m.Return())) != len(ending) or not all(m.matches(node, known) for node in ending):
        raise Refusal(TASKS, place, f"returns something else than {variable}, or elsewhere than at its end")
    return variable


def describe_answer(docstring: str, newline: str, place: str) -> str:
    """Let the text of a docstring in Google's style say what is returned; one without such sections stays as it is."""

    def section(name: str) -> re.Match[str] | None:
        # Its indentation; that of its contents; its contents, which are all that is indented further.
        return re.search(rf"(?<=\n)([ \t]*){name}:\s*\n(\1[ \t]+)(\S.*(?:\s*\n\1[ \t]+\S.*)*)", docstring)

    if "\n" not in docstring:
        return docstring
    arguments, returns = section("Args"), section("Returns")
    mentions = re.findall(r"^[ \t]*:?returns?:", docstring, re.MULTILINE | re.IGNORECASE)
    if mentions:
        content = returns[3].rstrip() if returns and len(mentions) == 1 else ""
        if content not in ("None", ANSWER_DESCRIPTION):
            raise Refusal(TASKS, place, "its docstring says that it returns something else than None")
        start, end, added = returns.start(3), returns.start(3) + len(content), ANSWER_DESCRIPTION
    elif arguments:
        start = end = arguments.start(3) + len(arguments[3].rstrip())
        added = newline.join(["", "", f"{arguments[1]}Returns:", arguments[2] + ANSWER_DESCRIPTION])
    else:
        return docstring
    return docstring[:start] + added + docstring[end:]


def emit_after(module: cst.Module, success: Success) -> tuple[cst.Module, list[cst.CSTNode]]:
    """
    Keep what the helper returns, and hand it to the emitter right after the helper has succeeded and that was logged.

    Returns:
        The edited module and the statements of an event sent inline that the emitter's call replaces.
    """
    task = top_level_function(module, success.task)
    place = f"{success.task}()"
    block, position, program = find_helper_call(task, success)
    body = list(block.body)
    body[position], answer = keep_answer(task, body[position], place)
    arguments = f"{learner_variable(task, place)}, {program}"
    call, earlier = f"{success.emitter}({arguments}, {answer})", f"{success.emitter}({arguments})"
    new = cst.parse_statement(call, config=module.config_for_parsing)

    attempt = next((node for node in m.findall(task, m.Try(orelse=m.Else())) if node.body is block), None)
    otherwise = list(attempt.orelse.body.body) if attempt else []
    start, at_start = after_log(body, position + 1), after_log(otherwise, 0)
    target = body
    if not is_announced(body[start:], success) and is_announced(otherwise[at_start:], success):
        target, start = otherwise, at_start
    mentions = names_outside_imports(module)
    if start < len(target) and called(target[start]) == success.emitter:
        if module.code_for_node(target[start].body[0]) not in (call, earlier):
            raise Refusal(TASKS, place, f"calls the emitter in another way than {call}")
        emitted, inline = 1, []
    else:
        emitted, inline = 0, inline_event(target[start:], success)
    if mentions[success.emitter] != emitted:
        raise Refusal(TASKS, place, f"{success.emitter} is used elsewhere than right after {success.helper}()")
    # Without an event sent inline, not even an import of the signal (under another name, say) is expected.
    if (mentions[success.signal] != 1) if inline else names(module)[success.signal]:
        raise Refusal(TASKS, place, f"{success.signal} is sent in a way that this script does not know")
    if inline and not is_bare(inline):
        what = "the event sent inline is not known to be without title, program_type, uuid, url and date: left to you"
        raise Refusal(TASKS, place, what)
    for assignment in inline[:-1]:
        variable = assignment.body[0].targets[0].target.value
        if names(task)[variable] != names(*inline)[variable]:
            raise Refusal(TASKS, place, f"{variable} is used elsewhere than in the event sent inline")
    if emitted:
        target[start] = target[start].with_changes(body=new.body)
    else:
        leading = [line for statement in inline for line in without_annotations(statement.leading_lines)]
        target[start : start + len(inline)] = [new.with_changes(leading_lines=leading)]
    edited = block.with_changes(body=body)
    if target is body:
        return module.deep_replace(block, edited), inline
    orelse = attempt.orelse.with_changes(body=attempt.orelse.body.with_changes(body=otherwise))
    return module.deep_replace(attempt, attempt.with_changes(body=edited, orelse=orelse)), inline


def after_log(body: list[cst.CSTNode], position: int) -> int:
    """Return the position, or the next one if a success is logged there."""
    logged = position < len(body) and (called(body[position]) or "").lower() in ("logger.info", "log.info")
    return position + 1 if logged else position


def is_announced(following: list[cst.CSTNode], success: Success) -> bool:
    """Tell whether some statements start with the emitter's call, or with an event sent inline."""
    return bool(following) and (called(following[0]) == success.emitter or bool(inline_event(following, success)))


def find_helper_call(task: cst.FunctionDef, success: Success) -> tuple[cst.IndentedBlock, int, str]:
    """Return the block in which the task calls its helper, the position there, and the loop's variable."""
    place = f"{success.task}()"
    call = m.Call(func=m.Name(success.helper))
    kept = m.Assign(targets=[m.AssignTarget(target=m.Name())], value=call)
    found = [
        (block, position, loop)
        for block, loop in blocks(task)
        for position, statement in enumerate(block.body)
        if loop and m.matches(statement, m.SimpleStatementLine(body=[m.Expr(call) | kept]))
    ]
    if len(found) != 1 or names_outside_imports(task)[success.helper] != 1:
        raise Refusal(TASKS, place, f"expected one call of {success.helper}() in a for-loop, found {len(found)}")
    block, position, loop = found[0]
    arguments = [argument.value for argument in block.body[position].body[0].value.args]
    if not any(m.matches(loop.target, m.Name()) and value.deep_equals(loop.target) for value in arguments):
        raise Refusal(TASKS, place, f"{success.helper}() is not called with the variable of the loop around it")
    return block, position, loop.target.value


def keep_answer(
    task: cst.FunctionDef, statement: cst.SimpleStatementLine, place: str
) -> tuple[cst.SimpleStatementLine, str]:
    """Return the statement that calls the helper, assigning what that returns, and the variable assigned to."""
    node = statement.body[0]
    if isinstance(node, cst.Assign):
        variable = node.targets[0].target.value
        if bindings(task)[variable] != 1:
            raise Refusal(TASKS, place, f"{variable}, which keeps what the helper returns, is bound elsewhere too")
        return statement, variable
    if ANSWER_VARIABLE in variables(task):
        raise Refusal(TASKS, place, f"{ANSWER_VARIABLE} is used already, for something else than the helper's answer")
    target = cst.AssignTarget(target=cst.Name(ANSWER_VARIABLE))
    assignment = cst.Assign(targets=[target], value=node.value, semicolon=node.semicolon)
    return statement.with_changes(body=[assignment]), ANSWER_VARIABLE


def learner_variable(task: cst.FunctionDef, place: str) -> str:
    """Return the variable that holds the user looked up by ``username``."""
    candidates = [node.targets[0].target.value for node in learner_lookups(task)]
    if len(candidates) != 1 or bindings(task)[candidates[0]] != 1:
        raise Refusal(TASKS, place, "cannot tell which variable holds the learner: no single look-up by username")
    return candidates[0]


BY_USERNAME = [m.Arg(keyword=m.Name("username"), value=m.Name("username"))]
GETTING = m.Call(func=m.Attribute(attr=m.Name("get")), args=BY_USERNAME)
FILTERING = m.Call(func=m.Attribute(attr=m.Name("filter")), args=BY_USERNAME)
TAKING_THE_FIRST = m.Call(func=m.Attribute(value=FILTERING, attr=m.Name("first")), args=[])


def learner_lookups(task: cst.FunctionDef) -> list[cst.Assign]:
    """Return the statements that assign a user looked up by ``username``."""
    lines = [line for block, _ in blocks(task) for line in block.body if isinstance(line, cst.SimpleStatementLine)]
    lookup = m.Assign(targets=[m.AssignTarget(target=m.Name())], value=GETTING | TAKING_THE_FIRST)
    return [node for line in lines for node in line.body if m.matches(node, lookup)]


def select_profile(module: cst.Module, name: str) -> cst.Module:
    """Let a task fetch the profile with the learner, unless it does."""
    [lookup] = learner_lookups(top_level_function(module, name))
    users = lookup.value.func.value
    if m.matches(lookup.value, TAKING_THE_FIRST):
        users = users.func.value
    manager = m.Attribute(attr=m.Name("objects"))
    selected = m.Call(func=m.Attribute(value=manager, attr=m.Name("select_related")), args=[m.Arg(keyword=None)])
    if m.matches(users, selected) and text_of(users.args[0].value) == "profile":
        return module
    if not m.matches(users, manager):
        raise Refusal(TASKS, f"{name}()", "the learner is looked up in another way than by User.objects")
    arguments = [cst.Arg(cst.SimpleString('"profile"'))]
    return module.deep_replace(users, cst.Call(cst.Attribute(users, cst.Name("select_related")), arguments))


def inline_event(following: list[cst.CSTNode], success: Success) -> list[cst.CSTNode]:
    """Return the statements that build and send the event inline, none if these statements do not start with that."""
    payload = m.Assign(
        targets=[m.AssignTarget(target=m.Name())],
        value=m.Call(func=m.Name(value=m.MatchIfTrue(PAYLOAD_CLASSES.__contains__))),
    )
    for position, statement in enumerate(following):
        if called(statement) == f"{success.signal}.send_event":
            arguments = [argument.keyword and argument.keyword.value for argument in statement.body[0].value.args]
            # Any other argument (a time, say) would be lost.
            return following[: position + 1] if arguments == ["program_certificate"] else []
        if not m.matches(statement, m.SimpleStatementLine(body=[payload])):
            break
    return []


def is_bare(inline: list[cst.CSTNode]) -> bool:
    """Tell whether an event sent inline leaves empty what the emitter leaves empty, so that nothing is lost."""
    assignments = [statement.body[0] for statement in inline[:-1]]
    assigned = {assignment.targets[0].target.value: assignment.value for assignment in assignments}

    def fields_of(value: cst.CSTNode | None, name: str) -> dict[str, cst.CSTNode] | None:
        value = assigned.get(value.value, value) if isinstance(value, cst.Name) else value
        if not m.matches(value, m.Call(func=m.Name(name), args=[m.AtLeastN(m.Arg(keyword=m.Name()), n=1)])):
            return None
        return {argument.keyword.value: argument.value for argument in value.args}

    certificate = fields_of(inline[-1].body[0].value.args[0].value, "ProgramCertificateData")
    program = certificate and fields_of(certificate.get("program"), "ProgramData")
    if not program:
        return False
    texts = [certificate.get("uuid"), certificate.get("url"), program.get("title"), program.get("program_type")]
    date = certificate.get("certificate_available_date")
    return all(text is None or text_of(text) == "" for text in texts) and (
        date is None or m.matches(date, m.Name("None"))
    )


def without_annotations(lines: Iterable[cst.EmptyLine]) -> list[cst.EmptyLine]:
    """Drop the event annotations, which continue on lines that are indented further: the emitter carries its own."""
    kept, inside = [], False
    for line in lines:
        comment = line.comment.value if line.comment else ""
        inside = bool(re.match(r"#\s*\.\. event_", comment)) or (inside and comment.startswith("#   "))
        if not inside:
            kept.append(line)
    return kept


def drop_imports(module: cst.Module, obsolete: set[str]) -> cst.Module:
    """Remove those of the given names from the module's imports that nothing in it uses any more."""
    unused = obsolete - names_outside_imports(module).keys()
    body: list[cst.CSTNode] = []
    orphaned: list[cst.EmptyLine] = []
    for statement in module.body:
        # What stood above a removed import (a comment, the blank line between two groups) stays.
        leading = statement.leading_lines
        if any(line.comment for line in orphaned) or not (leading and leading[0].comment is None):
            statement = statement.with_changes(leading_lines=[*orphaned, *leading])
        orphaned = []
        node = statement.body[0] if imported_from(statement) else None
        if node and not isinstance(node.names, cst.ImportStar):
            kept = [alias for alias in node.names if (alias.evaluated_alias or alias.evaluated_name) not in unused]
            if not kept:
                orphaned = list(statement.leading_lines)
                continue
            if len(kept) < len(node.names):
                kept[-1] = kept[-1].with_changes(comma=node.names[-1].comma)
                statement = statement.with_changes(body=[node.with_changes(names=kept)])
        body.append(statement)
    return module.with_changes(body=body)


def import_emitters(module: cst.Module) -> cst.Module:
    """Import the two emitters, at their place among the first-party imports."""
    present = [node for node in m.findall(module, m.ImportFrom()) if names(node).keys() & set(EMITTERS)]
    code = f"from {EVENTS_MODULE} import {', '.join(EMITTERS)}"
    if present:
        aliases = [(alias.evaluated_name, alias.evaluated_alias) for node in present for alias in node.names]
        source = present[0].module and get_full_name_for_node(present[0].module)
        if source != EVENTS_MODULE or present[0].relative or sorted(aliases) != [(name, None) for name in EMITTERS]:
            raise Refusal(TASKS, "imports", f"the emitter is imported in another way than {code!r}")
        return module
    return add_import(module, code)


def import_for_type_checkers(module: cst.Module) -> cst.ImportFrom | None:
    """Return the import from ``requests`` that is there for type checkers only, if there is no other."""
    condition = m.If(test=m.Name("TYPE_CHECKING"), body=m.IndentedBlock(), orelse=None)
    guarded = [line for node in module.body if m.matches(node, condition) for line in node.body.body]
    found = [line.body[0] for line in guarded if imported_from(line) == "requests"]
    return found[0] if len(found) == 1 and not any(imported_from(line) == "requests" for line in module.body) else None


def import_response(module: cst.Module) -> cst.Module:
    """Import the class that a helper's annotation names, unless that is done; for type checkers only beside Session."""
    code, guarded = "from requests import Response", import_for_type_checkers(module)
    present = [guarded] if guarded else [line.body[0] for line in module.body if imported_from(line) == "requests"]
    wanted = m.ImportAlias(name=m.Name("Response"), asname=None)
    imported = sum(len(m.findall(node, wanted)) for node in present)
    if bindings(*module.body)["Response"] != imported:
        raise Refusal(TASKS, "imports", f"Response is bound in another way than {code!r}")
    if imported:
        return module
    session = m.ImportFrom(names=[m.ImportAlias(name=m.Name("Session"), asname=None)], lpar=None)
    if guarded and m.matches(guarded, session):
        comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
        names_imported = [cst.ImportAlias(cst.Name("Response"), comma=comma), *guarded.names]
        return module.deep_replace(guarded, guarded.with_changes(names=names_imported))
    if present:
        # A second line for the same module would not be the platform's import order.
        raise Refusal(TASKS, "imports", f"requests is imported from in another way than {code!r}")
    return add_import(module, code)


def move_response(module: cst.Module) -> cst.Module:
    """Import Response beside Session, for type checkers only, where an earlier version imported it at the top."""
    own = m.SimpleStatementLine(
        body=[m.ImportFrom(module=m.Name("requests"), names=[m.ImportAlias(name=m.Name("Response"), asname=None)])],
        leading_lines=[],
    )
    body = [line for line in module.body if not m.matches(line, own)]
    without = module.with_changes(body=body)
    annotation = m.Annotation(annotation=m.Name("Response"))
    annotated = len(m.findall(without, annotation))
    if len(body) == len(module.body) or not import_for_type_checkers(without):
        return module
    if not annotated or names(without)["Response"] != annotated:
        return module
    quoted = cst.SimpleString('"Response"')
    return import_response(m.replace(without, annotation, lambda node, _: node.with_changes(annotation=quoted)))


def add_import(module: cst.Module, code: str) -> cst.Module:
    """Add a ``from ... import`` at its place in its group of the imports at the top."""
    new = cst.parse_statement(code, config=module.config_for_parsing)
    own = imported_from(new)
    body = list(module.body)
    group = {}
    for position, statement in enumerate(body):
        source = imported_from(statement)
        if source and group_of(source) == group_of(own):
            group[position] = source
        elif not m.matches(statement, m.SimpleStatementLine(body=[m.Import() | m.ImportFrom() | m.Expr()])):
            break  # The imports at the top end here.
    if not group:
        raise Refusal(TASKS, "imports", f"no {group_of(own)} import at the top, for {code!r} to stand with")
    smaller = [position for position, source in group.items() if source < own]
    if smaller:
        body.insert(smaller[-1] + 1, new)
    else:
        insert_before(body, min(group), new)
    return module.with_changes(body=body)


def add_repair_task(module: cst.Module, own: cst.Module) -> cst.Module:
    """
    Append the task that publishes a learner's certificates again; another version of it is replaced where it is.

    Its text is this repository's. Its decorators are those of the neighbouring task in the checkout, and more options.

    Args:
        module: The checkout's tasks.
        own: This repository's tasks.
    """
    place = f"{REPAIR_TASK}()"
    function = top_level_function(own, REPAIR_TASK).with_changes(decorators=[], leading_lines=[])
    block = function.body
    [first] = [position for position, line in enumerate(block.body) if imported_from(line)]
    imports = [block.body[first]]
    for name in (variables(function) & names_at_the_top(own)) - names_at_the_top(module) - {REPAIR_TASK}:
        [source] = [imported_from(line) or "" for line in own.body if name in bindings(line)] or [""]
        if group_of(source) != "first-party":
            raise Refusal(TASKS, place, f"needs {name}, which is neither imported nor defined at the top of this file")
        imports.append(cst.parse_statement(f"from {source} import {name}"))
    imports.sort(key=imported_from)
    body = [*block.body[:first], *imports, *block.body[first + 1 :]]
    text = own.code_for_node(function.with_changes(body=block.with_changes(body=body)))
    lines = [*repair_decorators(module), *text.splitlines()]
    code = module.default_newline.join(lines) + module.default_newline
    new = cst.parse_statement(code, config=module.config_for_parsing)

    if bindings(*module.body)[REPAIR_TASK]:
        present = top_level_function(module, REPAIR_TASK)
        return module.deep_replace(present, new.with_changes(leading_lines=present.leading_lines))
    new = new.with_changes(leading_lines=[cst.EmptyLine(indent=False)] * 2)
    return module.with_changes(body=[*module.body, new])


def names_at_the_top(module: cst.Module) -> set[str]:
    """Return the names that a module imports, assigns and defines at its top level, outside of any ``if``."""
    bound = bindings(*(node for node in module.body if isinstance(node, cst.SimpleStatementLine)))
    defined = [node.name.value for node in module.body if isinstance(node, (cst.FunctionDef, cst.ClassDef))]
    return {*bound, *defined}


def repair_decorators(module: cst.Module) -> list[str]:
    """Return the lines of the repair task's decorators: as at its neighbour, with the options that it needs besides."""
    place = f"{NEIGHBOUR}()"
    task = top_level_function(module, NEIGHBOUR)
    first, *others = [node.decorator for node in task.decorators] or [None]
    plain = [m.ZeroOrMore(m.Arg(keyword=m.Name()) | m.Arg(star="**"))]
    if not m.matches(first, m.Call(func=m.Name("shared_task"), args=plain)) or not all(
        m.matches(other, m.Name("set_code_owner_attribute")) for other in others
    ):
        raise Refusal(TASKS, place, "is decorated in another way than @shared_task(...), @set_code_owner_attribute")
    given = {argument.keyword.value if argument.keyword else "**": argument for argument in first.args}
    if "name" in given or not given.keys() & {"bind", "**"}:
        raise Refusal(TASKS, place, "its @shared_task(...) has a name, or is without bind=True")
    options = [
        module.code_for_node(
            argument.with_changes(comma=cst.MaybeSentinel.DEFAULT, whitespace_after_arg=cst.SimpleWhitespace(""))
        )
        for name, argument in given.items()
        if name not in REPAIR_OPTIONS
    ]
    retried = given.keys() & {"autoretry_for", "**"}
    more = REPAIR_OPTIONS if retried else RETRY_OPTIONS | REPAIR_OPTIONS
    options += [f"{name}={value}" for name, value in more.items()]
    line = f"@shared_task({', '.join(options)})"
    if isinstance(first.whitespace_before_args, cst.ParenthesizedWhitespace) or len(line) > 120:
        lines = ["@shared_task(", *(f"    {option}," for option in options), ")"]
    else:
        lines = [line]
    return [*lines, *(f"@{other.value}" for other in others)]


def group_of(source: str) -> str:
    """Return the group of imports that a module belongs to."""
    package = source.partition(".")[0]
    if package in FIRST_PARTY:
        return "first-party"
    if not package:
        return "relative"
    return "standard-library" if package in sys.stdlib_module_names else "third-party"


# lms/envs/common.py


def edit_settings(module: cst.Module, own: cst.Module) -> cst.Module:
    """
    Add those of the two disabled entries that are missing to the producer configuration.

    One that is there may be enabled: that is somebody's decision, and stays. Its topic and key have to be ours.

    Args:
        module: The checkout's settings.
        own: This repository's settings, which have the entries.
    """
    config, own_config = producer_config(module, SETTINGS), producer_config(own, f"this repository's {SETTINGS}")
    entries, own_entries = ({key_of(entry): entry for entry in found.elements} for found in (config, own_config))
    texts = Counter(map(text_of, m.findall(module, m.SimpleString() | m.ConcatenatedString())))
    missing = []
    for event_type in EVENT_TYPES:
        if event_type not in own_entries:
            raise Refusal(f"this repository's {SETTINGS}", event_type, "no such entry in EVENT_BUS_PRODUCER_CONFIG")
        wanted = own_entries[event_type]
        if texts[event_type] != (1 if event_type in entries else 0):
            raise Refusal(SETTINGS, event_type, "mentioned elsewhere than as one entry of EVENT_BUS_PRODUCER_CONFIG")
        if event_type not in entries:
            code = own.code_for_node(wanted.with_changes(comma=cst.Comma()))
            missing.append(textwrap.dedent(indentation(own_config) + code))
        elif key_fields(module, entries[event_type].value) != key_fields(own, wanted.value):
            raise Refusal(SETTINGS, event_type, "this entry is there already, with another topic or key: left to you")
    return module.deep_replace(config, append_entries(module, config, missing)) if missing else module


def producer_config(module: cst.Module, file: str) -> cst.Dict:
    """Return the one dict literal that ``EVENT_BUS_PRODUCER_CONFIG`` is assigned or updated with."""
    variable = m.Name("EVENT_BUS_PRODUCER_CONFIG")
    assigned = m.Assign(targets=[m.AssignTarget(target=variable)])
    updated = m.Call(func=m.Attribute(value=variable, attr=m.Name("update")))
    found = m.findall(module, assigned | updated)
    top_level = [
        statement.body[0]
        for statement in module.body
        if m.matches(statement, m.SimpleStatementLine(body=[assigned | m.Expr(updated)]))
    ]
    place = "EVENT_BUS_PRODUCER_CONFIG"
    if len(found) != 1 or len(top_level) != 1:
        raise Refusal(file, place, f"expected one assignment or update() at the top level, found {len(found)}")
    value = top_level[0].value
    if isinstance(value, cst.Call):
        value = value.args[0].value if len(value.args) == 1 and not value.args[0].star else None
    if not isinstance(value, cst.Dict) or indentation(value) is None:
        raise Refusal(file, place, "expected a dict literal whose last entry and closing brace start a line")
    return value


def indentation(config: cst.Dict) -> str | None:
    """Return how far the entries are indented, None if the last one or the closing brace does not start a line."""
    opening, closing = config.lbrace.whitespace_after, config.rbrace.whitespace_before
    if not config.elements:
        return "    " if isinstance(opening, cst.ParenthesizedWhitespace) else None
    gap = config.elements[-2].comma.whitespace_after if len(config.elements) > 1 else opening
    own_lines = isinstance(gap, cst.ParenthesizedWhitespace) and isinstance(closing, cst.ParenthesizedWhitespace)
    return gap.last_line.value if own_lines else None


def key_of(element: cst.BaseDictElement) -> str | None:
    """Return the text that an entry is filed under, None if its key is no plain text."""
    return text_of(getattr(element, "key", None))


def key_fields(module: cst.Module, value: cst.BaseExpression) -> dict[str, str] | None:
    """Return topic -> key field of an entry, whatever its ``enabled`` is; None if it has another form."""
    try:
        topics = ast.parse(module.code_for_node(value).strip(), mode="eval").body
        entry = {}
        for topic, fields in zip(topics.keys, topics.values, strict=True):
            values = {ast.literal_eval(key): field for key, field in zip(fields.keys, fields.values, strict=True)}
            values.pop("enabled")
            [(_name, key_field)] = values.items()
            entry[ast.literal_eval(topic)] = ast.literal_eval(key_field)
        return entry
    except (AttributeError, KeyError, ValueError, TypeError, SyntaxError):
        return None


def append_entries(module: cst.Module, config: cst.Dict, entries: list[str]) -> cst.Dict:
    """Return the dict with entries added at its end; the last one so far gets its comma, if it lacks it."""
    indent = indentation(config)
    closing = config.rbrace.whitespace_before if config.elements else config.lbrace.whitespace_after
    lines = "\n".join(textwrap.indent(entry, indent) for entry in entries).splitlines()
    text = module.default_newline.join(["{", *lines, closing.last_line.value + "}"])
    added = cst.parse_expression(text, config=module.config_for_parsing)
    # Comments at the end of the dict stay in front of what is added.
    gap = closing.with_changes(last_line=cst.SimpleWhitespace(indent))
    if not config.elements:
        return added.with_changes(lbrace=cst.LeftCurlyBrace(whitespace_after=gap))
    *others, last = config.elements
    comma = last.comma if isinstance(last.comma, cst.Comma) else cst.Comma()
    last = last.with_changes(comma=comma.with_changes(whitespace_after=gap))
    return config.with_changes(elements=[*others, last, *added.elements], rbrace=added.rbrace)


# programs/apps.py


def find_ready(module: cst.Module) -> tuple[cst.IndentedBlock, int]:
    """Return what is in the app's ``ready()``, and the place of its import of the ``signals``."""
    found = [
        method
        for node in module.body
        if isinstance(node, cst.ClassDef)
        for method in node.body.body
        if m.matches(method, m.FunctionDef(name=m.Name("ready"), body=m.IndentedBlock()))
    ]
    if len(found) != 1:
        raise Refusal(APPS, "ready()", f"expected one such method, found {len(found)}")
    block = found[0].body
    anchors = [position for position, statement in enumerate(block.body) if imports_of_app(statement, "signals")]
    if len(anchors) != 1:
        raise Refusal(APPS, "ready()", f"expected one import of the app's signals, found {len(anchors)}")
    return block, anchors[0]


def edit_apps(module: cst.Module) -> cst.Module:
    """Import the ``checks`` in the app's ``ready()`` the way ``signals`` are imported there."""
    block, anchor = find_ready(module)
    if any(imports_of_app(statement, "checks") for statement in block.body):
        return module

    body = list(block.body)
    statement = body[anchor]
    node = statement.body[0]
    if isinstance(node, cst.ImportFrom):
        if node.lpar:
            raise Refusal(APPS, "ready()", "the import of the app's signals is in parentheses")
        position = next(index for index, alias in enumerate(node.names) if alias.evaluated_name > "checks")
        comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
        checks = cst.ImportAlias(name=cst.Name("checks"), comma=comma)
        aliases = [*node.names[:position], checks, *node.names[position:]]
        body[anchor] = statement.with_changes(body=[node.with_changes(names=aliases)])
    else:
        checks = cst.ImportAlias(name=cst.parse_expression(f"{PROGRAMS}.checks"))
        insert_before(body, anchor, statement.deep_clone().with_changes(body=[cst.Import(names=[checks])]))
    return module.deep_replace(block, block.with_changes(body=body))


def edit_apps_for_the_bus(module: cst.Module) -> cst.Module:
    """Import the checks of the event bus in the app's ``ready()``, too."""
    block, anchor = find_ready(module)
    folder, _, name = BUS_CHECKS.rpartition(".")
    if any(imports_module(statement, (folder,), name) for statement in block.body):
        return module
    body, statement = list(block.body), block.body[anchor]
    line = cst.parse_statement(f"from {folder} import {name}")
    line = line.with_changes(trailing_whitespace=statement.trailing_whitespace)
    if imported_from(statement) == ".":
        insert_before(body, anchor, line)
        # The import order wants a blank line in front of what is relative.
        if not body[anchor + 1].leading_lines:
            body[anchor + 1] = body[anchor + 1].with_changes(leading_lines=[cst.EmptyLine(indent=False)])
    else:
        body.insert(anchor + 1, line)
    return module.deep_replace(block, block.with_changes(body=body))


def imports_module(statement: cst.CSTNode, folders: tuple[str, ...], name: str) -> bool:
    """Tell whether a statement imports a module from one of some packages, by ``from``."""
    if imported_from(statement) not in folders:
        return False
    aliases = statement.body[0].names
    return not isinstance(aliases, cst.ImportStar) and any(alias.evaluated_name == name for alias in aliases)


def imports_of_app(statement: cst.CSTNode, name: str) -> bool:
    """Tell whether a statement imports one module of the programs app."""
    if imports_module(statement, (".", PROGRAMS), name):
        return True
    dotted = m.MatchIfTrue(lambda node: get_full_name_for_node(node) == f"{PROGRAMS}.{name}")
    return m.matches(statement, m.SimpleStatementLine(body=[m.Import(names=[m.ImportAlias(name=dotted, asname=None)])]))
