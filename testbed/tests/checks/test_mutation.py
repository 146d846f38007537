"""
Tests of the mutants that ``make mutation`` tries.
"""

import ast

import pytest

from testbed.checks import mutation


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("LIMIT = 10", ["LIMIT = 11", "LIMIT = 9"]),
        ("x = a <= b", ["x = a < b", "x = a > b"]),
        ("x = a and b", ["x = b", "x = a", "x = a or b"]),
        ("x = not a", ["x = a"]),
        ("x = f(a, key=b)", ["x = f(a)"]),
        ("x = add(help='Text.', default=a)", ["x = add(help='Text.')"]),
        ("x = rows.filter(name=a)", ["x = rows", "x = rows.filter()"]),
        ("x = f'{a} of {b}'", ["x = ''"]),
        ("raise error", ["pass"]),
        ("run(a)", ["pass"]),
        ("def f(a: int) -> bool:\n    'Docstring.'\n    return a", ["return None"]),
        ("def f(a=0):\n    b = c", ["def f(a=1):", "def f(a=-1):"]),
        ("if a:\n    b = c", ["if not a:"]),
        ("@register('tag')\ndef f():\n    b = c", ["@register('')"]),
        ("try:\n    b = c\nexcept (d, e):\n    b = c", ["except (e,):", "except (d,):"]),
    ],
)
def test_mutants(source: str, expected: list[str]) -> None:
    mutants = list(mutation.read_mutants("file.py", source))

    assert [mutant.text.partition(" -> ")[2] for mutant in mutants] == expected


def test_each_mutant_is_python() -> None:
    mutants = list(mutation.read_mutants("openedx/core/djangoapps/programs/checks.py"))

    assert len({mutant.source for mutant in mutants}) > 40
    for mutant in mutants:
        ast.parse(mutant.source)
        assert mutant.line > 0


def test_each_file_has_tests_and_its_own_come_first() -> None:
    for file in mutation.mutated_files():
        assert mutation.find_tests(file)[0].rpartition("/test_")[2] == file.rpartition("/")[2]
