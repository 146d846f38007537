"""
The edits of the platform's own files, on files written in each of the shapes that its releases have.
"""

import builtins
import difflib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from platform_edits import APPS, EVENT_TYPES, PROGRAMS, SETTINGS, Refusal, edit_apps, edit_settings, edit_tasks, parse

FIXTURES = Path(__file__).parent / "fixtures"
OWN_SETTINGS = Path(__file__).resolve().parent.parent.parent / SETTINGS

TASK_SHAPES = ("a", "b", "c", "o2")
SETTINGS_SHAPES = ("s1", "s2", "s3", "s4")
NEWLINES = ("\n", "\r\n")

IMPORT = (
    "from openedx.core.djangoapps.programs.events import"
    " emit_program_certificate_awarded, emit_program_certificate_revoked\n"
)
AWARDED_LOG = '            LOGGER.info(f"Awarded program certificate to user {student.id} in program {program_uuid}")\n'
AWARDED_CALL = "            emit_program_certificate_awarded(student, program_uuid)\n"
REVOKED_CALL = "            emit_program_certificate_revoked(student, program_uuid)\n"
AWARD_HELPER_CALL = "            award_program_certificate(client, student, program_uuid)\n"


def fixture(name):
    return (FIXTURES / f"{name}.py.txt").read_text()


def replaced(text, old, new, count=1):
    """Replace text that has to be there that often, so that no test passes on an unchanged fixture."""
    assert text.count(old) == count, old
    return text.replace(old, new)


def tasks(text):
    return edit_tasks(parse("tasks.py", text.encode())).bytes.decode()


def settings(text):
    own = parse("own", OWN_SETTINGS.read_bytes())
    return edit_settings(parse("common.py", text.encode()), own).bytes.decode()


def apps(text):
    return edit_apps(parse("apps.py", text.encode())).bytes.decode()


def changed_lines(old, new):
    """Return the lines that were added and those that were removed."""
    lines = list(difflib.unified_diff(old.splitlines(True), new.splitlines(True), n=0))[2:]
    return [line[1:] for line in lines if line[0] == "+"], [line[1:] for line in lines if line[0] == "-"]


def assert_clean(text):
    """Check a file with the platform's import order, and compile it."""
    compile(text, "edited.py", "exec")
    first_party = 'lint.isort.known-first-party=["common", "lms", "openedx", "xmodule"]'
    options = ["--isolated", "--no-cache", "--select", "E,F,I", "--line-length", "120", "--config", first_party]
    command = [sys.executable, "-m", "ruff", "check", *options, "-"]
    result = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    assert result.returncode == 0, result.stdout.decode()


def execute(text, **known):
    """Run a module whose imports are all fakes, except for the standard library's."""

    def fake_import(name, global_names=None, local_names=None, fromlist=(), level=0):
        if name in ("typing", "urllib.parse"):
            return builtins.__import__(name, global_names, local_names, fromlist, level)
        if fromlist == ("*",):
            return SimpleNamespace(**known)
        return SimpleNamespace(**{item: known[item] if item in known else mock.MagicMock() for item in fromlist})

    namespace = {"__name__": "edited", "__builtins__": {**vars(builtins), "__import__": fake_import}}
    exec(compile(text, "edited.py", "exec"), namespace)
    return namespace


class FakeHTTPError(Exception):
    """What requests raises for an error status."""

    response = SimpleNamespace(status_code=404)


