"""
Tests that what the operators' pages say is true: each settings block and each command on them is parsed or run.
"""

import codeop
import copy
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import jinja2
import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands, load_command_class
from django.db import connection
from django.test.utils import isolate_apps
from openedx_events.event_bus import merge_producer_configs
from redis.connection import parse_url

from common.djangoapps.student.tests.factories import UserFactory
from openedx.core.djangoapps.programs.events import emit_program_certificate
from testbed import ROOT
from testbed.pages.blocks import PAGES, literal_blocks, named_block
from testbed.run.inputs import AWARDED, REVOKED
from testbed.servers.processes import Processes
from testbed.servers.valkey import Valkey, connect
from testbed.site.site import TOPIC

BLOCKS = [block for page in PAGES for block in literal_blocks(page)]
CONSOLE = sorted(name for block in BLOCKS if "console" in block["classes"] for name in block["names"])


def commands(name: str) -> list[list[str]]:
    """Return the commands of a block, each as a list of words."""
    lines = named_block(name).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


def test_no_page_has_a_gap() -> None:
    for page in (*PAGES, *(ROOT / "openedx/core/djangoapps/programs/docs/decisions").glob("000[23]*.rst")):
        assert "%(" not in page.read_text(encoding="utf-8"), page


def test_each_block_is_tested() -> None:
    tests = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "testbed/tests").rglob("*.py"))
    assert len(BLOCKS) > 15
    for block in BLOCKS:
        [name] = block["names"]
        assert name in CONSOLE or f'"{name}"' in tests, name


def test_log_line_of_a_failed_event() -> None:
    source = (ROOT / "openedx/core/djangoapps/programs/events.py").read_text(encoding="utf-8")
    [start] = re.findall(r'LOGGER.error\(f"(.+)\{event_type\}', source)
    quotes = [page.read_text(encoding="utf-8").count(f"``{start}org.openedx.learning.program.cert") for page in PAGES]
    assert sorted(quotes)[-3:] == [1, 1, 1], "operate, publish and repair quote it"


@pytest.mark.parametrize("name", CONSOLE)
def test_commands_take_their_arguments(name: str) -> None:
    for words in commands(name):
        if words[0] in ("redis-cli", "celery", "kafka-topics.sh"):
            continue  # test_redis_commands, and the fault suites run them
        assert words[:2] == ["./manage.py", "lms"]
        command, *arguments = words[2:]
        parser = load_command_class(get_commands()[command], command).create_parser("manage.py", command)
        parser.parse_args(arguments)


def test_both_flags_of_notify_credentials_and_a_filter() -> None:
    # Without both it starts no revocation, and without a filter it refuses.
    [_cache_programs, words] = commands("notify-credentials")
    assert {"--notify_programs", "--revoke_program_certs", "--start-date"} <= set(words)


def enabled(config: dict[str, Any]) -> bool:
    """Tell whether a producer configuration enables both events on the topic."""
    return all(config[event_type][TOPIC]["enabled"] is True for event_type in (AWARDED, REVOKED))


def test_events() -> None:
    in_yaml = yaml.safe_load(named_block("events-yaml"))["EVENT_BUS_PRODUCER_CONFIG"]
    in_python = copy.deepcopy(settings.EVENT_BUS_PRODUCER_CONFIG)
    exec(named_block("events-python"), {"EVENT_BUS_PRODUCER_CONFIG": in_python})  # pylint: disable=exec-used
    assert in_python == merge_producer_configs(settings.EVENT_BUS_PRODUCER_CONFIG, in_yaml)
    assert enabled(in_python)


def test_patches_of_the_tutor_plugin() -> None:
    """``make test-tutor`` has each line of Tutor render them."""
    template = jinja2.Template(yaml.safe_load(named_block("tutor-plugin"))["patches"]["openedx-lms-common-settings"])
    redis = {"REDIS_HOST": "redis", "REDIS_PORT": 6379, "REDIS_USERNAME": "", "REDIS_PASSWORD": "secret"}
    lms: dict[str, Any] = {"EVENT_BUS_PRODUCER_CONFIG": copy.deepcopy(settings.EVENT_BUS_PRODUCER_CONFIG)}
    exec(template.render(redis), lms)  # pylint: disable=exec-used
    assert enabled(lms["EVENT_BUS_PRODUCER_CONFIG"])
    options = parse_url(lms["EVENT_BUS_REDIS_CONNECTION_URL"])
    expected = {"host": "redis", "port": 6379, "password": "secret", "socket_timeout": 2, "socket_connect_timeout": 2}
    assert options == expected


