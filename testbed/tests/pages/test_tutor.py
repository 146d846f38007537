"""
Tests of the operators' Tutor plugin, as the page gives it: rendered by each line of Tutor, and evaluated.
"""

import copy
import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import jinja2
import pytest
import yaml
from redis.connection import parse_url

from lms.envs.common import EVENT_BUS_PRODUCER_CONFIG
from testbed.pages import blocks
from testbed.pages.tutor import RELEASES, TOPIC, TutorError, credentials_producer_config, evaluate, install, render

AWARDED = "org.openedx.learning.program.certificate.awarded.v1"
REVOKED = "org.openedx.learning.program.certificate.revoked.v1"
BOTH = {AWARDED, REVOKED}
LMS, CREDENTIALS = "openedx-lms-common-settings", "credentials-settings-common"

# What the plugin of somebody else enables.
OTHER = "org.openedx.learning.certificate.created.v1"
OTHER_CONFIG = {OTHER: {"learning-certificate-lifecycle": {"event_key_field": "certificate.course.course_key"}}}
OTHER_CONFIG[OTHER]["learning-certificate-lifecycle"]["enabled"] = True
OTHER_IN_PYTHON = f"EVENT_BUS_PRODUCER_CONFIG.update({OTHER_CONFIG})"
OTHER_IN_YAML = yaml.safe_dump({"EVENT_BUS_PRODUCER_CONFIG": OTHER_CONFIG})

# What the page has said before.
OLD_URL = "redis://redis:6379/0?socket_timeout=2&socket_connect_timeout=2"
OLD_ADVICE = {
    "EVENT_BUS_PRODUCER_CONFIG": {event_type: {TOPIC: {"enabled": True}} for event_type in sorted(BOTH)},
    "EVENT_BUS_REDIS_CONNECTION_URL": OLD_URL,
}

# The lines that have settings of the event bus of their own.
WITH_EVENT_BUS = ("21", "22")

REDIS = {"host": "redis", "port": 6379, "db": 0, "username": None, "password": None}
OTHER_REDIS = {"REDIS_HOST": "redis.example.com", "REDIS_PORT": 6380}


def plugin(name, **patches):
    """Make the YAML of a plugin, with ``_`` for ``-`` in the names of its patches."""
    patches = {patch.replace("_", "-"): text for patch, text in patches.items()}
    return yaml.safe_dump({"name": name, "version": "1.0.0", "patches": patches})


def ours():
    """Take the plugin from the page."""
    return blocks.named_block("tutor-plugin")


def enabled(settings):
    """List the event types that settings enable on the bus, each on all of its topics."""
    config = settings["EVENT_BUS_PRODUCER_CONFIG"]
    return {name for name, topics in config.items() if all(entry["enabled"] is True for entry in topics.values())}


@pytest.fixture(scope="module")
def installed(request):
    """Install the lines that are asked for, two at a time: line -> its program, or the error."""

    def attempt(line):
        try:
            return install(line)
        except TutorError as exc:
            return exc

    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    lines = sorted({param["line"] for param in params if "line" in param}) or list(RELEASES)
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(lines, pool.map(attempt, lines), strict=True))


@pytest.fixture(scope="module")
def sites(installed, tmp_path_factory):
    """Render sites, each once, whatever the order of the tests."""

    @cache
    def render_once(line, *plugins, **config):
        return render(installed[line], tmp_path_factory.mktemp(f"tutor-{line}") / "site", plugins, **config)

    return render_once


@pytest.fixture(params=RELEASES)
def line(request):
    """A line of Tutor."""
    return request.param


@pytest.fixture
def site(line, installed, sites):
    """Render a site with that line, from plugins and Tutor's settings."""
    if isinstance(installed[line], TutorError):
        pytest.skip(str(installed[line]))
    return partial(sites, line)


@pytest.fixture(params=["production", "development"])
def module(request):
    """A module of settings."""
    return request.param


@pytest.mark.e2e
@pytest.mark.tutor
def test_a_release_is_there(installed):
    """The other tests skip a line that cannot be installed; without any they would have shown nothing."""
    assert not all(isinstance(outcome, TutorError) for outcome in installed.values()), installed


@pytest.mark.e2e
@pytest.mark.tutor
def test_the_hourly_run_on_kubernetes(site):
    """It has the image, the environment and the volumes of Tutor's own LMS."""
    text = (site(blocks.named_block("tutor-cronjob")) / "k8s/deployments.yml").read_text(encoding="utf-8")
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


@pytest.mark.e2e
@pytest.mark.tutor
def test_the_plugin_alone(site, module):
    """Both events, an address with time-outs, and a consumer that waits no longer than they allow."""
    lms = evaluate("lms", module, site(ours()))

    assert enabled(lms["settings"]) == BOTH
    assert lms["settings"]["EVENT_BUS_PRODUCER"] == "edx_event_bus_redis.create_producer"
    assert lms["connection"] == {**REDIS, "socket_timeout": 2, "socket_connect_timeout": 2}
    assert lms["poll_timeout"] < lms["connection"]["socket_timeout"]
    assert lms["checks"] == []


