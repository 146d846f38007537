"""Edits ``lms/envs/common.py``: the event bus's producer configuration gets the two disabled entries."""

import ast
import re
import textwrap
from collections import Counter

from edits.code import Code, Edit

EVENT_TYPES = (
    "org.openedx.learning.program.certificate.awarded.v1",
    "org.openedx.learning.program.certificate.revoked.v1",
)
PLACE = "EVENT_BUS_PRODUCER_CONFIG"


def edit_settings(code: Code, own: Code) -> Code:
    """
    Add those of the two disabled entries that are missing to the producer configuration.

    One that is there may be enabled: that is somebody's decision, and stays. Its topic and key have to be ours.

    Args:
        code: The checkout's settings.
        own: This repository's settings, which have the entries.
    """
    config, indentation = producer_config(code)
    entries, own_entries = entries_of(config), entries_of(producer_config(own)[0])
    texts = Counter(node.value for node in ast.walk(code.tree) if isinstance(node, ast.Constant))
    missing = []
    for event_type in EVENT_TYPES:
        key, wanted = own_entries[event_type]
        if texts[event_type] != (1 if event_type in entries else 0):
            raise code.refusal(event_type, f"mentioned elsewhere than as one entry of {PLACE}")
        if event_type not in entries:
            text = own.text[own.start(key) : own.end(wanted)]
            missing.append(textwrap.dedent(f"{own.indentation(key)}{text},\n"))
        elif key_field(entries[event_type][1]) != key_field(wanted):
            raise code.refusal(event_type, "this entry is there already, with another topic or key: left to you")
    return append_entries(code, config, textwrap.indent("".join(missing), indentation)) if missing else code


def producer_config(code: Code) -> tuple[ast.Dict, str]:
    """Return the one dict literal that the configuration is assigned or updated with, and its indentation."""
    found: list[ast.expr] = []
    for node in ast.walk(code.tree):
        match node:
            case ast.Assign([ast.Name("EVENT_BUS_PRODUCER_CONFIG")], value):
                found.append(value)
            case ast.Call(ast.Attribute(ast.Name("EVENT_BUS_PRODUCER_CONFIG"), "update")):
                found.append(node)
    if len(found) != 1 or found[0] not in [getattr(statement, "value", None) for statement in code.tree.body]:
        raise code.refusal(PLACE, f"expected one assignment or update() at the top level, found {len(found)}")
    config = found[0].args[0] if isinstance(found[0], ast.Call) and len(found[0].args) == 1 else found[0]
    if isinstance(config, ast.Dict):
        last = config.keys[-1] if config.keys else None
        indentation = code.indentation(last) if last else "    "
        before_the_brace = code.text[: code.end(config) - 1].rpartition("\n")[2]
        if not f"{indentation}{before_the_brace}".strip():
            return config, indentation
    raise code.refusal(PLACE, "expected a dict literal whose last entry and closing brace start a line")


def entries_of(config: ast.Dict) -> dict[str, tuple[ast.expr, ast.expr]]:
    """Return the key and the value of the entries whose keys are texts, by these."""
    pairs = zip(config.keys, config.values, strict=True)
    return {str(key.value): (key, value) for key, value in pairs if isinstance(key, ast.Constant)}


def key_field(value: ast.expr) -> tuple[str, dict[str, str]] | None:
    """Return topic and key field of an entry, whatever its ``enabled`` is; None if it has another form."""
    match value:
        case ast.Dict([ast.Constant(topic)], [ast.Dict(keys, values)]):
            fields = {ast.unparse(key): ast.unparse(field) for key, field in zip(keys, values, strict=True) if key}
            if fields.pop("'enabled'", None):
                return str(topic), fields
    return None


def append_entries(code: Code, config: ast.Dict, entries: str) -> Code:
    """Add entries at the end of the dict; the last one so far gets its comma, if it lacks it."""
    line = code.starts[(config.end_lineno or 0) - 1]
    edits = [Edit(line, line, entries)]
    if config.values:
        end = code.end(config.values[-1])
        following = re.sub(r"#.*", "", code.text[end : code.end(config) - 1]).strip()
        if following not in ("", ","):
            raise code.refusal(PLACE, "its last entry is in parentheses")
        if not following:
            edits.append(Edit(end, end, ","))
    return code.edited(*edits)
