"""
Looks for code of the change that no unit test would miss: ``python -m testbed.checks.mutation``, for ``make mutation``.

No library does it: mutmut 3.8 skips decorated functions (all system checks) and constants of modules; cosmic-ray 8.7
removes no statement or argument, mutates annotations, and starts Django anew for each mutant.

One thing is changed in one file at a time, and the file's tests have to fail. Each mutant is compiled in a process of
its own, in place of the file. ``FILE`` names one file, ``SAMPLE`` how many mutants are taken at random, ``SEED`` which.
"""

import ast
import contextlib
import copy
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from testbed import ROOT
from testbed.checks.manifest import list_files, read_manifest

PROCESSES = os.cpu_count() or 1
TIMEOUT = 120  # seconds for the tests of a mutant, which may never end; they take 3 to 6 on an idle core
# What the tests import of others, as far as it needs no settings: loaded once, for all.
PRELOADED = ("celery", "ddt", "django.test", "factory", "openedx_events.learning.signals", "pytest_django", "requests")
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:hypothesispytest")
SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    **{ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.Lt)},
    **{ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,)},
    **{ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.And: (ast.Or,), ast.Or: (ast.And,)},
    **{ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.FloorDiv,), ast.Mod: (ast.Mult,), ast.Pow: (ast.Mult,)},
    **{ast.BitOr: (ast.BitAnd,)},
}


class Mutant(NamedTuple):
    """A file with one change: where, the changed statement, and the file's whole source."""

    file: str
    line: int
    text: str
    source: str


def replacements(node: Any) -> list[ast.AST]:
    """Return what may stand in the place of a node of a syntax tree."""
    match node:
        case ast.Constant(value=bool(value)):
            return [ast.Constant(not value)]
        case ast.Constant(value=int(value)):
            return [ast.Constant(value + 1), ast.Constant(value - 1)]
        case ast.Constant(value=str(value)):
            return [ast.Constant("" if value else "x")]
        case ast.JoinedStr():
            return [ast.Constant("")]
        case ast.UnaryOp(op=ast.Not()):
            return [node.operand]
        case ast.Return(value=result) if result and not (isinstance(result, ast.Constant) and result.value is None):
            return [ast.Return(ast.Constant(None))]
        case ast.Call(func=ast.Attribute(value=queryset, attr="filter" | "exclude" | "select_related" | "order_by")):
            return [queryset, *without(node, "keywords")]
        case ast.Call():
            return without(node, "keywords")
        case ast.BoolOp():
            return without(node, "values")
        case ast.Tuple(ctx=ast.Load()) | ast.List(ctx=ast.Load()) | ast.Set():
            return without(node, "elts")
        case ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break() | ast.Expr() | ast.Return():
            return [ast.Pass()]
    return [other() for other in SWAPS.get(type(node), ())]


def without(node: ast.AST, field: str) -> list[ast.AST]:
    """Return copies of a node, in each of which a list lacks one item."""
    copies = []
    for place, item in enumerate(items := getattr(node, field)):
        if not is_read_by_people(item):
            copies.append(copy.copy(node))
            setattr(copies[-1], field, items[:place] + items[place + 1 :])
    return copies