def run_task(text, task, helper):
    """Run one task of an edited module for four programs; Credentials knows the second not, and fails at the third."""
    calls = []
    student = mock.MagicMock(id=7, username="ada")
    users = mock.MagicMock(DoesNotExist=type("DoesNotExist", (Exception,), {}))
    users.objects.get.return_value = student
    signals = {
        name: mock.MagicMock(**{"send_event.side_effect": AssertionError("sent inline")})
        for name in ("PROGRAM_CERTIFICATE_AWARDED", "PROGRAM_CERTIFICATE_REVOKED")
    }

    def fake_helper(_client, _user, program_uuid, *_date):
        calls.append((helper, program_uuid))
        failure = {"p2": FakeHTTPError(), "p3": ValueError()}.get(program_uuid)
        if failure:
            raise failure

    namespace = execute(
        text,
        shared_task=lambda **_options: lambda function: function,
        set_code_owner_attribute=lambda function: function,
        MaxRetriesExceededError=type("MaxRetriesExceededError", (Exception,), {}),
        HTTPError=FakeHTTPError,
        User=users,
        get_user_model=lambda: users,
        ProgramProgressMeter=lambda _student: SimpleNamespace(
            completed_programs_with_available_dates=dict.fromkeys(["p1", "p2", "p3", "p4"])
        ),
        emit_program_certificate_awarded=lambda user, uuid: calls.append(("awarded", user is student, uuid)),
        emit_program_certificate_revoked=lambda user, uuid: calls.append(("revoked", user is student, uuid)),
        **signals,
    )
    namespace[helper] = fake_helper
    bound = mock.MagicMock(**{"request.retries": 0, "retry.return_value": RuntimeError("retried")})
    arguments = ["ada"] if task == "award_program_certificates" else ["ada", "course-v1:x+y+z"]
    with pytest.raises(Exception, match="failed|retried"):
        namespace[task](bound, *arguments)
    return calls


# programs/tasks.py


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("shape", TASK_SHAPES)
def test_tasks_emit_after_each_success_and_only_then(shape, newline):
    edited = tasks(fixture(f"tasks_{shape}").replace("\n", newline))

    for task, helper, word in (
        ("award_program_certificates", "award_program_certificate", "awarded"),
        ("revoke_program_certificates", "revoke_program_certificate", "revoked"),
    ):
        assert run_task(edited, task, helper) == [
            (helper, "p1"),
            (word, True, "p1"),
            (helper, "p2"),
            (helper, "p3"),
            (helper, "p4"),
            (word, True, "p4"),
        ]


@pytest.mark.parametrize("shape", TASK_SHAPES)
def test_edited_tasks_are_clean(shape):
    assert_clean(tasks(fixture(f"tasks_{shape}")))


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("shape", TASK_SHAPES)
def test_tasks_are_edited_once(shape, newline):
    edited = tasks(fixture(f"tasks_{shape}").replace("\n", newline))
    assert tasks(edited) == edited


@pytest.mark.parametrize("newline", NEWLINES)
def test_shape_a_gets_three_lines(newline):
    source = fixture("tasks_a").replace("\n", newline)
    added, removed = changed_lines(source, tasks(source))
    assert added == [line.replace("\n", newline) for line in (IMPORT, AWARDED_CALL, REVOKED_CALL)]
    assert removed == []


def test_shape_a_has_them_at_their_places():
    edited = tasks(fixture("tasks_a"))
    assert f"{AWARD_HELPER_CALL}{AWARDED_LOG}{AWARDED_CALL}        except HTTPError" in edited
    assert f"{IMPORT}from openedx.core.djangoapps.programs.utils import ProgramProgressMeter\n" in edited


def test_shape_o2_gets_three_lines():
    source = fixture("tasks_o2")
    added, removed = changed_lines(source, tasks(source))
    assert added == [
        IMPORT,
        "            emit_program_certificate_awarded(student, uuid)\n",
        "            emit_program_certificate_revoked(learner, program_uuid)\n",
    ]
    assert removed == []


def test_shape_b_becomes_shape_a():
    first_line = "Shape B: as A, and each success sends its event inline."
    source = replaced(
        fixture("tasks_b"), first_line, "Shape A: decorators over several lines, double quotes, f-strings, no events."
    )
    assert tasks(source) == tasks(fixture("tasks_a"))


def test_shape_c_loses_its_inline_events_and_their_imports():
    source = fixture("tasks_c")
    edited = tasks(source)
    added, removed = changed_lines(source, edited)
    assert added == [IMPORT, AWARDED_CALL, REVOKED_CALL]
    assert "openedx_events" not in edited
    assert "event_implemented_name" not in edited
    # 6 + 1 lines of imports, and for each event 2 of annotations and 17 of code.
    assert len(removed) == 7 + 2 * 19


