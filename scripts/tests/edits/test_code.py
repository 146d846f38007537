"""
How code is read: what is not Python, and every way to bind a name.
"""

import ast
from collections import Counter

import pytest
from edits.code import Code, Refusal, bindings

BINDINGS = """
a = b = 1; c: int = 1; d += 1; del e
for f, (g, *h) in x: pass
with x as i: pass
if j := 1: pass
try: pass
except x as k: pass
import l.x, x as m
from x import n, x as o
def p(q, *r, s=x, **t): nonlocal x; u = x
class v: pass
async def w(): pass
match x:
    case [y, *z] | {"": 1, **A} | x(x=B): pass
lambda C: x; [x for D in x]; x.x = x[x] = x(x=x)
"""


def test_every_way_to_bind_a_name_counts() -> None:
    assert bindings(ast.parse(BINDINGS)) == Counter("abcdefghijklmnopqrstuvwyzABCD")


@pytest.mark.parametrize("source", [b"def (:\n", b"print 'x'\n", b"x = '\xff'\n", b"x = \x00\n"])
def test_what_is_not_python_is_refused(source: bytes) -> None:
    with pytest.raises(Refusal, match=r"^file.py: whole file: not valid Python 3\.\d+ \("):
        Code("file.py", source)


@pytest.mark.parametrize("start", ["\ufeff", "\f", "# coding: latin-1\n"])
def test_places_are_those_of_the_text(start: str) -> None:
    code = Code("file.py", f"{start}x = 'Zürich'; y = 1\n".encode())
    first, second = code.tree.body
    assert code.segment(first) == "x = 'Zürich'"
    assert code.edited(code.replace(second, "z = 2")).text == f"{start}x = 'Zürich'; z = 2\n"
