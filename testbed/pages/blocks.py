"""
Reads the literal blocks of the operators' pages, for the tests that run what the pages say.
"""

from functools import cache
from pathlib import Path

from docutils import frontend, nodes, utils
from docutils.parsers.rst import Parser

from testbed import ROOT

PAGES = sorted((ROOT / "openedx/core/djangoapps/programs/docs/how_tos").glob("*.rst"))


@cache
def literal_blocks(page: Path) -> list[nodes.literal_block]:
    """Read a page's blocks: ``names`` has what ``:name:`` calls a block, and ``classes`` its language."""
    settings = frontend.get_default_settings(Parser)
    settings.report_level = 5  # roles of Sphinx are not known here; `make docs` checks the markup
    document = utils.new_document(str(page), settings)
    Parser().parse(page.read_text(encoding="utf-8"), document)
    return list(document.findall(nodes.literal_block))


def named_block(name: str) -> str:
    """
    Return the text of the block that ``:name:`` calls by a name.

    Raises:
        LookupError: there is none, or more than one.
    """
    found = [block.astext() for page in PAGES for block in literal_blocks(page) if name in block["names"]]
    if len(found) != 1:
        raise LookupError(f"expected one block named {name} on the pages, found {len(found)}")
    return found[0]