def with_variables(source):
    """Let shape C build each event in a variable first."""
    for verb in ("AWARDED", "REVOKED"):
        call = source[source.index(f"            PROGRAM_CERTIFICATE_{verb}.send_event(") :]
        call = call[: call.index("\n            )\n") + len("\n            )\n")]
        data = replaced(call, f"PROGRAM_CERTIFICATE_{verb}.send_event(\n", "")
        data = replaced(data.strip(), "program_certificate=Program", "certificate = Program").removesuffix(")").strip()
        sent = f"            PROGRAM_CERTIFICATE_{verb}.send_event(program_certificate=certificate)\n"
        source = replaced(source, call, f"            {data}\n{sent}")
    compile(source, "variant.py", "exec")
    return source


def test_events_sent_from_variables_are_replaced():
    assert tasks(with_variables(fixture("tasks_c"))) == tasks(fixture("tasks_c"))


@pytest.mark.parametrize("variant", [str, with_variables])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('uuid="",', "uuid='',"),
        ('url="",', "certificate_available_date=None,"),
        (', title="", program_type="")', ")"),
        ("id=student.id", "id=7"),
    ],
)
def test_events_that_leave_empty_what_the_emitter_leaves_empty_are_replaced(variant, old, new):
    source = variant(replaced(fixture("tasks_c"), old, new, 2))
    assert tasks(source) == tasks(fixture("tasks_c"))


@pytest.mark.parametrize("variant", [str, with_variables])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('uuid="",', "uuid=credential.uuid,"),
        ('url="",', 'url="https://example.com",'),
        ('url="",', 'url="", certificate_available_date=now,'),
        ('url="",', "**more,"),
        ('title=""', "title=program.title"),
        ('program_type=""', 'program_type="MicroMasters"'),
        ('uuid=program_uuid, title="", program_type=""', 'program_uuid, "A title", "MicroMasters"'),
        ('program=ProgramData(uuid=program_uuid, title="", program_type="")', "program=describe(program_uuid)"),
        ("ProgramCertificateData(\n", "ProgramCertificateDataWithTitle(\n"),
    ],
)
def test_events_that_carry_more_than_the_emitter_sends_are_refused(variant, old, new):
    source = fixture("tasks_c")
    start = source.index("PROGRAM_CERTIFICATE_REVOKED.send_event(")
    source = variant(source[:start] + replaced(source[start:], old, new))
    with pytest.raises(Refusal, match=r"revoke_program_certificates\(\): .* sent (inline is not|in a way)"):
        tasks(source)


def test_a_title_in_a_variable_of_the_event_is_refused():
    program = 'ProgramData(uuid=program_uuid, title="", program_type="")'
    source = with_variables(fixture("tasks_c")).replace(f"program={program}", "program=program")
    source = replaced(
        source, "            certificate =", f"            program = {program}\n            certificate =", 2
    )
    assert tasks(source) == tasks(fixture("tasks_c"))
    with pytest.raises(Refusal, match="the event sent inline is not known to be without title"):
        tasks(source.replace('title=""', 'title="A title"'))


def test_a_variable_used_elsewhere_too_is_refused():
    source = replaced(
        fixture("tasks_b"),
        "            PROGRAM_CERTIFICATE_AWARDED.send_event(\n",
        "            pii = UserPersonalData(username='', email='', name='')\n"
        "            PROGRAM_CERTIFICATE_AWARDED.send_event(\n",
    )
    assert "pii = " not in tasks(source)
    source = replaced(source, "    failed = []\n    client", "    failed = []\n    pii = 1\n    client")
    with pytest.raises(Refusal, match=r"award_program_certificates\(\): pii is used elsewhere"):
        tasks(source)


