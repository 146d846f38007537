"""
The entries in ``lms/envs/common.py``: where they are put, and which are left or refused.
"""

import re

import pytest
from edits.settings import EVENT_TYPES, PLACE, edit_settings

from tests.edits.shapes import OWN_SETTINGS, check_edit, check_refusal, replaced, shape

FIRST, SECOND = EVENT_TYPES
ENTRIES = re.findall(
    r'^    "org\.openedx\.learning\.program\..*?^    \},\n', OWN_SETTINGS.text, re.MULTILINE | re.DOTALL
)
BOTH = "".join(ENTRIES)
FILLED = shape("settings_s2 filled")
ENABLED = replaced(FILLED, BOTH, BOTH.replace("False", "Derived(_should_send_certificate_events)", 1))
TOPIC = '    "learning-program-certificate-lifecycle"'
OPEN = f"{PLACE} = {{"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        *[
            (shape(f"settings_{name}"), replaced(shape(f"settings_{name}"), f"{old}\n{end}", f"{new}\n{BOTH}{end}"))
            for name, old, new, end in (
                ("s1", "        }\n    }", "        }\n    },", "}\nderived"),
                ("s2", "\n    },", "\n    },", "}\n\nBEAMER"),
                ("s3", "\n    # Further entries go here.", "\n    # Further entries go here.", "})\n"),
                ("s3 comment", "\n    }", "\n    },", "})\n"),
            )
        ],
        (f"{OPEN}  # none\n}}\n", f"{OPEN}  # none\n{BOTH}}}\n"),
        (
            f"{OPEN}\n    'other': {{}}  # why\n    # more\n}}\n",
            f"{OPEN}\n    'other': {{}},  # why\n    # more\n{BOTH}}}\n",
        ),
        (f"{OPEN}\n    'other': 1  # why\n    ,\n}}\n", f"{OPEN}\n    'other': 1  # why\n    ,\n{BOTH}}}\n"),
        # The entries take over the indentation.
        (f"{OPEN}\n  'other': {{\n  }}\n}}", f"{OPEN}\n  'other': {{\n  }},\n{re.sub('(?m)^    ', '  ', BOTH)}}}"),
        # What is there is left, and may be enabled.
        (replaced(ENABLED, ENTRIES[1], ""), ENABLED),
        # A backslash that escapes nothing.
        (f"ODD = '\\d'\n{OPEN}\n}}\n", f"ODD = '\\d'\n{OPEN}\n{BOTH}}}\n"),
    ],
)
def test_what_becomes_of_a_configuration(source: str, expected: str, recwarn: pytest.WarningsRecorder) -> None:
    check_edit(edit_settings, source, expected, OWN_SETTINGS)
    assert not recwarn


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (f"{PLACE} |= {{\n}}\n", f"{PLACE}: expected one assignment .* found 0"),
        (f"{OPEN}\n}}\n{PLACE}.update({{\n}})\n", f"{PLACE}: expected one assignment .* found 2"),
        (f"if True:\n    {OPEN}\n    }}\n", f"{PLACE}: .* at the top level"),
        *[
            (f"{PLACE}{text}\n", f"{PLACE}: expected a dict literal")
            for text in (
                " = dict(\n)",
                ".update(**{\n})",
                " = {'other': {}\n}",
                " = {\n    'other': {}}",
            )
        ],
        # A comma behind it could end up in the parentheses.
        (f"{OPEN}\n    'other': (1  # why\n    ),\n}}\n", f"{PLACE}: its last entry is in parentheses"),
        (f"{OPEN}\n}}\n{PLACE}['{FIRST}'] = 1\n", f"{FIRST}: mentioned elsewhere"),
        *[
            (FILLED.replace(old, new), f"{FIRST}: this entry is there already, with another topic or key")
            for old, new in (
                ("program_certificate.program.uuid", "program_certificate.uuid"),
                (TOPIC, '    "my-topic"'),
            )
        ],
    ],
)
def test_other_shapes_are_refused(source: str, message: str) -> None:
    check_refusal(edit_settings, source, message, OWN_SETTINGS)
