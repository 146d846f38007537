"""
Tests of the operators' Tutor plugin, as the page gives it: rendered by each line of Tutor, and evaluated.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.pages import tutor
from testbed.pages.blocks import named_block
from testbed.run.inputs import AWARDED, REVOKED
from testbed.site.site import TOPIC

Site = Callable[..., Path]

pytestmark = [pytest.mark.e2e, pytest.mark.tutor]

BOTH = {AWARDED, REVOKED}
OURS = named_block("tutor-plugin")

# What the plugin of somebody else enables.
OTHER = "org.openedx.learning.certificate.created.v1"
OTHER_TOPIC = {"event_key_field": "certificate.course.course_key", "enabled": True}
OTHER_CONFIG = {OTHER: {"learning-certificate-lifecycle": OTHER_TOPIC}}
IN_PYTHON = {"openedx-lms-common-settings": f"EVENT_BUS_PRODUCER_CONFIG.update({OTHER_CONFIG})"}
IN_YAML = {"lms-env": yaml.safe_dump({"EVENT_BUS_PRODUCER_CONFIG": OTHER_CONFIG})}
WITH_EVENT_BUS = ("21", "22")  # the lines that have settings of the event bus of their own
REDIS = {"host": "redis", "port": 6379, "db": 0, "username": None, "password": None}
OTHER_REDIS: dict[str, Any] = {"REDIS_HOST": "redis.example.com", "REDIS_PORT": 6380}


def plugin(name: str, patches: dict[str, str]) -> str:
    """Make the YAML of a plugin."""
    return yaml.safe_dump({"name": name, "version": "1.0.0", "patches": patches})


@pytest.fixture(scope="module", params=tutor.RELEASES)
def line(request: pytest.FixtureRequest) -> str:
    """A line of Tutor."""
    return request.param


@pytest.fixture(scope="module")
def site(line: str, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Render a site with that line, from plugins and Tutor's settings: each once."""
    try:
        program = tutor.install(line)
    except tutor.TutorError as exc:
        pytest.skip(str(exc))

    @cache
    def render_once(*plugins: str, **config: str) -> Path:
        return tutor.render(program, tmp_path_factory.mktemp(f"tutor-{line}") / "site", plugins, **config)

    return render_once


@pytest.fixture(params=["production", "development"])
def module(request: pytest.FixtureRequest) -> str:
    """A module of settings."""
    return request.param


def test_a_release_is_there() -> None:
    """The other tests skip a line that cannot be installed."""
    for line in reversed(tutor.RELEASES):
        with suppress(tutor.TutorError):
            assert tutor.install(line)
            return
    pytest.fail("no release of Tutor can be installed")


def test_the_hourly_run_on_kubernetes(site: Site) -> None:
    """It has the image, the environment and the volumes of Tutor's own LMS."""
    text = (site(named_block("tutor-cronjob")) / "k8s/deployments.yml").read_text(encoding="utf-8")
    rendered = {(made["kind"], made["metadata"]["name"]): made["spec"] for made in yaml.safe_load_all(text) if made}
    lms = rendered["Deployment", "lms"]["template"]["spec"]
    job = rendered["CronJob", "republish-program-certificate-events"]["jobTemplate"]["spec"]["template"]["spec"]
    [container], [own] = job["containers"], lms["containers"]

    assert container["image"] == own["image"]
    assert {entry["name"]: entry["value"] for entry in container["env"]}.items() <= {
        entry["name"]: entry.get("value") for entry in own["env"]
    }.items()
    mounts = [mount for mount in own["volumeMounts"] if "uwsgi" not in mount["name"]]
    assert container["volumeMounts"] == mounts
    assert job["volumes"] == [volume for volume in lms["volumes"] if "uwsgi" not in volume["name"]]


@pytest.mark.parametrize(
    ("other", "config"),
    [
        ([], {}),
        # Tutor takes plugins in the order of their names.
        ([plugin("another", IN_PYTHON)], {}),
        ([plugin("yet-another", IN_PYTHON)], {"REDIS_PASSWORD": "secret"}),
        ([plugin("another", IN_YAML)], {"REDIS_USERNAME": "lms", "REDIS_PASSWORD": "s", **OTHER_REDIS}),
        ([plugin("yet-another", IN_YAML)], OTHER_REDIS),
    ],
    ids=["alone", "python, before", "python, after, password", "yaml, before, user and password", "yaml, after, host"],
)
def test_the_plugin(site: Site, module: str, other: list[str], config: dict[str, Any]) -> None:
    """All plugins' events are enabled, whatever Redis the site has. No consumer waits longer than its time-outs."""
    lms = tutor.evaluate(tutor.evaluate_lms, module, site(OURS, *other, **config))

    events = lms["EVENT_BUS_PRODUCER_CONFIG"]
    enabled = {name for name, topics in events.items() if all(entry["enabled"] is True for entry in topics.values())}
    assert enabled == (BOTH | {OTHER} if other else BOTH)
    assert not other or events[OTHER] == OTHER_CONFIG[OTHER]
    assert lms["EVENT_BUS_PRODUCER"] == "edx_event_bus_redis.create_producer"
    given = {name.removeprefix("REDIS_").lower(): value for name, value in config.items()}
    timeouts = {"socket_timeout": 2, "socket_connect_timeout": 2}
    assert lms["connection"] == REDIS | given | timeouts
    assert lms["EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT"] < timeouts["socket_timeout"]
    assert lms["checks"] == []


def test_credentials(site: Site, module: str) -> None:
    """Of the events that Credentials had enabled, the plugin disables its own two."""
    expected = deepcopy(tutor.CREDENTIALS_EVENTS)
    for event_type in BOTH:
        expected[event_type][TOPIC]["enabled"] = False
    assert tutor.evaluate(tutor.evaluate_credentials, module, site(OURS)) == {"EVENT_BUS_PRODUCER_CONFIG": expected}


def test_what_the_page_says_of_tutor(site: Site, line: str, module: str) -> None:
    """What the plugin leaves as it is, and an operator has to know."""
    env = site(OURS)
    lms = tutor.evaluate(tutor.evaluate_lms, module, env)
    texts = [path.read_text(encoding="utf-8") for path in env.rglob("*") if path.suffix in {".conf", ".yml", ".sh"}]

    own = line in WITH_EVENT_BUS
    assert lms.get("EVENT_BUS_TOPIC_PREFIX") == ("dev" if own else None)
    assert lms.get("EVENT_BUS_CONSUMER") == ("edx_event_bus_redis.RedisEventConsumer" if own else None)
    [redis_conf] = [text for text in texts if "maxmemory-policy" in text and "patches" not in text]
    # The last one counts.
    assert re.findall(r"^maxmemory-policy (\S+)", redis_conf, re.M) == ["allkeys-lru", "volatile-lru"]
    assert [text for text in texts if "--app=lms.celery" in text and "--max-tasks-per-child=100" in text]
    assert not [text for text in texts if "consume_events" in text]