def test_imports_that_something_else_uses_stay():
    source = replaced(fixture("tasks_b"), "User = get_user_model()\n", "User = get_user_model()\nKIND = UserData\n")
    source = replaced(source, "__name__)\n", '__name__)\n__all__ = ["ProgramData"]\n')
    edited = tasks(source)
    assert "from openedx_events.learning.data import ProgramData, UserData\n" in edited
    assert "openedx_events.learning.signals" not in edited
    assert_clean(edited)

    source = replaced(fixture("tasks_c"), "User = get_user_model()\n", "User = get_user_model()\nKIND = UserData\n")
    edited = tasks(source)
    assert "from openedx_events.learning.data import (\n    UserData,\n)\n" in edited
    assert_clean(edited)


def test_imports_that_were_unused_before_stay():
    source = replaced(fixture("tasks_b"), "UserData, UserPersonalData\n", "UserData, UserPersonalData, XBlockData\n")
    assert "from openedx_events.learning.data import XBlockData\n" in tasks(source)


def test_imports_named_like_a_keyword_of_the_event_stay():
    source = replaced(fixture("tasks_b"), "LOGGER = get", "from somewhere import status  # noqa: F401\nLOGGER = get")
    assert "from somewhere import status" in tasks(source)


def test_the_blank_line_between_two_groups_of_imports_stays():
    source = fixture("tasks_b")
    for line in source.splitlines(keepends=True):
        if line.startswith(("from celery", "from django", "from edx_django", "from requests")):
            source = replaced(source, line, "")
    # The whole group of third-party imports goes.
    assert "import urljoin\n\nfrom openedx.core" in tasks(source)

    # The first ones of the group go.
    last = "import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED\n"
    source = replaced(source, last, f"{last}from requests import get\n")
    assert "import urljoin\n\nfrom requests import get\n\nfrom openedx.core" in tasks(source)


def test_comments_stay_where_they_are():
    source = replaced(fixture("tasks_a"), AWARDED_LOG, f"            # Operators look for this.\n{AWARDED_LOG}")
    source = replaced(source, AWARD_HELPER_CALL, f"{AWARD_HELPER_CALL.rstrip()}  # may raise\n")
    assert changed_lines(source, tasks(source)) == ([IMPORT, AWARDED_CALL, REVOKED_CALL], [])

    annotation = "            # .. event_implemented_name: PROGRAM_CERTIFICATE_AWARDED\n"
    comment = "\n            # Tell the others.\n"
    source = replaced(fixture("tasks_b"), annotation, f"{comment}{annotation}            #     with a second line\n")
    assert f"{AWARDED_LOG}{comment}{AWARDED_CALL}        except" in tasks(source)


def test_without_a_success_log_the_call_follows_the_helper():
    source = replaced(fixture("tasks_a"), AWARDED_LOG, "")
    assert f"{AWARD_HELPER_CALL}{AWARDED_CALL}" in tasks(source)


def test_the_import_comes_first_among_greater_ones():
    source = fixture("tasks_a")
    start = source.index("from openedx.core.djangoapps.credentials.api")
    end = source.index("from openedx.core.djangoapps.programs.utils")
    source = source[:start] + "# Progress.\n" + source[end:]
    edited = tasks(source)
    assert f"import HTTPError\n\n{IMPORT}\n# Progress.\nfrom openedx.core.djangoapps.programs.utils" in edited


def test_only_the_missing_call_is_added():
    edited = tasks(fixture("tasks_a"))
    assert tasks(replaced(edited, REVOKED_CALL, "")) == edited
    assert tasks(replaced(edited, IMPORT, "")) == edited


