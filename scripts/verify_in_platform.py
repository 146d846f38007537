"""
Find out whether the change holds in a checkout of openedx-platform, with the checkout's own gates.

    python scripts/verify_in_platform.py PATH [--venv PATH]

The change is applied to a temporary worktree of the checkout's HEAD; the checkout itself is not touched. Each gate that
the checkout configures runs there before and after, with the checkout's own virtual environment, and only what is new
counts: a test that fails, or a message about one of the change's files. The exit code is 0 if nothing new is wrong, 1
if something is, 2 if it could not begin. A gate that could not run is named as not run.
"""

import argparse
import configparser
import os
import random
import re
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import apply_to_platform
from platform_edits import PROGRAMS, Refusal

TESTS = PROGRAMS.replace(".", "/")
# Seconds for one run of one gate.
PATIENCE = 3600
SEED = random.randrange(1_000_000)


class NotRun(Exception):
    """Why a gate cannot run."""


@dataclass
class Bench:
    """A worktree, the Python that runs its gates, and the change's Python files."""

    root: Path
    python: str
    files: list[str]

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        """Run a module of the checkout's virtual environment."""
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("DJANGO_", "PYTEST_", "VIRTUAL_"))
        }
        environment = {**kept, "PYTHONPATH": str(self.root), "PATH": f"{Path(self.python).parent}:{os.environ['PATH']}"}
        command = [self.python, "-m", *arguments]
        environment |= variables
        return subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    def require(self, module: str) -> None:
        """Raise NotRun if the virtual environment lacks a module."""
        probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
        if subprocess.run([self.python, "-c", probe, module], cwd=self.root, check=False).returncode:
            raise NotRun(f"the virtual environment has no {module}")

    def present(self) -> list[str]:
        """Return which of the files there are."""
        return [path for path in self.files if (self.root / path).is_file()]


@dataclass(frozen=True)
class Gate:
    """Something that may complain: its name, whether the checkout has it, and what it complains of, as lines."""

    name: str
    is_configured: Callable[[Path], bool]
    complain: Callable[[Bench], Counter]


@dataclass
class Result:
    """What a gate said."""

    gate: str
    verdict: str
    new: list[str] = field(default_factory=list)


# How a checkout configures its gates


def configures(section: str, *own_files: str) -> Callable[[Path], bool]:
    """Tell whether a checkout has one of some files, or a section of setup.cfg, tox.ini or pyproject.toml."""

    def is_configured(root: Path) -> bool:
        if any((root / name).is_file() for name in own_files):
            return True
        for name in ("setup.cfg", "tox.ini"):
            parser = configparser.RawConfigParser(strict=False)
            parser.read(root / name, encoding="utf-8")
            if any(found.partition(":")[0] == section or found == f"tool:{section}" for found in parser.sections()):
                return True
        pyproject = root / "pyproject.toml"
        return pyproject.is_file() and section in tomllib.loads(pyproject.read_text("utf-8")).get("tool", {})

    return is_configured


def always(_root: Path) -> bool:
    """Every checkout of the platform has it."""
    return True


# What the gates complain of


def lines(text: str) -> Counter:
    """Return a tool's lines about files, without what moves when others are added: lines, columns."""
    found = re.findall(r"^(?:ERROR: )?(\S+\.py)(?::\d+)*:? *(.+)$", text, re.MULTILINE)
    return Counter(f"{path}: {re.sub(r'(?i)line[s]? [0-9]+', 'line', message)}" for path, message in found)


def messages_of(module: str, *arguments: str) -> Callable[[Bench], Counter]:
    """Have a tool complain about the change's files."""

    def complain(bench: Bench) -> Counter:
        bench.require(module)
        done = bench.run(module, *arguments, *bench.present())
        found = lines((done.stdout + done.stderr).replace(f"{bench.root}/", ""))
        if done.returncode and not found:
            raise NotRun(last_line(done))
        return found

    return complain


def missing_migrations(service: str) -> Callable[[Bench], Counter]:
    """Have Django complain about migrations that a service lacks, with the settings of its tests."""

    def complain(bench: Bench) -> Counter:
        settings = {"DJANGO_SETTINGS_MODULE": f"{service}.envs.test"}
        done = bench.run("manage", service, "makemigrations", "--check", "--dry-run", **settings)
        if done.returncode and "Migrations for" not in done.stdout:
            raise NotRun(last_line(done))
        return Counter(filter(str.strip, done.stdout.splitlines())) if done.returncode else Counter()

    return complain


def broken_contracts(bench: Bench) -> Counter:
    """Have import-linter complain."""
    bench.require("importlinter")
    done = bench.run("importlinter.cli", "lint-imports")
    # Older releases have no such module; the command is there in all.
    if "No module named" in done.stderr or not done.stdout:
        command = [str(Path(bench.python).parent / "lint-imports"), "--no-cache"]
        done = subprocess.run(command, cwd=bench.root, capture_output=True, text=True, check=False)
    if not re.search(r"^Contracts: ", done.stdout, re.MULTILINE):
        raise NotRun(last_line(done))
    # The contracts, and the imports that break them, without their lines.
    return Counter(re.sub(r" \(l\..*", "", line) for line in done.stdout.splitlines() if re.search("BROKEN|->", line))


