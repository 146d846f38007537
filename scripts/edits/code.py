"""
Reads Python files and replaces text in them by its place; the other editors of this folder use it.

What is not replaced survives byte for byte.
"""

import ast
import io
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

Located = ast.stmt | ast.expr | ast.alias | ast.keyword


class Refusal(Exception):
    """Why the change cannot be applied, as one line: the file, the place in it, what is wrong there."""

    def __init__(self, file: str | Path, place: str, what: str) -> None:
        super().__init__(f"{file}: {place}: {what}")


class Edit(NamedTuple):
    """What replaces the text between two offsets. Its lines end with a line feed, whatever the file has."""

    start: int
    end: int
    text: str


class Code:
    """A Python file: its text, its syntax tree, and the edits that are possible at a part of the tree."""

    def __init__(self, file: str, content: bytes) -> None:
        self.file = file
        try:
            self.text = content.decode()
            text = self.text.removeprefix("\ufeff")
            with warnings.catch_warnings(action="ignore"):  # Of a backslash that escapes nothing.
                self.tree = ast.parse(text)
        except (SyntaxError, ValueError) as error:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise Refusal(file, "whole file", f"not valid Python {version} ({error})") from error
        self.lines = io.StringIO(text, newline="").readlines()
        self.starts = [*accumulate(map(len, self.lines), initial=len(self.text) - len(text))]
        self.newline = "\r\n" if self.lines and self.lines[0].endswith("\r\n") else "\n"

    def refusal(self, place: str, what: str) -> Refusal:
        return Refusal(self.file, place, what)

    def edited(self, *edits: Edit) -> "Code":
        """Return the file with some edits, which must not overlap."""
        text = self.text
        for edit in sorted(edits, reverse=True):
            text = text[: edit.start] + re.sub(r"\r?\n", self.newline, edit.text) + text[edit.end :]
        return Code(self.file, text.encode())

    def offset(self, line: int, column: int) -> int:
        """Return the place of a line and a column as the syntax tree has them: from 1, and in bytes of UTF-8."""
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def start(self, node: Located) -> int:
        return self.offset(node.lineno, node.col_offset)

    def end(self, node: Located) -> int:
        return self.offset(last_line(node), node.end_col_offset or 0)

    def segment(self, node: Located) -> str:
        return self.text[self.start(node) : self.end(node)]

    def indentation(self, node: Located) -> str:
        """Return what stands in front of a node on its first line."""
        return self.text[self.starts[node.lineno - 1] : self.start(node)]

    def remainder(self, node: Located) -> str:
        """Return what follows a node on its last line."""
        return self.text[self.end(node) : self.starts[last_line(node)]].rstrip("\r\n")

    def is_alone(self, statement: ast.stmt) -> bool:
        """Tell whether a statement has its lines for itself; a semicolon and a comment may follow."""
        ends = re.fullmatch(r"\s*;?\s*(#.*)?", self.remainder(statement))
        return not self.indentation(statement).strip() and ends is not None

    def lines_above(self, statement: ast.stmt) -> list[str]:
        """Return the comments and the blank lines directly above a statement."""
        first = last = statement.lineno - 1
        while first and re.match(r"\s*(#|$)", self.lines[first - 1]):
            first -= 1
        return self.lines[first:last]

    def replace(self, node: Located, text: str) -> Edit:
        return Edit(self.start(node), self.end(node), text)

    def below(self, statement: ast.stmt, line: str) -> Edit:
        """Return the edit that puts a line below a statement."""
        place = self.end(statement) + len(self.remainder(statement))
        return Edit(place, place, f"\n{line}")

    def above(self, statement: ast.stmt, line: str, gap: str = "") -> Edit:
        """Return the edit that puts an import above another and its comments, which a blank line separates then."""
        lines = self.lines_above(statement)
        comments = lines[next((number for number, text in enumerate(lines) if text.strip()), len(lines)) :]
        place = self.starts[statement.lineno - 1 - len(comments)]
        return Edit(place, place, line + "\n" + ("\n" if comments else gap))


def last_line(node: Located) -> int:
    return node.end_lineno or node.lineno


def walk(*nodes: ast.AST) -> Iterator[ast.AST]:
    """Yield some nodes and all below them."""
    for node in nodes:
        yield from ast.walk(node)


def mentions(*nodes: ast.AST, imports: bool = False) -> Counter[str]:
    """Count the names of any kind and the texts in some code, those of its imports only if asked to."""
    left_out = () if imports else (ast.alias, ast.ImportFrom)
    fields = [field for node in walk(*nodes) if not isinstance(node, left_out) for _, field in ast.iter_fields(node)]
    values = [value for field in fields for value in (field if isinstance(field, list) else [field])]
    return Counter(value for value in values if isinstance(value, str))


def bindings(*nodes: ast.AST) -> Counter[str]:
    """Count at how many places some code, functions in it included, binds or deletes each name, however it does."""
    found: Counter[str] = Counter()
    for node in walk(*nodes):
        match node:
            case (
                ast.Name(str(name), ast.Store() | ast.Del())
                | ast.arg(str(name))
                | ast.FunctionDef(str(name))
                | ast.AsyncFunctionDef(str(name))
                | ast.ClassDef(str(name))
                | ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(str(name))
                | ast.MatchMapping(rest=str(name))
            ):
                found[name] += 1
            case ast.alias(name, asname):
                found[asname or name.partition(".")[0]] += 1
    return found


def variables(*nodes: ast.AST) -> set[str]:
    """Return the names that stand for themselves in some code: neither attributes of others nor keywords."""
    return {node.id for node in walk(*nodes) if isinstance(node, ast.Name)} | bindings(*nodes).keys()


def blocks(node: ast.AST, loop: ast.For | None = None) -> Iterator[tuple[list[ast.stmt], ast.For | None]]:
    """Yield each block of ``node`` with the innermost for-loop around it; nested functions are not entered."""
    for _, field in ast.iter_fields(node):
        if isinstance(field, list) and field and isinstance(field[0], ast.stmt):
            yield field, loop
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.expr)):
            yield from blocks(child, child if isinstance(child, ast.For) else loop)


def called(code: Code, statement: ast.stmt) -> str | None:
    """Return the dotted name that a statement calls, if the statement is that one call and nothing else."""
    match statement:
        case ast.Expr(ast.Call(function)) if code.is_alone(statement):
            return ast.unparse(function)
    return None


def imported_from(statement: ast.AST) -> str | None:
    """Return the module of a ``from ... import`` ("." for ``from . import``), None for anything else."""
    return "." * statement.level + (statement.module or "") if isinstance(statement, ast.ImportFrom) else None


def function_named(code: Code, name: str) -> ast.FunctionDef:
    """Return the one function of that name at the top level."""
    found = [node for node in code.tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    if len(found) != 1:
        raise code.refusal(f"{name}()", f"expected one function of this name, found {len(found)}")
    return found[0]