@pytest.mark.parametrize(
    ("shape", "old", "new", "message"),
    [
        ("a", "def award_program_certificates(", "def award_programs(", r"award_program_certificates\(\): .* found 0"),
        ("a", "def revoke_program_certificates(", "def revoke(", r"revoke_program_certificates\(\): .* found 0"),
        ("a", "def award_program_certificate(", "def award(", r"award_program_certificate\(\): .* found 0"),
        ("a", AWARD_HELPER_CALL, AWARD_HELPER_CALL * 2, "expected one call of .* found 2"),
        ("a", AWARD_HELPER_CALL, f"            done ={AWARD_HELPER_CALL[11:]}", "expected one call of .* found 0"),
        ("a", "award_program_certificate(client, student, program_uuid)\n", "pass\n", "expected one call .* found 0"),
        ("a", "(client, student, program_uuid)\n", "(client, student, uuid)\n", "the variable of the loop"),
        ("a", "for program_uuid in sorted(completed(student)):", "while program_uuid := next(completed):", "found 0"),
        ("a", "for program_uuid in sorted(completed(student)):", "for program_uuid, _ in []:", "variable of the loop"),
        ("a", AWARDED_LOG, f"{AWARDED_LOG}            emit_program_certificate_awarded(student, 1)\n", "another way"),
        ("a", AWARDED_LOG, f"            if 1:\n    {AWARDED_CALL}{AWARDED_LOG}", "elsewhere than right after"),
        ("b", "            PROGRAM_CERTIFICATE_AWARDED.send_event(\n",
         "            if True: PROGRAM_CERTIFICATE_AWARDED.send_event(\n", "sent in a way"),
        ("b", '            PROGRAM_CERTIFICATE_AWARDED.send_event(\n',
         '            PROGRAM_CERTIFICATE_AWARDED.send_event(\n                time=NOW,\n', "sent in a way"),
        ("b", "            PROGRAM_CERTIFICATE_AWARDED.send_event(\n",
         "            now = 1\n            PROGRAM_CERTIFICATE_AWARDED.send_event(\n", "sent in a way"),
        ("a", "from requests.exceptions import HTTPError\n", "from requests.exceptions import HTTPError\n"
         "from x import PROGRAM_CERTIFICATE_AWARDED as AWARDED\n", "sent in a way"),
        ("a", "LOGGER = get", "from .events import emit_program_certificate_awarded\nLOGGER = get", "another way"),
        ("a", "from typing", "PATH = 1\nfrom typing", "no import from common, lms"),
    ],
)  # fmt: skip
def test_other_shapes_of_the_tasks_are_refused(shape, old, new, message):
    text = fixture(f"tasks_{shape}")
    assert old in text
    with pytest.raises(Refusal, match=message):
        tasks(text.replace(old, new, 1))


def test_a_learner_who_is_filtered_for_is_found():
    lookup = "student = User.objects.get(username=username)"
    source = replaced(fixture("tasks_a"), lookup, "student = User.objects.filter(username=username).first()", 2)
    assert changed_lines(source, tasks(source)) == ([IMPORT, AWARDED_CALL, REVOKED_CALL], [])


def test_a_learner_who_is_looked_up_in_another_way_is_refused():
    lookup = "student = User.objects.get(username=username)"
    source = replaced(fixture("tasks_a"), lookup, "student = find(username)", 2)
    with pytest.raises(Refusal, match=r"award_program_certificates\(\): cannot tell which variable holds the learner"):
        tasks(source)
    source = replaced(fixture("tasks_a"), "    failed = []\n    client", "    failed = []\n    student = 1\n    client")
    with pytest.raises(Refusal, match="cannot tell which variable holds the learner"):
        tasks(source)


def test_a_learner_who_is_looked_up_in_a_nested_function_is_refused():
    lookup = "        student = User.objects.get(username=username)\n"
    nested = (
        "        def find():\n            learner = User.objects.get(username=username)\n            return learner\n\n"
        "        student = find()\n"
    )
    with pytest.raises(Refusal, match=r"award_program_certificates\(\): cannot tell which variable holds the learner"):
        tasks(replaced(fixture("tasks_a"), lookup, nested, 2))


@pytest.mark.parametrize(
    "rebinding",
    [
        "for student in failed: pass",
        "for _, (student, *_) in failed: pass",
        "with open(username) as student: pass",
        "if student := 1: pass",
        "student: int = 1",
        "student += 1",
        "student, other = 1, 2",
        "[*student] = failed",
        "try: pass\n    except OSError as student: pass",
        "del student",
        "import student",
        "import somewhere as student",
        "from somewhere import student",
        "from somewhere import something as student",
        "def student(): pass",
        "class student: pass",
        "match username:\n        case [student, *_]: pass",
        "match username:\n        case {'id': 1, **student}: pass",
        "def rebind():\n        nonlocal student\n        student = 1",
    ],
)
def test_a_learner_variable_that_is_bound_again_is_refused(rebinding):
    lines = f"    failed = []\n    {rebinding}\n    client"
    source = replaced(fixture("tasks_a"), "    failed = []\n    client", lines)
    compile(source, "variant.py", "exec")
    with pytest.raises(Refusal, match=r"award_program_certificates\(\): cannot tell which variable holds the learner"):
        tasks(source)


