"""
The repair's task in ``programs/tasks.py``: where it is put, how it is decorated, what it imports.
"""

import pytest
from edits.code import Code
from edits.repair_task import REPAIR_TASK, add_repair_task

from tests.edits.shapes import OWN_TASKS, PROGRAMS, REVOKE, check_edit, check_refusal, replaced, shape

OWN = Code("own", OWN_TASKS.encode())
OPTIONS = (
    "@shared_task(\n    bind=True,\n    ignore_result=True,\n    autoretry_for=(Exception,),\n    max_retries=10,\n"
)
RETRIES = "    retry_backoff=30,\n    retry_backoff_max=600,\n"
LATE = "    acks_late=True,\n    reject_on_worker_lost=True,\n)\n"
OWNER = "@set_code_owner_attribute\n"
ENABLED = "from openedx.core.djangoapps.credentials.api import is_credentials_enabled\n"
ONE_LINE = "@shared_task(bind=True, ignore_result=True)\n"
NEIGHBOUR = f"@set_code_owner_attribute\ndef {REVOKE}s("


def repair(decorators: str, imports: str = "") -> str:
    """Return the task as it is in this repository, with other decorators and more imports."""
    text = OWN_TASKS[OWN_TASKS.index(f"def {REPAIR_TASK}(") :].partition("\n\n\n")[0].rstrip("\n") + "\n"
    own = f"    from {PROGRAMS}.republish"
    return decorators + replaced(text, own, f"    {imports}{own}" if imports else own)


A = repair(f"{OPTIONS}{LATE}{OWNER}")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a", A),
        ("c", repair(f"{OPTIONS}{LATE}")),
        ("o2", repair(f"{OPTIONS}{RETRIES}{LATE}{OWNER}", ENABLED)),
    ],
)
def test_it_is_appended(name: str, expected: str) -> None:
    source = shape(f"tasks_{name}")
    check_edit(add_repair_task, source, f"{source}\n\n{expected}", OWN)
    check_edit(add_repair_task, source.rstrip("\n"), f"{source}\n\n{expected}", OWN)


@pytest.mark.parametrize(
    ("new", "decorator"),
    [
        # On one line as long as that is short enough, in whatever order, without what is given already.
        ("**OPTIONS", "**OPTIONS, acks_late=True, reject_on_worker_lost=True)\n"),
        (
            "autoretry_for=(OSError,), acks_late=False, bind=True",
            "autoretry_for=(OSError,), bind=True, acks_late=True, reject_on_worker_lost=True)\n",
        ),
        ("\n    bind=True, autoretry_for=(OSError,)\n", f"\n    bind=True,\n    autoretry_for=(OSError,),\n{LATE}"),
    ],
)
def test_it_is_decorated_as_its_neighbour(new: str, decorator: str) -> None:
    source = replaced(shape("tasks_o2"), ONE_LINE, f"@shared_task({new})\n", 2)
    expected = repair(f"@shared_task({decorator}{OWNER}", ENABLED)
    check_edit(add_repair_task, source, f"{source}\n\n{expected}", OWN)


def test_what_it_needs_and_the_platform_has_is_imported_in_it() -> None:
    # A name that is there for type checkers only is not there.
    source = replaced(shape("tasks_a"), ENABLED, f"if TYPE_CHECKING:\n    {ENABLED}")
    expected = repair(f"{OPTIONS}{LATE}{OWNER}", ENABLED)
    check_edit(add_repair_task, source, f"{source}\n\n{expected}", OWN)


def test_another_version_of_it_is_replaced_where_it_is() -> None:
    old = f"def {REPAIR_TASK}(self, user_id):\n    return user_id\n"
    decorated, bare, expected = (
        replaced(shape("tasks_a"), "\n\nLOGGER = get", f"\n\n# Repair.\n{task}\n\nLOGGER = get")
        for task in (f"@shared_task(bind=True)\n{old}", old, A)
    )
    for source in (decorated, bare):
        check_edit(add_repair_task, source, expected, OWN)
    check_edit(add_repair_task, OWN_TASKS, OWN_TASKS, OWN)


DECORATED = rf"{REVOKE}s\(\): is decorated in another way"
NAMED = rf"{REVOKE}s\(\): its @shared_task\(...\) has a name, or is without"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("User = get_user_model()", "USER = get_user_model()", rf"{REPAIR_TASK}\(\): needs User"),
        ("LOGGER = get", f"from x import {REPAIR_TASK}\nLOGGER = get", rf"{REPAIR_TASK}\(\): expected one .* found 0"),
        (NEIGHBOUR, NEIGHBOUR.replace("@set", "@quiet\n@set"), DECORATED),
        (f"{OPTIONS})\n{NEIGHBOUR}", f"@app.task(bind=True)\n{NEIGHBOUR}", DECORATED),
        (f"{OPTIONS})\n{NEIGHBOUR}", f"def {REVOKE}s(", DECORATED),
        (f"{OPTIONS})\n{NEIGHBOUR}", f"@shared_task(bind=True, name='x')\n{NEIGHBOUR}", NAMED),
        (f"{OPTIONS})\n{NEIGHBOUR}", f"@shared_task(ignore_result=True)\n{NEIGHBOUR}", NAMED),
    ],
)
def test_a_file_that_cannot_take_it_is_refused(old: str, new: str, message: str) -> None:
    check_refusal(add_repair_task, replaced(shape("tasks_a"), old, new), message, OWN)
