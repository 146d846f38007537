"""
Looks for code of the change that no test would miss: ``python -m testbed.checks.mutation``.

One thing at a time is changed in one file, and the unit tests of the file are to fail. What they miss is listed.
It works in a copy of the repository, and no file of that is written either: each mutant is compiled in a process of its
own, in place of the file.

``FILE`` names one file, ``SAMPLE`` how many mutants are taken at random, ``SEED`` which. (mutmut 3 would leave out what
is decorated, thus all system checks, and constants of modules. cosmic-ray would start Django anew for each mutant.)
"""

import ast
import contextlib
import copy
import importlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from testbed.checks.platform_gates import ROOT, list_files

PROCESSES = os.cpu_count() or 1
# Seconds for the tests of a mutant, which may wait or loop for ever: by the clock, and of the processor (3 to 6 do).
TIMEOUT = 180
PROCESSOR_TIME = 20
# What the tests import of others, as far as it needs no settings: loaded once, for all.
PRELOADED = ("celery", "ddt", "django.test", "factory", "openedx_events.learning.signals", "pytest_django", "requests")
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:hypothesispytest")
SWAPS = {
    **{ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.Lt)},
    **{ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,)},
    **{ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.And: (ast.Or,), ast.Or: (ast.And,)},
    **{ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.FloorDiv,), ast.Mod: (ast.Mult,), ast.Pow: (ast.Mult,)},
    **{ast.BitOr: (ast.BitAnd,)},
}
SHOWN = (ast.stmt, ast.ExceptHandler)
STATEMENTS = (ast.AugAssign, ast.Raise, ast.Continue, ast.Break, ast.Expr, ast.Return)


def replacements(node):
    """Return what may stand in the place of a node of a syntax tree."""
    match node:
        case ast.Constant(value=bool(value)):
            return [ast.Constant(not value)]
        case ast.Constant(value=int(value)):
            return [ast.Constant(value + 1), ast.Constant(value - 1)]
        case ast.Constant(value=str(value)):
            return [ast.Constant("")] if value else [ast.Constant("x")]
        case ast.JoinedStr():
            return [ast.Constant("")]
        case ast.UnaryOp(op=ast.Not()):
            return [node.operand]
        case ast.Return(value=value) if value and not (isinstance(value, ast.Constant) and value.value is None):
            return [ast.Return(ast.Constant(None))]
        case ast.Call(func=ast.Attribute(attr="filter" | "exclude" | "select_related" | "order_by")):
            return [node.func.value, *without(node, "keywords")]
        case ast.Call():
            return without(node, "keywords")
        case ast.BoolOp():
            return without(node, "values")
        case ast.Tuple(ctx=ast.Load()) | ast.List(ctx=ast.Load()) | ast.Set():
            return without(node, "elts")
        case _ if type(node) in SWAPS:
            return [other() for other in SWAPS[type(node)]]
        case _ if isinstance(node, STATEMENTS):
            return [ast.Pass()]
    return []


def is_read_by_people(node):
    """Tell whether a node is a text for people alone: a docstring, or what an option's help says."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.keyword(arg="help" | "metavar"):
            return True
        case ast.Assign(targets=[ast.Name(id="help")]):
            return True
    return False


def without(node, field):
    """Return copies of a node, in each of which a list lacks one item."""
    copies = []
    for place, item in enumerate(getattr(node, field)):
        if is_read_by_people(item):
            continue
        copies.append(copy.copy(node))
        setattr(copies[-1], field, getattr(node, field)[:place] + getattr(node, field)[place + 1 :])
    return copies


def mutate(tree):
    """Change a syntax tree at one place after the other, and yield line and text of the statement each time."""

    def walk(node, line, statement):
        line, statement = getattr(node, "lineno", line), node if isinstance(node, SHOWN) else statement
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns") or (isinstance(node, ast.JoinedStr) and field == "values"):
                continue
            slots, keys = (value, range(len(value))) if isinstance(value, list) else (vars(node), [field])
            for key in keys:
                child = slots[key]
                if not isinstance(child, ast.AST) or is_read_by_people(child):
                    continue
                changed = replacements(child)
                if field == "test":
                    changed = [*changed, ast.UnaryOp(ast.Not(), child)]
                for slots[key] in changed:
                    shown = slots[key] if isinstance(child, ast.stmt) else statement
                    was = f"   (was: {ast.unparse(child)})" if isinstance(shown, ast.Pass) else ""
                    yield getattr(child, "lineno", line), ast.unparse(shown).partition("\n")[0] + was
                slots[key] = child
                yield from walk(child, line, statement)

    yield from walk(tree, 0, tree)


def read_mutants(file):
    """Yield file, line, mutated statement and source of each mutant of a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for line, text in mutate(tree):
        yield file, line, text, ast.unparse(ast.fix_missing_locations(tree))


