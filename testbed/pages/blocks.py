"""
Reads the literal blocks of the operators' pages, for the tests that run what the pages say.
"""

from functools import cache
from pathlib import Path

from docutils.core import publish_doctree
from docutils.nodes import literal_block

from testbed import ROOT

PAGES = sorted((ROOT / "openedx/core/djangoapps/programs/docs/how_tos").glob("*.rst"))


@cache
def literal_blocks(page: Path) -> list[literal_block]:
    """Read a page's blocks: ``names`` has what ``:name:`` calls a block, and ``classes`` its language."""
    # Roles of Sphinx are not known here; `make docs` checks the markup.
    document = publish_doctree(page.read_text(encoding="utf-8"), settings_overrides={"report_level": 5})
    return list(document.findall(literal_block))


def named_block(name: str) -> str:
    """Return the text of the one block that ``:name:`` calls by a name."""
    [block] = [block for page in PAGES for block in literal_blocks(page) if name in block["names"]]
    return block.astext()
