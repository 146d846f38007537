"""Adds the repair's task to ``programs/tasks.py``: this repository's text, the decorators of its neighbour there."""

import ast

from edits.code import Code, Edit, bindings, function_named, imported_from, variables
from edits.imports import group_of

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


def add_repair_task(code: Code, own: Code) -> Code:
    """
    Append the task that publishes a learner's certificates again; another version of it is replaced where it is.

    Args:
        code: The checkout's tasks.
        own: This repository's tasks.
    """
    function = function_named(own, REPAIR_TASK)
    [present] = [node for node in function.body if imported_from(node)]
    imports = [own.segment(present)]
    for name in (variables(*function.body) & names_at_the_top(own)) - names_at_the_top(code):
        [source] = [imported_from(node) or "" for node in own.tree.body if name in bindings(node)] or [""]
        if group_of(source) != "first-party":
            what = f"needs {name}, which is neither imported nor defined at the top of this file"
            raise code.refusal(f"{REPAIR_TASK}()", what)
        imports.append(f"from {source} import {name}")
    gap = f"\n{own.indentation(present)}"
    start = own.start(function)
    text = (
        own.text[start : own.start(present)]
        + gap.join(sorted(imports))
        + own.text[own.end(present) : own.end(function)]
    )
    text = "\n".join([*repair_decorators(code), text])

    if REPAIR_TASK not in bindings(*code.tree.body):
        end = "" if code.text.endswith("\n") else "\n"
        return code.edited(Edit(len(code.text), len(code.text), f"{end}\n\n{text}\n"))
    earlier = function_named(code, REPAIR_TASK)
    first = min([earlier.lineno, *(decorator.lineno for decorator in earlier.decorator_list)])
    return code.edited(Edit(code.starts[first - 1], code.end(earlier), text))


def names_at_the_top(code: Code) -> set[str]:
    """Return the names that a module imports, assigns and defines at its top level, outside of any ``if``."""
    defined = {node.name for node in code.tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    return defined | bindings(*(node for node in code.tree.body if not hasattr(node, "body"))).keys()


def repair_decorators(code: Code) -> list[str]:
    """Return the lines of the repair task's decorators: as at its neighbour, with the options that it needs besides."""
    place = f"{NEIGHBOUR}()"
    decorators = function_named(code, NEIGHBOUR).decorator_list
    match decorators[:1]:
        case [ast.Call(ast.Name("shared_task"), [], keywords)] if all(
            ast.unparse(other) == "set_code_owner_attribute" for other in decorators[1:]
        ):
            given = {keyword.arg or "**": code.segment(keyword) for keyword in keywords}
        case _:
            what = "is decorated in another way than @shared_task(...), @set_code_owner_attribute"
            raise code.refusal(place, what)
    if "name" in given or not given.keys() & {"bind", "**"}:
        raise code.refusal(place, "its @shared_task(...) has a name, or is without bind=True")
    options = [text for name, text in given.items() if name not in REPAIR_OPTIONS]
    more = REPAIR_OPTIONS if given.keys() & {"autoretry_for", "**"} else RETRY_OPTIONS | REPAIR_OPTIONS
    options += [f"{name}={value}" for name, value in more.items()]
    lines = [f"@shared_task({', '.join(options)})"]
    if keywords[0].lineno > decorators[0].lineno or len(lines[0]) > 120:
        lines = ["@shared_task(", *(f"    {option}," for option in options), ")"]
    return [*lines, *(f"@{ast.unparse(other)}" for other in decorators[1:])]
