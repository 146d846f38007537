"""Edits ``programs/apps.py``: the app's ``ready()`` imports the system checks beside the signals."""

import ast
from typing import TypeGuard

from edits.code import Code, Edit, imported_from

BUS_CHECKS = "openedx.core.lib.event_bus_checks"


def find_ready(code: Code) -> tuple[list[ast.stmt], ast.ImportFrom]:
    """Return the statements of the app's ``ready()``, and the one among them that imports the ``signals``."""
    classes = [node for node in code.tree.body if isinstance(node, ast.ClassDef)]
    methods = [node for found in classes for node in found.body if isinstance(node, ast.FunctionDef)]
    found = [method.body for method in methods if method.name == "ready"]
    if len(found) != 1:
        raise code.refusal("ready()", f"expected one such method, found {len(found)}")
    anchors = [node for node in found[0] if imports(node, ".", "signals") and code.is_alone(node)]
    if len(anchors) != 1:
        raise code.refusal("ready()", f"expected one import of the app's signals, found {len(anchors)}")
    return found[0], anchors[0]


def edit_apps(code: Code) -> Code:
    """Import the ``checks`` with the ``signals``."""
    body, anchor = find_ready(code)
    if any(imports(statement, ".", "checks") for statement in body):
        return code
    place = code.start(next(alias for alias in anchor.names if alias.name > "checks"))
    return code.edited(Edit(place, place, "checks, "))


def edit_apps_for_the_bus(code: Code) -> Code:
    """Import the checks of the event bus, too."""
    body, anchor = find_ready(code)
    folder, _, name = BUS_CHECKS.rpartition(".")
    if any(imports(statement, folder, name) for statement in body):
        return code
    line = f"{code.indentation(anchor)}from {folder} import {name}{code.remainder(anchor)}"
    # The import order wants a blank line in front of what is relative.
    return code.edited(code.above(anchor, line, "\n"))


def imports(statement: ast.stmt, package: str, name: str) -> TypeGuard[ast.ImportFrom]:
    """Tell whether a statement imports a module of a package; ``.`` is the app's own."""
    if not isinstance(statement, ast.ImportFrom):
        return False
    return imported_from(statement) == package and name in [alias.name for alias in statement.names]
