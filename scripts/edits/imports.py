"""The imports at the top of a file, which the editors of the tasks extend and clear."""

import ast
import sys
from itertools import pairwise

from edits.code import Code, Edit, bindings, imported_from, last_line, mentions

FIRST_PARTY = ("common", "lms", "openedx", "xmodule")


def group_of(source: str) -> str:
    """Return the group of imports that a module belongs to. No edit adds to "other"."""
    package = source.partition(".")[0]
    if package in FIRST_PARTY:
        return "first-party"
    return "other" if not package or package in sys.stdlib_module_names else "third-party"


def add_import(code: Code, line: str) -> Code:
    """Add a ``from ... import`` at its place in its group of the imports at the top."""
    own = imported_from(ast.parse(line).body[0]) or ""
    group: list[tuple[str, ast.stmt]] = []
    for statement in code.tree.body:
        source = imported_from(statement)
        if source and group_of(source) == group_of(own):
            group.append((source, statement))
        elif not isinstance(statement, (ast.Import, ast.ImportFrom, ast.Expr)):
            break  # The imports at the top end here.
    if not group:
        raise code.refusal("imports", f"no {group_of(own)} import at the top, for {line!r} to stand with")
    smaller = [statement for source, statement in group if source < own]
    return code.edited(code.below(smaller[-1], line) if smaller else code.above(group[0][1], line))


def drop_imports(code: Code, obsolete: set[str]) -> Code:
    """Remove those of the given names from the imports at the top that nothing in the file uses any more."""
    unused = obsolete - mentions(code.tree).keys()
    for statement in reversed([node for node in imports_at_the_top(code) if code.is_alone(node)]):
        names, last = statement.names, last_line(statement)
        kept = [number for number, alias in enumerate(names) if (alias.asname or alias.name) not in unused]
        if kept:
            edits = [Edit(code.end(names[kept[-1]]), code.end(names[-1]), "")]
            for number, (alias, following) in enumerate(pairwise(names[: kept[-1] + 1])):
                if number not in kept:
                    edits.append(Edit(code.start(alias), code.start(following), ""))
            code = code.edited(*edits)
        else:
            # Of the blank lines above and below what is removed, those below stay.
            above = "".join(code.lines_above(statement))
            gap = 0 if above.strip() or code.lines[last].strip() else len(above)
            code = code.edited(Edit(code.starts[statement.lineno - 1] - gap, code.starts[last], ""))
    return code


def imports_at_the_top(code: Code, source: str | None = None) -> list[ast.ImportFrom]:
    """Return the ``from ... import`` statements at the top level, those from one module if that is named."""
    found = [node for node in code.tree.body if isinstance(node, ast.ImportFrom)]
    return [node for node in found if source in (None, imported_from(node))]


def import_emitters(code: Code, source: str, emitters: tuple[str, ...]) -> Code:
    """Import the two emitters, at their place among the first-party imports."""
    line = f"from {source} import {', '.join(emitters)}"
    for node in ast.walk(code.tree):
        if isinstance(node, ast.ImportFrom) and mentions(*node.names, imports=True).keys() & set(emitters):
            aliases = sorted((alias.name, alias.asname or "") for alias in node.names)
            if imported_from(node) != source or aliases != [(name, "") for name in emitters]:
                raise code.refusal("imports", f"the emitter is imported in another way than {line!r}")
            return code
    return add_import(code, line)


def guarded_import(code: Code) -> ast.ImportFrom | None:
    """Return the import from ``requests`` that is there for type checkers only, if there is no other."""
    blocks = [node for node in code.tree.body if isinstance(node, ast.If) and not node.orelse]
    guarded = [node for block in blocks if ast.unparse(block.test) == "TYPE_CHECKING" for node in block.body]
    found = [node for node in guarded if isinstance(node, ast.ImportFrom) and imported_from(node) == "requests"]
    return found[0] if len(found) == 1 and not imports_at_the_top(code, "requests") else None


def import_response(code: Code) -> Code:
    """Import the class that a helper's annotation names, unless that is done; for type checkers only beside Session."""
    line, guarded = "from requests import Response", guarded_import(code)
    present = [guarded] if guarded else imports_at_the_top(code, "requests")
    imported = sum(alias.name == "Response" and not alias.asname for node in present for alias in node.names)
    if bindings(code.tree)["Response"] != imported:
        raise code.refusal("imports", f"Response is bound in another way than {line!r}")
    if imported:
        return code
    if guarded and code.segment(guarded) == "from requests import Session":
        return code.edited(code.replace(guarded, "from requests import Response, Session"))
    if present:
        # A second line for the same module would not be the platform's import order.
        raise code.refusal("imports", f"requests is imported from in another way than {line!r}")
    return add_import(code, line)


def move_response(code: Code) -> Code:
    """Import Response beside Session, for type checkers only, where an earlier version imported it at the top."""
    annotations = [node.returns for node in ast.walk(code.tree) if isinstance(node, ast.FunctionDef)]
    annotated = [node for node in annotations if isinstance(node, ast.Name) and node.id == "Response"]
    if not annotated or mentions(code.tree)["Response"] != len(annotated):
        return code
    for line in imports_at_the_top(code, "requests"):
        if code.lines[line.lineno - 1].strip() == "from requests import Response" and not code.lines_above(line):
            quoted = [code.replace(node, '"Response"') for node in annotated]
            moved = code.edited(Edit(code.starts[line.lineno - 1], code.starts[line.lineno], ""), *quoted)
            return import_response(moved) if guarded_import(moved) else code
    return code