def failing_tests(*options: str, needs: str | None = None) -> Callable[[Bench], Counter]:
    """Have the tests of the programs app complain, and those that the change has elsewhere."""

    def complain(bench: Bench) -> Counter:
        bench.require("pytest")
        if needs:
            bench.require(needs)
        elsewhere = [path for path in bench.present() if "/tests/" in path and not path.startswith(TESTS)]
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            done = bench.run("pytest", "-q", f"--junitxml={report}", *options, TESTS, *elsewhere)
            if not report.is_file():
                raise NotRun(last_line(done))
            cases = list(ElementTree.parse(report).iter("testcase"))
        failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
        if not cases or len(failed) == len(cases):
            raise NotRun(f"no test passes: {last_line(done)}")
        return Counter(f"{case.get('classname')}.{case.get('name')}" for case in failed)

    return complain


def last_line(done: subprocess.CompletedProcess) -> str:
    """Return what a tool said last."""
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return said[-1].strip()[:200] if said else f"exit code {done.returncode}"


GATES = (
    Gate("tests", always, failing_tests("-p", "no:randomly")),
    Gate(
        f"tests, random order (seed {SEED})",
        always,
        failing_tests("-p", "randomly", f"--randomly-seed={SEED}", needs="pytest_randomly"),
    ),
    Gate("pylint", configures("pylint", "pylintrc", ".pylintrc"), messages_of("pylint", "--score=n")),
    Gate("pycodestyle", configures("pycodestyle"), messages_of("pycodestyle")),
    Gate(
        "ruff", configures("ruff", "ruff.toml", ".ruff.toml"), messages_of("ruff", "check", "--output-format=concise")
    ),
    Gate("isort", configures("isort", ".isort.cfg"), messages_of("isort", "--check-only")),
    Gate("import-linter", configures("importlinter", ".importlinter"), broken_contracts),
    Gate("migrations, LMS", always, missing_migrations("lms")),
    Gate("migrations, Studio", always, missing_migrations("cms")),
)
ANNOTATIONS = (".annotations.yml", ".annotations_config.yml", "lms/envs/.annotations.yml")


def annotations(bench: Bench) -> Counter:
    """Have code-annotations complain."""
    bench.require("code_annotations")
    [config, *_] = [name for name in ANNOTATIONS if (bench.root / name).is_file()]
    found: Counter = Counter()
    for source in ("lms", TESTS, "openedx/core/lib"):
        arguments = ("static_find_annotations", "--config_file", config, "--source_path", source, "--no_report")
        command = [str(Path(bench.python).parent / "code_annotations"), *arguments]
        done = subprocess.run(command, cwd=bench.root, capture_output=True, text=True, check=False)
        complaints = [line for line in done.stdout.splitlines() if ".py" in line]
        if done.returncode and not complaints:
            raise NotRun(last_line(done))
        if done.returncode:
            found.update(complaints)
    return found


def has_annotations(root: Path) -> bool:
    """Tell whether the checkout configures code-annotations."""
    return any((root / name).is_file() for name in ANNOTATIONS)


# The run


def verify(root: Path, python: str, say: Callable[[str], None]) -> list[Result]:
    """
    Run all gates in a worktree, before and after the change.

    Raises:
        Refusal: The change cannot be applied.
    """
    parts = apply_to_platform.read_manifest()
    listed = [path for part in parts for path in [*part.files, *part.edits]]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(os.path.realpath(folder)) / "platform"
        try:
            add = ("-c", f"core.hooksPath={os.devnull}", "worktree", "add", "--quiet", "--detach", str(tree), "HEAD")
            apply_to_platform.git(root, *add)
            changes = apply_to_platform.plan(tree, parts, [])
            bench = Bench(tree, python, sorted({path for path in listed if path.endswith(".py")}))
            gates = [*GATES, Gate("annotations", has_annotations, annotations)]
            before = {gate.name: attempt(gate, bench, "before", say) for gate in gates}
            apply_to_platform.write(tree, changes)
            return [compare(gate, before[gate.name], attempt(gate, bench, "after", say)) for gate in gates]
        finally:
            if tree.exists():
                apply_to_platform.git(root, "worktree", "remove", "--force", str(tree))


def attempt(gate: Gate, bench: Bench, when: str, say: Callable[[str], None]) -> Counter | NotRun:
    """Run a gate, or return why it cannot run."""
    if not gate.is_configured(bench.root):
        return NotRun("the checkout does not configure it")
    say(f"{gate.name}, {when} the change ...")
    try:
        return gate.complain(bench)
    except NotRun as reason:
        return reason
    except subprocess.TimeoutExpired:
        return NotRun(f"no end after {PATIENCE} s")


def compare(gate: Gate, before: Counter | NotRun, after: Counter | NotRun) -> Result:
    """Judge what is new. What runs before the change and not after it is broken by it."""
    if isinstance(after, NotRun):
        verdict = "not run" if isinstance(before, NotRun) else "FAILED"
        return Result(gate.name, f"{verdict}: {after}")
    new = after - (Counter() if isinstance(before, NotRun) else before)
    known = (after - new).total()
    if new:
        return Result(gate.name, f"FAILED: {new.total()} new", sorted(new.elements()))
    return Result(gate.name, "ok" + (f" ({known} as before)" if known else ""))


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
        results = verify(root, python, lambda line: print(line, file=sys.stderr, flush=True))
    except Refusal as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    for result in results:
        for line in result.new:
            print(f"{result.gate}: {line}")
    width = max(len(result.gate) for result in results)
    for result in results:
        print(f"{result.gate:{width}}  {result.verdict}")
    return int(any(result.verdict.startswith("FAILED") for result in results))


if __name__ == "__main__":
    sys.exit(main())