@pytest.mark.e2e
@pytest.mark.tutor
@pytest.mark.parametrize(
    ("other", "config", "connection"),
    [
        # Tutor takes plugins in the order of their names.
        (plugin("another", openedx_lms_common_settings=OTHER_IN_PYTHON), {}, {}),
        (plugin("yet-another", openedx_lms_common_settings=OTHER_IN_PYTHON), {"REDIS_PASSWORD": "secret"}, {}),
        (plugin("another", lms_env=OTHER_IN_YAML), {"REDIS_PASSWORD": "secret", "REDIS_USERNAME": "lms"}, OTHER_REDIS),
        (plugin("yet-another", lms_env=OTHER_IN_YAML), {}, OTHER_REDIS),
    ],
    ids=["python, before", "python, after, password", "yaml, before, user and password", "yaml, after, host"],
)
def test_beside_another_plugin(site, module, other, config, connection):
    """Both plugins' events are enabled, whatever Redis the site has."""
    lms = evaluate("lms", module, site("credentials", ours(), other, **config, **connection))

    assert enabled(lms["settings"]) == {*BOTH, OTHER}
    assert lms["settings"]["EVENT_BUS_PRODUCER_CONFIG"][OTHER] == OTHER_CONFIG[OTHER]
    given = {name.removeprefix("REDIS_").lower(): value for name, value in {**config, **connection}.items()}
    assert lms["connection"] == {**REDIS, **given, "socket_timeout": 2, "socket_connect_timeout": 2}
    assert lms["checks"] == []


@pytest.mark.e2e
@pytest.mark.tutor
def test_credentials(site, module):
    """Of the events that Credentials had enabled, the plugin disables its own two."""
    before = credentials_producer_config()
    after = evaluate("credentials", module, site("credentials", ours()))["settings"]

    assert enabled(after) == set(before) - BOTH
    for event_type in BOTH:
        before[event_type][TOPIC]["enabled"] = False
    assert after == {"EVENT_BUS_PRODUCER_CONFIG": before}


@pytest.mark.e2e
@pytest.mark.tutor
def test_what_the_page_said_before(site, line, module):
    """In the patch ``lms-env``, the address is overridden, or no producer takes it: why the plugin uses Python."""
    lms = evaluate("lms", module, site(plugin("old", lms_env=yaml.safe_dump(OLD_ADVICE))))

    assert enabled(lms["settings"]) == BOTH
    url = lms["settings"]["EVENT_BUS_REDIS_CONNECTION_URL"]
    if line in WITH_EVENT_BUS:
        assert url == "redis://@redis:6379/"
        assert lms["checks"] == ["event_bus.W006"]
    else:
        assert url == OLD_URL
        assert lms["connection"] is None
        assert lms["checks"] == ["event_bus.W001"]


@pytest.mark.e2e
@pytest.mark.tutor
def test_what_the_page_said_before_beside_another_plugin(site, module):
    """The same key twice in one YAML file: one plugin's events are off, and nothing says so."""
    old = plugin("old", lms_env=yaml.safe_dump(OLD_ADVICE))

    lms = evaluate("lms", module, site(old, plugin("yet-another", lms_env=OTHER_IN_YAML)))
    assert enabled(lms["settings"]) == {OTHER}


@pytest.mark.e2e
@pytest.mark.tutor
def test_what_the_page_says_of_tutor(site, line, module):
    """What the plugin leaves as it is, and an operator has to know."""
    env = site(ours())
    lms = evaluate("lms", module, env)
    texts = [path.read_text(encoding="utf-8") for path in env.rglob("*") if path.suffix in {".conf", ".yml", ".sh"}]

    own = line in WITH_EVENT_BUS
    assert lms["settings"].get("EVENT_BUS_TOPIC_PREFIX") == ("dev" if own else None)
    assert lms["stream"] == ("dev-" if own else "") + TOPIC
    assert lms["settings"].get("EVENT_BUS_CONSUMER") == ("edx_event_bus_redis.RedisEventConsumer" if own else None)
    [redis_conf] = [text for text in texts if "maxmemory-policy" in text and "patches" not in text]
    # The last one counts.
    assert re.findall(r"^maxmemory-policy (\S+)", redis_conf, re.M) == ["allkeys-lru", "volatile-lru"]
    assert [text for text in texts if "--app=lms.celery" in text and "--max-tasks-per-child=100" in text]
    assert not [text for text in texts if "consume_events" in text]


def test_the_patches_of_the_plugin():
    """What the page's plugin does, without Tutor: the code of its patches, on the slice's settings."""
    patches = yaml.safe_load(ours())["patches"]
    assert set(patches) == {LMS, CREDENTIALS, "redis-conf"}
    assert patches["redis-conf"].strip() == "maxmemory-policy volatile-lru"

    for config, expected in (
        ({"REDIS_USERNAME": "", "REDIS_PASSWORD": ""}, {}),
        ({"REDIS_USERNAME": "", "REDIS_PASSWORD": "secret"}, {"password": "secret"}),
        ({"REDIS_USERNAME": "lms", "REDIS_PASSWORD": "secret"}, {"username": "lms", "password": "secret"}),
    ):
        lms = {"EVENT_BUS_PRODUCER_CONFIG": copy.deepcopy({**EVENT_BUS_PRODUCER_CONFIG, **OTHER_CONFIG})}
        template = jinja2.Template(patches[LMS], undefined=jinja2.StrictUndefined)
        exec(template.render(REDIS_HOST="redis", REDIS_PORT=6379, **config), lms)
        assert enabled(lms) == {*BOTH, OTHER}
        assert lms["EVENT_BUS_PRODUCER"] == "edx_event_bus_redis.create_producer"
        options = parse_url(lms["EVENT_BUS_REDIS_CONNECTION_URL"])
        address = {"host": "redis", "port": 6379, **expected}
        assert options == {**address, "socket_timeout": 2, "socket_connect_timeout": 2}
        assert lms["EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT"] < options["socket_timeout"]

    credentials = {"EVENT_BUS_PRODUCER_CONFIG": credentials_producer_config()}
    exec(patches[CREDENTIALS], credentials)
    assert enabled(credentials) == set(credentials_producer_config()) - BOTH
    assert all(credentials["EVENT_BUS_PRODUCER_CONFIG"][name][TOPIC]["enabled"] is False for name in BOTH)
