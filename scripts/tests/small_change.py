"""
A small change, which most tests of the commands let ``apply_to_platform`` carry: its files, and what is in them.
"""

from apply_to_platform import APPS, REPOSITORY, SETTINGS
from checkout import TASKS

EVENTS = "openedx/core/djangoapps/programs/events.py"
EMPTY = "openedx/core/djangoapps/programs/management/__init__.py"
HOW_TO = "docs/how-to/program-certificate-events.rst"
FIRST_PAGE, LATER_PAGE = "docs/how-to/first.rst", "docs/how-to/later.rst"
NEW = (EVENTS, EMPTY, HOW_TO, FIRST_PAGE, LATER_PAGE)
EDITED = (SETTINGS, TASKS, APPS)
LATER_ITEM = "* Comes with the other page,\n  which is :doc:`later`.\n"
FIRST_TEXT = f"First\n#####\n\n* Stays: :doc:`other`.\n{LATER_ITEM}* Stays, too.\n\nThis does not link: later.\n"
GONE = "openedx/core/djangoapps/programs/reader.py"
EARLIER = "# What an earlier version had: Zürich.\n".encode()
MANIFEST = f"""
[[parts]]
name = "events"
files = {[EVENTS, EMPTY, HOW_TO]}
edits = {[SETTINGS, TASKS]}
message = "feat: the events\\n\\nWhy, and how tested.\\n"

[[parts]]
name = "operation"
files = ["{FIRST_PAGE}"]
edits = ["{APPS}"]
message = "feat: watch them\\n\\nWhy.\\n"

[[parts]]
name = "recovery"
files = ["{LATER_PAGE}"]
edits = ["{TASKS}"]
message = "feat: repair\\n\\nWhy.\\n"
removed."{GONE}" = ["0123456789", "1becbf807c"]
"""
# This repository's own settings, tasks and emitter, an empty file, an odd one.
FILES = {
    "change.toml": MANIFEST.encode(),
    **{path: (REPOSITORY / path).read_bytes() for path in (EVENTS, SETTINGS, TASKS)},
    EMPTY: b"",
    HOW_TO: "Zürich\r\n\x0c\rno line feed at the end".encode(),
    FIRST_PAGE: FIRST_TEXT.encode(),
    LATER_PAGE: b"Later\n",
}