def find_tests(file):
    """Return the test files of a file of the change: its own first, and those of what calls it."""
    tests = [path for path in list_files() if "/tests/test_" in path]
    own = [path for path in tests if path.endswith(f"/test_{Path(file).name}")]
    recovery = [path for path in tests if "test_republish" in path]
    return own + ([path for path in recovery if path not in own] if own[0] in recovery else [])


def start_tests(file, source):
    """Fork a process that runs the tests of a file, with another source in its place, and return the process id."""
    if pid := os.fork():
        return pid
    # Either ends the process.
    signal.alarm(TIMEOUT)
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_TIME, PROCESSOR_TIME))
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    original = SourceFileLoader.get_code

    def get_code(loader, name):
        mutated = Path(loader.path).resolve() == ROOT / file
        return compile(source, loader.path, "exec") if mutated else original(loader, name)

    SourceFileLoader.get_code = get_code
    with contextlib.suppress(BaseException):
        os._exit(pytest.main([*OPTIONS, *find_tests(file)]))
    os._exit(99)


def run_tests(mutants):
    """Run the tests of each mutant, some at once, and yield it with the exit status."""
    running = {}
    for mutant in [*mutants, *[None] * PROCESSES]:
        if len(running) == PROCESSES or (mutant is None and running):
            pid, status = os.wait()
            yield running.pop(pid), status
        if mutant:
            running[start_tests(mutant[0], mutant[-1])] = mutant


def main(file=None, sample=None, seed=None):
    """Try the mutants, print those that survive, and exit with 1 if tests fail without any."""
    for module in PRELOADED:
        importlib.import_module(module)
    files = [path for path in list_files() if path.endswith(".py") and "/tests/" not in path]
    changed = [path for path in files if "# The slice" not in (ROOT / path).read_text(encoding="utf-8")]
    files = [path for path in changed if file in (None, path)] or sys.exit(f"FILE is one of {', '.join(changed)}")
    for (path, *_), status in run_tests([(path, (ROOT / path).read_text(encoding="utf-8")) for path in files]):
        if status:
            sys.exit(f"The tests of {path} fail without mutants: pytest {' '.join(find_tests(path))}")
    mutants = [mutant for path in files for mutant in read_mutants(path)]
    if sample:
        seed = seed or random.randrange(2**32)
        mutants = random.Random(int(seed)).sample(mutants, min(int(sample), len(mutants)))
    print(f"{len(mutants)} mutants{f', SEED={seed}' if sample else ''}. Surviving:", flush=True)
    survivors = 0
    for (path, line, text, _source), status in run_tests(mutants):
        if not status:
            survivors += 1
            print(f"{path}:{line}: {text}", flush=True)
    print(f"{survivors} of {len(mutants)} survived.")


def run_in_copy():
    """Run all that in a copy of the repository, which nobody edits meanwhile, and return the exit code."""
    files = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    with tempfile.TemporaryDirectory() as folder:
        for file in filter(lambda file: (ROOT / file).exists(), files.splitlines()):
            (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, Path(folder) / file)
        return subprocess.run([sys.executable, "-m", "testbed.checks.mutation", "here"], cwd=folder).returncode


if __name__ == "__main__":
    if sys.argv[1:] != ["here"]:
        sys.exit(run_in_copy())
    main(*[os.environ.get(name) or None for name in ("FILE", "SAMPLE", "SEED")])