def test_what_is_only_named_like_the_learner_variable_is_no_obstacle():
    lines = (
        "    failed = []\n    from common.student.models import get\n    get(student=student).student = 1\n"
        "    failed[student] = 2\n    client"
    )
    source = replaced(fixture("tasks_a"), "    failed = []\n    client", lines)
    assert changed_lines(source, tasks(source)) == ([IMPORT, AWARDED_CALL, REVOKED_CALL], [])


def test_a_slumber_client_is_refused():
    with pytest.raises(Refusal, match=r"award_program_certificate\(\): no requests-style call"):
        tasks(fixture("tasks_o1"))


# lms/envs/common.py


def configuration(text):
    """Run the settings and return the producer configuration, its other part and what was derived."""
    derived = []
    namespace = execute(
        text,
        EVENT_BUS_PRODUCER_CONFIG={"base": {}},
        Derived=lambda function: ("derived", function),
        derived_collection_entry=lambda *path: derived.append(path),
    )
    return namespace["EVENT_BUS_PRODUCER_CONFIG"], derived


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("shape", SETTINGS_SHAPES)
def test_settings_get_two_disabled_entries(shape, newline):
    source = fixture(f"settings_{shape}").replace("\n", newline)
    before, derived_before = configuration(source)
    edited = settings(source)
    after, derived_after = configuration(edited)

    assert list(after) == [*before, *EVENT_TYPES]
    for event_type in EVENT_TYPES:
        assert after[event_type] == {
            "learning-program-certificate-lifecycle": {
                "event_key_field": "program_certificate.program.uuid",
                "enabled": False,
            }
        }
    assert list(derived_after) == list(derived_before)
    assert settings(edited) == edited


def own_entry_lines():
    lines = OWN_SETTINGS.read_text().splitlines(keepends=True)
    found = []
    for event_type in EVENT_TYPES:
        start = lines.index(f'    "{event_type}": {{\n')
        found += lines[start : lines.index("    },\n", start) + 1]
    return found


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize(
    ("shape", "bare", "comma"),
    [("s1", "    }\n", "    },\n"), ("s2", "", ""), ("s3", "", ""), ("s4", "    }\n", "    },\n")],
)
def test_settings_keep_every_other_line(shape, bare, comma, newline):
    source = fixture(f"settings_{shape}").replace("\n", newline)
    # Other lines may look like those that are added: compare the text, not a diff.
    entries = "".join(own_entry_lines())
    end = "})\n" if shape in ("s3", "s4") else "}\n"
    last = fixture(f"settings_{shape}").rindex(f"\n{end}") + 1
    head, tail = fixture(f"settings_{shape}")[:last], fixture(f"settings_{shape}")[last:]
    head = head.removesuffix(bare) + comma
    assert settings(source) == (head + entries + tail).replace("\n", newline)


@pytest.mark.parametrize("shape", SETTINGS_SHAPES)
def test_edited_settings_are_clean(shape):
    assert_clean(settings(fixture(f"settings_{shape}")))


def test_every_added_entry_has_its_toggle_annotation():
    added, _removed = changed_lines(fixture("settings_s2"), settings(fixture("settings_s2")))
    for event_type in EVENT_TYPES:
        name = f"            # .. toggle_name: EVENT_BUS_PRODUCER_CONFIG['{event_type}']\n"
        assert added.count(name) == 1


def test_entries_take_over_the_indentation():
    source = "EVENT_BUS_PRODUCER_CONFIG = {\n  'other': {\n  }\n}"
    edited = settings(source)
    head = "EVENT_BUS_PRODUCER_CONFIG = {\n  'other': {\n  },\n"
    assert edited.startswith(f'{head}  "{EVENT_TYPES[0]}": {{\n      ')
    assert edited.endswith("\n  },\n}")
    assert list(configuration(edited)[0]) == ["other", *EVENT_TYPES]


