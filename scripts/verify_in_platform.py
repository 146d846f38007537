"""
Find out whether the change holds in a checkout of openedx-platform, with the checkout's own gates.

    python scripts/verify_in_platform.py PATH [--venv PATH]

The change is applied to a temporary worktree of the checkout's HEAD; the checkout itself is not touched. Each gate runs
there with the checkout's own virtual environment. If it complains, it also runs in a worktree without the change, and
only what is new counts: a test that fails, or a message about one of the change's files. Each verdict is printed when
it is known. Tests that need MongoDB are left out if its server does not answer.

Exit codes: 0 if all gates ran and found nothing new, 1 if one found something, 2 if the command could not begin, 3 if
what ran found nothing new, but something did not run. A gate that the checkout does not configure counts as neither.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import apply_to_platform
import gates_in_platform
from checkout import make_worktree, write
from edits.code import Refusal
from gates_in_platform import APP, GATES, PATIENCE, Bench, Gate, NotRun

# Git ignores these folders, so a worktree lacks them. The platform's pytest hooks, which its pylint runs, write there.
FOLDERS = ("test_root/log", "test_root/uploads")
# What the platform's tests import if they need MongoDB.
MODULESTORE_TESTS = "xmodule.modulestore.tests"
MONGO = ("localhost", 27017)
PRINT_MONGO = """
from lms.envs.test import CONTENTSTORE
store = CONTENTSTORE["DOC_STORE_CONFIG"]
print(store["host"], store["port"])
"""


@dataclass
class Result:
    """What a gate said."""

    verdict: str
    new: list[str] = field(default_factory=list)
    in_full: bool = True


def find_tests_without_server(bench: Bench) -> tuple[str, list[str]]:
    """Return where the tests expect MongoDB, and, if nothing answers there, the files of tests that need it."""
    printed = re.search(r"^(\S+) (\d+)$", bench.run("-c", PRINT_MONGO).stdout, re.MULTILINE)
    host, port = (printed[1], int(printed[2])) if printed else MONGO
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        files = sorted((bench.root / APP).rglob("*test*.py"))
        needing = [path for path in files if MODULESTORE_TESTS in path.read_text("utf-8", "replace")]
        return f"{host}:{port}", [str(path.relative_to(bench.root)) for path in needing]
    return f"{host}:{port}", []


def attempt(gate: Gate, bench: Bench) -> tuple[Counter[str], str]:
    """Run a gate; return what it complains of, and why it cannot run, if it cannot."""
    try:
        return gate.complain(bench, *gate.arguments), ""
    except NotRun as reason:
        return Counter(), str(reason)
    except subprocess.TimeoutExpired:
        return Counter(), f"no end after {PATIENCE} s"


def judge(gate: Gate, before: Bench, after: Bench) -> Result:
    """Run a gate, and judge what is new. What runs before the change and not after it is broken by it."""
    found, reason = attempt(gate, after)
    known, known_reason = attempt(gate, before) if found or reason else (Counter(), "")
    if reason:
        return Result(f"{'not run' if known_reason else 'FAILED'}: {reason}", in_full=False)
    left_out = len(after.left_out) if gate.runs_tests else 0
    without = f", without {left_out} file(s) of tests that need MongoDB" if left_out else ""
    if new := found - known:
        return Result(f"FAILED: {new.total()} new{without}", list(new.elements()), not left_out)
    return Result(f"ok{f' ({found.total()} as before)' if found else ''}{without}", in_full=not left_out)


def verify(root: Path, python: str) -> int:
    """
    Run all gates, print their verdicts, and return the exit code.

    Raises:
        Refusal: The change cannot be applied.
    """
    parts = apply_to_platform.read_manifest()
    files = sorted({path for part in parts for path in [*part.files, *part.edits] if path.endswith(".py")})
    results = []
    with make_worktree(root) as old, make_worktree(root) as new:
        write(new, apply_to_platform.plan(new, parts, []))
        for tree in (old, new):
            for name in FOLDERS:
                (tree / name).mkdir(parents=True, exist_ok=True)
        print(f"Seed of the random order: {gates_in_platform.SEED}")
        address, left_out = find_tests_without_server(Bench(old, python, files))
        if left_out:
            print(f"MongoDB does not answer at {address}. Left out: {', '.join(left_out)}", flush=True)
        before, after = Bench(old, python, files, left_out), Bench(new, python, files, left_out)
        width = max(len(gate.name) for gate in GATES)
        for gate in GATES:
            print(f"{gate.name:{width}}  ", end="", flush=True)
            if not gate.is_configured(new):
                print("not configured in this checkout")
                continue
            results.append(result := judge(gate, before, after))
            print(result.verdict, *result.new, sep="\n    ", flush=True)
    last, code = summarize(results)
    print(last)
    return code


def summarize(results: list[Result]) -> tuple[str, int]:
    """Return the last line, and the exit code."""
    partial = sum(not result.in_full for result in results)
    failed = sum(result.verdict.startswith("FAILED") for result in results)
    ran = (
        f"{partial} of {len(results)} gates did not run, or not in full" if partial else f"All {len(results)} gates ran"
    )
    found = f"{failed} failed" if failed else "what ran is clean" if partial else "the change is clean"
    return f"{ran}; {found}.", 1 if failed else 3 if partial else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Run a platform checkout's own gates on the change, in a worktree.")
    parser.add_argument("path", metavar="PATH", help="the checkout's top directory")
    parser.add_argument("--venv", metavar="PATH", help="its virtual environment; .venv or venv in it by default")
    options = parser.parse_args(arguments)
    root = Path(os.path.realpath(options.path))
    venvs = [options.venv] if options.venv else [root / ".venv", root / "venv"]
    pythons = [Path(os.path.abspath(venv)) / "bin/python" for venv in venvs]
    python = next((str(path) for path in pythons if os.access(path, os.X_OK)), None)
    try:
        if not options.path:
            raise Refusal("PATH", "checkout", "is empty; name the top directory of a checkout")
        if python is None:
            raise Refusal("--venv", str(pythons[0].parent.parent), "no virtual environment with a Python in it")
        return verify(root, python)
    except Refusal as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
