"""Edits ``programs/apps.py``: the app's ``ready()`` imports the system checks beside the signals."""

import ast

from edits.code import Code, Edit, imported_from

PROGRAMS = "openedx.core.djangoapps.programs"
BUS_CHECKS = "openedx.core.lib.event_bus_checks"


def find_ready(code: Code) -> tuple[list[ast.stmt], ast.stmt]:
    """Return the statements of the app's ``ready()``, and the one among them that imports the ``signals``."""
    found = [
        method
        for node in code.tree.body
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, ast.FunctionDef) and method.name == "ready"
    ]
    if len(found) != 1:
        raise code.refusal("ready()", f"expected one such method, found {len(found)}")
    anchors = [
        statement for statement in found[0].body if imports(statement, PROGRAMS, "signals") and code.is_alone(statement)
    ]
    if len(anchors) != 1:
        raise code.refusal("ready()", f"expected one import of the app's signals, found {len(anchors)}")
    return found[0].body, anchors[0]


def edit_apps(code: Code) -> Code:
    """Import the ``checks`` the way ``signals`` are imported."""
    body, anchor = find_ready(code)
    if any(imports(statement, PROGRAMS, "checks") for statement in body):
        return code
    if isinstance(anchor, ast.ImportFrom):
        place = code.start(next(alias for alias in anchor.names if alias.name > "checks"))
        return code.edited(Edit(place, place, "checks, "))
    return code.edited(
        code.above(anchor, code.indentation(anchor) + f"import {PROGRAMS}.checks{code.remainder(anchor)}")
    )


def edit_apps_for_the_bus(code: Code) -> Code:
    """Import the checks of the event bus, too."""
    body, anchor = find_ready(code)
    folder, _, name = BUS_CHECKS.rpartition(".")
    if any(imports(statement, folder, name) for statement in body):
        return code
    line = f"{code.indentation(anchor)}from {folder} import {name}{code.remainder(anchor)}"
    # The import order wants a blank line in front of what is relative.
    return code.edited(code.above(anchor, line, "\n") if imported_from(anchor) == "." else code.below(anchor, line))


def imports(statement: ast.stmt, package: str, name: str) -> bool:
    """Tell whether a statement imports a module of a package; the app's own is the one that ``.`` stands for."""
    match statement:
        case ast.ImportFrom(names=names):
            own = (package, ".") if package == PROGRAMS else (package,)
            return imported_from(statement) in own and name in [alias.name for alias in names]
        case ast.Import([ast.alias(module, None)]):
            return module == f"{package}.{name}"
    return False