def is_read_by_people(node: ast.AST) -> bool:
    """Tell whether a node is a text for people alone: a docstring, or an option's help."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.keyword(arg="help" | "metavar") | ast.Assign([ast.Name("help")]):
            return True
    return False


def places(node: ast.AST, line: int = 0) -> Iterator[tuple[int, str, Any, Any]]:
    """Yield each place below a node: line, name of the field, and the container and key by which it is set."""
    line = getattr(node, "lineno", line)
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns") or (isinstance(node, ast.JoinedStr) and field == "values"):
            continue
        slots: Any = value if isinstance(value, list) else vars(node)
        for key in range(len(value)) if isinstance(value, list) else [field]:
            if isinstance(slots[key], ast.AST) and not is_read_by_people(slots[key]):
                yield getattr(slots[key], "lineno", line), field, slots, key
                yield from places(slots[key], line)


def read_mutants(file: str, text: str | None = None) -> Iterator[Mutant]:
    """Change a file, or another text in its place, at one place after the other, and yield the result each time."""
    tree = ast.parse(text or (ROOT / file).read_text(encoding="utf-8"))
    before = ast.unparse(tree).splitlines()
    for line, field, slots, key in list(places(tree)):
        child = slots[key]
        for slots[key] in replacements(child) + ([ast.UnaryOp(ast.Not(), child)] if field == "test" else []):
            source = ast.unparse(ast.fix_missing_locations(tree))
            was, becomes = next(pair for pair in zip(before, source.splitlines(), strict=False) if len({*pair}) == 2)
            yield Mutant(file, line, f"{was.strip()} -> {becomes.strip()}", source)
        slots[key] = child


def mutated_files() -> list[str]:
    """Return the new Python files of the change."""
    return [path for path in read_manifest()[0] if path.endswith(".py") and "/tests/" not in path]


def find_tests(file: str) -> list[str]:
    """Return the test files of a file of the change: its own first, and those of what calls it."""
    tests = [path for path in list_files() if "/tests/test_" in path]
    own = [path for path in tests if path.endswith(f"/test_{Path(file).name}")]
    recovery = [path for path in tests if "test_republish" in path]
    return own + ([path for path in recovery if path not in own] if own[0] in recovery else [])


def start_tests(mutant: Mutant) -> int:
    """Fork a process that runs the tests of a mutant, and return the process id."""
    if pid := os.fork():
        return pid
    signal.alarm(TIMEOUT)  # ends the process
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    original: Any = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, name: str) -> Any:
        mutated = Path(loader.path).resolve() == ROOT / mutant.file
        return compile(mutant.source, loader.path, "exec") if mutated else original(loader, name)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]
    with contextlib.suppress(BaseException):
        os._exit(pytest.main([*OPTIONS, *find_tests(mutant.file)]))
    os._exit(99)


def run_tests(mutants: Iterable[Mutant]) -> Iterator[tuple[Mutant, int]]:
    """Run the tests of each mutant, some at once, and yield it with the exit status."""
    running: dict[int, Mutant] = {}
    for mutant in [*mutants, *[None] * PROCESSES]:
        if len(running) == PROCESSES or (mutant is None and running):
            pid, status = os.wait()
            yield running.pop(pid), status
        if mutant:
            running[start_tests(mutant)] = mutant


def main(file: str | None, sample: str | None, seed: str | None) -> None:
    """Try the mutants, print those that survive, and exit with 1 if tests fail without any."""
    for module in PRELOADED:
        importlib.import_module(module)
    files = [path for path in mutated_files() if file in (None, path)]
    if not files:
        sys.exit(f"FILE is one of {', '.join(mutated_files())}")
    for original, status in run_tests(Mutant(path, 0, "", (ROOT / path).read_text("utf-8")) for path in files):
        if status:
            tests = " ".join(find_tests(original.file))
            sys.exit(f"The tests of {original.file} fail without mutants: pytest {tests}")
    mutants = [mutant for path in files for mutant in read_mutants(path)]
    if sample:
        seed = seed or str(random.randrange(2**32))
        mutants = random.Random(int(seed)).sample(mutants, min(int(sample), len(mutants)))
    print(f"{len(mutants)} mutants{f', SEED={seed}' if sample else ''}. Surviving:", flush=True)
    survivors = 0
    for mutant, status in run_tests(mutants):
        if not status:
            survivors += 1
            print(f"{mutant.file}:{mutant.line}: {mutant.text}", flush=True)
    print(f"{survivors} of {len(mutants)} survived.")


if __name__ == "__main__":
    if sys.argv[1:] == ["here"]:
        main(*[os.environ.get(name) or None for name in ("FILE", "SAMPLE", "SEED")])
    else:
        with tempfile.TemporaryDirectory() as folder:  # nobody edits the copy meanwhile
            shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
            sys.exit(subprocess.call([sys.executable, "-m", "testbed.checks.mutation", "here"], cwd=folder))