@pytest.mark.parametrize("name", ["kafka-first-start", "kafka-look"])
def test_what_is_for_the_shell_can_be_pasted(name: str) -> None:
    # There a line that follows a block's body needs a blank one before it.
    pending: list[str] = []
    for line in [*named_block(name).splitlines(), ""]:
        pending.append(line)
        if codeop.compile_command("\n".join(pending)):
            pending = []
    assert not "".join(pending)


@pytest.mark.django_db(transaction=True)
def test_consumer_example() -> None:
    block = named_block("consumer-example")
    assert len(block.splitlines()) <= 25
    imports = """
from django.db import models, transaction
from django.dispatch import receiver
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED, PROGRAM_CERTIFICATE_REVOKED
"""
    consumer: dict[str, Any] = {"__name__": "lms.djangoapps.certificates.models"}  # an application that is installed
    with isolate_apps("lms.djangoapps.certificates"):
        exec(imports + block, consumer)  # pylint: disable=exec-used
    user: Any = UserFactory()
    model, start = consumer["ProgramCertificate"], datetime(2026, 11, 23, tzinfo=UTC)
    with connection.schema_editor() as editor:
        editor.create_model(model)
    try:
        known = []
        for program, status, minute in (
            (1, "awarded", 1),
            (1, "awarded", 1),  # twice
            (2, "awarded", 1),
            (1, "revoked", 3),
            (1, "awarded", 2),  # late
            (2, "revoked", 5),
            (1, "awarded", 4),  # out of order with the one before, but of another program
        ):
            time = start + timedelta(minutes=minute)
            assert emit_program_certificate(user, UUID(int=program), status, time)
            known.append(dict(model.objects.order_by("program_uuid").values_list("program_uuid", "status")))
        first, second = UUID(int=1), UUID(int=2)
        assert known[1] == {first: "awarded"}
        assert known[4] == {first: "revoked", second: "awarded"}
        assert known[6] == {first: "awarded", second: "revoked"}
        assert set(model.objects.values_list("user_id", flat=True)) == {user.id}
    finally:
        for event in (consumer["PROGRAM_CERTIFICATE_AWARDED"], consumer["PROGRAM_CERTIFICATE_REVOKED"]):
            event.disconnect(consumer["keep_latest"])
        with connection.schema_editor() as editor:
            editor.delete_model(model)


def test_summary() -> None:
    # What the command prints: test_republish_program_certificate_events.py.
    assert [word.partition("=")[0] for word in named_block("republish-summary").split()] == [
        *("learners", "awarded", "revoked", "skipped", "failed", "bus_errors")
    ]


def test_scheduled_runs() -> None:
    # The fault suite runs this command, as cron does.
    [cronjob] = yaml.safe_load_all(
        yaml.safe_load(named_block("tutor-cronjob"))["patches"]["k8s-deployments"].replace("{{", "").replace("}}", "")
    )
    [container] = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    *schedule, rest = named_block("crontab").split(maxsplit=5)
    *_schedule, in_tutor = named_block("tutor-crontab").split(maxsplit=5)
    command = ["./manage.py", "lms", "republish_program_certificate_events", "--start-date", "4h"]
    limited = ["timeout", "50m", *command]
    assert shlex.split(rest.rpartition("&&")[2]) == limited
    assert shlex.split(in_tutor) == ["tutor", "local", "exec", "-T", "lms", *limited]
    assert container["args"] == command
    assert cronjob["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 50 * 60
    assert schedule == cronjob["spec"]["schedule"].split()


@pytest.mark.e2e
def test_redis_commands(processes: Processes, tmp_path: Path) -> None:
    with connect(Valkey(processes, "redis", tmp_path / "redis").url) as client:
        client.xadd(TOPIC, {"type": "first"})
        client.xgroup_create(TOPIC, "my-group", id="0")
        client.xadd(TOPIC, {"type": "last"})
        answers = {
            " ".join(words[1:3]) if words[1] == "XINFO" else words[1]: client.execute_command(*words[1:])
            for name in CONSOLE
            for words in commands(name)
            if words[0] == "redis-cli" and words[1] != "XTRIM"
        }
        assert set(answers) == {"XREVRANGE", "XINFO STREAM", "XINFO GROUPS", "XPENDING"}
        [(_id, fields)] = answers["XREVRANGE"]
        assert fields == {b"type": b"last"}
        # The group has read nothing yet.
        assert answers["XINFO STREAM"][b"last-generated-id"] > answers["XINFO GROUPS"][0][b"last-delivered-id"]
        [[_redis_cli, *trim]] = commands("redis-trim")
        assert client.execute_command(*trim) == 2
        assert client.xlen(TOPIC) == 0
