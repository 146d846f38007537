"""
Tests of what is changed to look for code that no test would miss.
"""

import ast

import pytest

from testbed.checks import mutation
from testbed.checks.platform_gates import ROOT, list_files


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
        ("raise error", ["pass   (was: raise error)"]),
        ("run(a)", ["pass   (was: run(a))"]),
        ("def f(a: int) -> bool:\n    'Docstring.'\n    return a", ["return None"]),
        ("def f(a=0):\n    b = c", ["def f(a=1):", "def f(a=-1):"]),
        ("if a:\n    b = c", ["if not a:"]),
        ("@register('tag')\ndef f():\n    b = c", ["@register('')"]),
        ("try:\n    b = c\nexcept (d, e):\n    b = c", ["except (e,):", "except (d,):"]),
    ],
)
def test_mutants(source, expected):
    tree = ast.parse(source)

    assert [text for _line, text in mutation.mutate(tree)] == expected

    assert ast.unparse(tree) == ast.unparse(ast.parse(source))


def test_each_mutant_is_python_and_differs():
    file = "openedx/core/djangoapps/programs/checks.py"
    same = ast.unparse(ast.parse((ROOT / file).read_text(encoding="utf-8")))

    mutants = list(mutation.read_mutants(file))

    assert len(mutants) > 40
    for _file, line, _text, source in mutants:
        compile(source, file, "exec")
        assert source != same
        assert line > 0


def test_each_file_has_tests_and_its_own_come_first():
    for file in list_files():
        if file.endswith(".py") and "/tests/" not in file and "# The slice" not in (ROOT / file).read_text("utf-8"):
            assert mutation.find_tests(file)[0].rpartition("/test_")[2] == file.rpartition("/")[2]