def test_an_empty_configuration_is_filled():
    edited = settings("EVENT_BUS_PRODUCER_CONFIG = {  # none\n}\n")
    assert edited == "EVENT_BUS_PRODUCER_CONFIG = {  # none\n" + "".join(own_entry_lines()) + "}\n"


def test_a_comment_behind_a_last_entry_without_comma_stays():
    edited = settings("EVENT_BUS_PRODUCER_CONFIG = {\n    'other': {}  # why\n    # more\n}\n")
    assert edited.startswith("EVENT_BUS_PRODUCER_CONFIG = {\n    'other': {},  # why\n    # more\n    \"org.")


def test_without_entries_of_its_own_nothing_is_added():
    own = parse("own", b"EVENT_BUS_PRODUCER_CONFIG = {\n}\n")
    with pytest.raises(Refusal, match=f"this repository's {SETTINGS}: {EVENT_TYPES[0]}: no such entry"):
        edit_settings(parse("common.py", fixture("settings_s1").encode()), own)


def test_entries_that_are_there_are_left():
    edited = settings(fixture("settings_s2"))
    quoted = edited.replace('"', "'")
    assert settings(quoted) == quoted
    lines = own_entry_lines()
    without_second = replaced(edited, "".join(lines[len(lines) // 2 :]), "")
    assert list(configuration(without_second)[0])[-1] == EVENT_TYPES[0]
    assert settings(without_second) == edited


@pytest.mark.parametrize("value", ["True", "Derived(_should_send_certificate_events)"])
def test_an_entry_that_is_enabled_stays_so(value):
    edited = settings(fixture("settings_s2"))
    lines = own_entry_lines()
    without_second = replaced(edited, "".join(lines[len(lines) // 2 :]), "")
    start = without_second.index(EVENT_TYPES[0])
    enabled = without_second[:start] + without_second[start:].replace('"enabled": False', f'"enabled": {value}', 1)

    both = settings(enabled)

    assert both == edited[:start] + edited[start:].replace('"enabled": False', f'"enabled": {value}', 1)
    assert settings(both) == both


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("program_certificate.program.uuid", "program_certificate.uuid"),
        ('    "learning-program-certificate-lifecycle"', '    "my-topic"'),
        ('"enabled": False', '"disabled": True'),
    ],
)
def test_an_entry_with_other_contents_is_refused(old, new):
    head, tail = settings(fixture("settings_s2")).split(f'"{EVENT_TYPES[1]}": {{')
    text = head + f'"{EVENT_TYPES[1]}": {{' + tail.replace(old, new, 1)
    with pytest.raises(Refusal, match=rf"lms/envs/common.py: {EVENT_TYPES[1]}: .* there already"):
        settings(text)


def test_an_entry_whose_key_is_concatenated_is_seen():
    edited = settings(fixture("settings_s2"))
    prefix, rest = EVENT_TYPES[0][:20], EVENT_TYPES[0][20:]
    source = replaced(edited, f'    "{EVENT_TYPES[0]}": {{', f"    \"{prefix}\" '{rest}': {{")
    assert list(configuration(source)[0]) == list(configuration(edited)[0])
    assert settings(source) == source

    with pytest.raises(Refusal, match=rf"{EVENT_TYPES[0]}: .* there already"):
        settings(source.replace('    "learning-program-certificate-lifecycle"', '    "my-topic"', 1))
    with pytest.raises(Refusal, match=f"{EVENT_TYPES[0]}: mentioned elsewhere"):
        settings(f"{fixture('settings_s3')}EVENT_BUS_PRODUCER_CONFIG['{prefix}' '{rest}'] = 1\n")


def test_strings_that_cannot_be_evaluated_are_no_obstacle(recwarn):
    source = "ODD = ['\\d' '\\w', f'{1}' 'x', b'x' b'y']\nEVENT_BUS_PRODUCER_CONFIG = {\n}\n"
    assert EVENT_TYPES[1] in settings(source)
    assert EVENT_TYPES[1] in settings(source.replace("'\\w'", "'\\x'"))
    assert not recwarn


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found 0"),
        ("EVENT_BUS_PRODUCER_CONFIG |= {\n}\n", "found 0"),
        ("EVENT_BUS_PRODUCER_CONFIG = {\n}\nEVENT_BUS_PRODUCER_CONFIG.update({\n})\n", "found 2"),
        ("if True:\n    EVENT_BUS_PRODUCER_CONFIG = {\n    }\n", "at the top level"),
        ("EVENT_BUS_PRODUCER_CONFIG = dict(a=1)\n", "expected a dict literal"),
        ("EVENT_BUS_PRODUCER_CONFIG.update(**{\n})\n", "expected a dict literal"),
        ("EVENT_BUS_PRODUCER_CONFIG.update(other)\n", "expected a dict literal"),
        ("EVENT_BUS_PRODUCER_CONFIG = {}\n", "expected a dict literal"),
        ("EVENT_BUS_PRODUCER_CONFIG = {'other': {}}\n", "expected a dict literal"),
        ("EVENT_BUS_PRODUCER_CONFIG = {\n    'other': {}}\n", "expected a dict literal"),
        (f"EVENT_BUS_PRODUCER_CONFIG = {{\n}}\nEVENT_BUS_PRODUCER_CONFIG['{EVENT_TYPES[0]}'] = 1\n", "mentioned else"),
    ],
)
def test_other_shapes_of_the_settings_are_refused(text, message):
    with pytest.raises(Refusal, match=message):
        settings(text)


# programs/apps.py


SIGNALS_IMPORT = "from . import signals  # noqa: F401 pylint: disable=unused-import\n"


@pytest.mark.parametrize(
    ("imported", "expected"),
    [
        (SIGNALS_IMPORT, "from . import checks, signals  # noqa: F401 pylint: disable=unused-import\n"),
        ("from . import api, signals  # noqa: F401\n", "from . import api, checks, signals  # noqa: F401\n"),
        (f"from {PROGRAMS} import signals  # noqa: F401\n", f"from {PROGRAMS} import checks, signals  # noqa: F401\n"),
        (
            f"# Receivers.\n        import {PROGRAMS}.signals  # noqa: F401\n",
            f"import {PROGRAMS}.checks  # noqa: F401\n\n"
            f"        # Receivers.\n        import {PROGRAMS}.signals  # noqa: F401\n",
        ),
    ],
)
@pytest.mark.parametrize("newline", NEWLINES)
def test_ready_imports_the_checks_as_it_imports_the_signals(imported, expected, newline):
    source = replaced(fixture("apps"), SIGNALS_IMPORT, imported).replace("\n", newline)
    edited = apps(source)
    assert edited == replaced(fixture("apps"), SIGNALS_IMPORT, expected).replace("\n", newline)
    assert apps(edited) == edited
    if newline == "\n":
        assert_clean(edited)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def ready(", "def prepare(", r"ready\(\): expected one such method, found 0"),
        ("class ProgramsConfig(AppConfig):", "if True:", r"ready\(\): expected one such method, found 0"),
        (SIGNALS_IMPORT, "pass\n", "expected one import of the app's signals, found 0"),
        (SIGNALS_IMPORT, "from .signals import handler\n", "expected one import of the app's signals, found 0"),
        (SIGNALS_IMPORT, "from . import (signals)\n", "in parentheses"),
        (SIGNALS_IMPORT, "from . import *\n", "found 0"),
    ],
)
def test_other_shapes_of_the_app_are_refused(old, new, message):
    with pytest.raises(Refusal, match=f"{APPS}: .*{message}"):
        apps(replaced(fixture("apps"), old, new))


# Any file


@pytest.mark.parametrize("source", [b"def (:\n", b"print 'x'\n", b"x = '\xff'\n", b"# coding: nope\n", b"x = \x00\n"])
def test_what_is_not_python_is_refused(source):
    with pytest.raises(Refusal, match="some.py: whole file: not valid Python"):
        parse("some.py", source)
