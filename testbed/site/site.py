"""
A site for a local run, the tests and the benchmarks: everything between a course certificate and an event, as real
processes on loopback.
"""

import json
import secrets
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import yaml

from testbed.run.inputs import AWARDED, REVOKED
from testbed.servers.processes import PATIENCE, Process, ProcessError, Processes, wait_for
from testbed.servers.valkey import Valkey, connect
from testbed.standins.credentials.control.client import CredentialsControl

REPUBLISH = "republish_program_certificate_events"
TOPIC = "learning-program-certificate-lifecycle"
GROUP = "testbed"
QUEUE = "edx.lms.core.default"

# Seconds within which the LMS gives a silent bus up, and between two looks of the consumer; the consumer shares the
# connection's settings, so its wait for new events has to be the shorter one.
BUS_TIMEOUT = 2
CONSUMER_POLL = 1

FINAL_STATES = ("succeeded", "failed")


class Site:
    """
    The site, with Redis as its event bus. It starts nothing by itself: the steps of a run are its methods, in order.

    Args:
        processes: starts and ends the processes.
        directory: where configuration, databases and logs go.
        enabled: whether the two events are enabled on the bus. False leaves the configuration as it is shipped.
    """

    bus_app = "edx_event_bus_redis"
    group = GROUP
    # What a consumer of this bus has to be told.
    consumer_options: dict[str, Any] = {"consumer_name": "testbed"}
    # What the LMS has that no other one has, and what acts for the site's people.
    apps: tuple[str, ...] = ("testbed.site.probe.ProbeConfig",)
    shell_module = "testbed.site.lms"
    # Seconds within which it has done what it was told.
    patience = PATIENCE

    redis_url: str
    bus_url: str
    credentials_url: str
    credentials: CredentialsControl
    discovery_url: str
    shell: Process
    worker: Process = None  # type: ignore[assignment]
    consumer: Process = None  # type: ignore[assignment]
    commands = 0  # that were started

    def __init__(self, processes: Processes, directory: str | Path, enabled: bool = True) -> None:
        self.processes, self.directory, self.enabled = processes, Path(directory), enabled
        self.run_id = secrets.token_hex(4)
        self.jwt = {
            "JWT_SECRET_KEY": secrets.token_hex(32),
            "JWT_ISSUER": "http://127.0.0.1/oauth2",
            "JWT_AUDIENCE": f"testbed-{self.run_id}",
        }
        self.config_file = self.directory / "lms.yml"  # ``LMS_CFG`` names it
        self.consumed_file = self.directory / "consumed.jsonl"
        self.tasks_file = self.directory / "tasks.jsonl"

    # Servers

    def bus_steps(self) -> list[tuple[str, Callable[[], None]]]:
        """Return what starts the event bus: what to call each step, and a function."""
        return []  # the broker is the bus, too

    def start_redis(self) -> None:
        self.redis_url = self.bus_url = Valkey(self.processes, "redis", self.directory / "redis").url

    def _jwt_env(self, service: str) -> dict[str, str]:
        return {f"{service}_{name}": value for name, value in self.jwt.items()}

    def start_credentials(
        self, programs: list[dict[str, Any]], course_runs: Sequence[str] = (), options: Sequence[object] = ()
    ) -> Process:
        """Start the stand-in of Credentials with these programs; their course runs, and more, are in its catalog."""
        process, self.credentials_url = self.processes.server(
            "credentials",
            *("-m", "testbed.standins.credentials", "--database", self.directory / "credentials.sqlite3"),
            *("--programs", self._programs_file(programs, course_runs), *options),
            env=self._jwt_env("CREDENTIALS"),
        )
        self.credentials = CredentialsControl(self.credentials_url)
        return process

    def start_discovery(self, programs: list[dict[str, Any]]) -> None:
        _process, self.discovery_url = self.processes.server(
            "discovery",
            *("-m", "testbed.standins.discovery", "--programs", self._programs_file(programs)),
            env=self._jwt_env("DISCOVERY"),
        )

    def _programs_file(self, programs: list[dict[str, Any]], course_runs: Sequence[str] = ()) -> Path:
        path = self.directory / "programs.json"
        path.write_text(json.dumps({"programs": programs, "course_runs": list(course_runs)}), encoding="utf-8")
        return path

    # The LMS

    def configure(self, database: dict[str, Any] | None = None) -> None:
        """Write the LMS's configuration file; ``testbed.servers.mysql`` gives a database other than a SQLite file."""
        broker = urlsplit(self.redis_url)
        sqlite = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(self.directory / "lms.sqlite3"),
            "OPTIONS": {
                "timeout": 30,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL",
            },
        }
        config: dict[str, Any] = {
            "SECRET_KEY": secrets.token_hex(32),
            "JWT_AUTH": self.jwt,
            "DATABASES": {"default": database or sqlite},
            "CACHES": {
                "default": {
                    "BACKEND": "django.core.cache.backends.redis.RedisCache",
                    "LOCATION": self.redis_url,
                    "KEY_PREFIX": self.run_id,
                }
            },
            "CELERY_BROKER_TRANSPORT": broker.scheme,
            "CELERY_BROKER_USER": broker.username,
            "CELERY_BROKER_PASSWORD": broker.password,
            "CELERY_BROKER_HOSTNAME": f"{broker.hostname}:{broker.port or 6379}",
            "CELERY_BROKER_VHOST": broker.path.lstrip("/"),
            "BROKER_TRANSPORT_OPTIONS": {"global_keyprefix": f"{self.run_id}-"},
            "CREDENTIALS_INTERNAL_SERVICE_URL": self.credentials_url,
            # All applications are imported before any models, and those load the driver.
            "ADDL_INSTALLED_APPS": [self.bus_app, *self.apps, *(["testbed.servers.mysql"] if database else [])],
            "EVENT_BUS_TOPIC_PREFIX": self.run_id,
            **self.bus_settings(),
        }
        if self.enabled:
            entry = {TOPIC: {"enabled": True}}
            config["EVENT_BUS_PRODUCER_CONFIG"] = {AWARDED: entry, REVOKED: entry}
        self.config_file.touch(mode=0o600)
        self.config_file.write_text(yaml.safe_dump(config), encoding="utf-8")

    def bus_settings(self) -> dict[str, Any]:
        """Return the settings of the event bus's back end."""
        return {
            "EVENT_BUS_PRODUCER": "edx_event_bus_redis.create_producer",
            "EVENT_BUS_CONSUMER": "edx_event_bus_redis.RedisEventConsumer",
            "EVENT_BUS_REDIS_CONNECTION_URL": _with_timeouts(self.bus_url),
            "EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT": CONSUMER_POLL,
            "EVENT_BUS_REDIS_CONSUMER_POLL_FAILURE_SLEEP": 0.2,
        }

    def env(self, **extra: str) -> dict[str, str]:
        return {
            "LMS_CFG": str(self.config_file),
            "DJANGO_SETTINGS_MODULE": "lms.envs.production",
            "SERVICE_VARIANT": "lms",
            "TESTBED_TASKS": str(self.tasks_file),
            **extra,
        }

    def start_command(self, *argv: str, **env: str) -> Process:
        """Start ``./manage.py lms ...``. It has a log of its own, and ``finish()`` returns what it prints."""
        self.commands += 1
        pipe: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
        return self.processes.python(f"command{self.commands}", "manage.py", "lms", *argv, env=self.env(**env), **pipe)

    def start_for_commands(self, programs: list[dict[str, Any]], database: dict[str, Any] | None = None) -> None:
        """Start what the commands need that ask Credentials: no worker."""
        self.start_redis()
        self.start_credentials(programs)
        self.start_discovery(programs)
        self.configure(database)
        self.start_lms()

    def start_shell(self) -> None:
        """Start the LMS process that acts for the site's people."""
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.shell = self.processes.python("lms", "-m", self.shell_module, env=self.env(), **pipes)

    def start_lms(self) -> None:
        """Start the same process, and have it create the database and read the programs into the cache."""
        self.start_shell()
        self.do("set_up", catalog_url=f"{self.discovery_url.rstrip('/')}/api/v1")

    def do(self, action: str, **arguments: Any) -> Any:
        """Have the LMS execute a function of ``testbed.site.lms``, and return its result."""
        answer = json.loads(self.shell.ask({"do": action, **arguments}, self.patience))
        if "error" in answer:
            raise ProcessError(f"the LMS could not {action}: {answer['error']}, see {self.shell.log}")
        return answer["result"]

    def start_worker(
        self, name: str = "worker", concurrency: int = 2, options: Sequence[str] = (), **env: str
    ) -> Process:
        """Start a Celery worker, prefork unless the options say otherwise, and wait until it takes tasks."""
        self.worker = self._start(
            name,
            " ready.",
            *("-m", "celery", "--app=lms.celery:APP", "worker", "--loglevel=info", "--pool=prefork"),
            *(f"--concurrency={concurrency}", f"--queues={QUEUE}", f"--hostname={name}-{self.run_id}@%h"),
            *("--without-gossip", "--without-mingle", *options),
            **env,
        )
        return self.worker

    def start_consumer(self, name: str = "consumer", **extra: Any) -> Process:
        """Start a consumer of the topic, and wait until it cannot miss an event."""
        self.consumer = self._start(
            name,
            "Running consumer for",
            *("manage.py", "lms", "consume_events", "-t", TOPIC, "-g", self.group),
            *("--extra", json.dumps({**self.consumer_options, **extra})),
            TESTBED_CONSUMED=str(self.consumed_file),
            TESTBED_TOPIC=TOPIC,
        )
        wait_for(self.has_group, f"{name} to join its group", alive=[self.consumer])
        return self.consumer

    def has_group(self) -> bool:
        """Tell whether the consumer's group is there: a consumer says that it runs, and then makes it."""
        with connect(self.bus_url) as client:
            groups = client.xinfo_groups(self.stream_key) if client.exists(self.stream_key) else []
            return any(group["name"].decode() == self.group for group in groups)

    def _start(self, name: str, text: str, *argv: str, **env: str) -> Process:
        """Start an LMS process, and wait for a text in its log. The log may have that of an earlier process."""
        log = self.directory / f"{name}.log"
        before = log.stat().st_size if log.exists() else 0
        process = self.processes.python(name, *argv, env=self.env(**env))
        wait_for(lambda: text.encode() in log.read_bytes()[before:], f"{text!r} in {log}", alive=[process])
        return process

    # What has happened

    def events(self) -> list[dict[str, Any]]:
        """Return the events, as the consumer received them."""
        return _records(self.consumed_file)

    def tasks(self) -> list[dict[str, Any]]:
        """Return what has become of tasks, in the order it happened."""
        return _records(self.tasks_file)

    def unfinished_tasks(self) -> set[str]:
        """Return the ids of the tasks that are published and neither succeeded nor failed."""
        tasks = self.tasks()
        finished = {task["id"] for task in tasks if task["state"] in FINAL_STATES}
        return {task["id"] for task in tasks if task["state"] == "published"} - finished

    def wait_for_tasks(self) -> None:
        wait_for(lambda: not self.unfinished_tasks(), "the tasks to finish", alive=self._living(self.worker))

    def refusal(self) -> str | None:
        """Return which task's request Credentials refused, and its answer; Celery repeats such a task."""
        refused = (f"{task['task']}: {task['refused']}" for task in self.tasks() if "refused" in task)
        return next(refused, None)

    def wait_for_events(self, count: int) -> None:
        wait_for(lambda: len(self.events()) >= count, f"{count} events", alive=self._living(self.consumer))

    def wait_for_arrival(self, due: int) -> None:
        """Wait for all events that were sent. Redis has them before their tasks end, so it tells, and not ``due``."""
        self.wait_for_events(self.count_published())

    def has_read_all(self, name: str = GROUP) -> bool:
        """Tell whether a group has read and acknowledged all that is in the stream."""
        with connect(self.bus_url) as client:
            for group in client.xinfo_groups(self.stream_key):
                if group["name"].decode() == name:
                    unread = client.xrange(self.stream_key, min=b"(" + group["last-delivered-id"], count=1)
                    return not (unread or group["pending"])
        return False

    def _living(self, process: Process) -> list[Process]:
        return [process] if process in self.processes.running else []

    @property
    def stream_key(self) -> str:
        """The bus's name for the stream."""
        return f"{self.run_id}-{TOPIC}"

    def stream(self) -> list[Any]:
        """Return the entries of the bus's stream, oldest first."""
        with connect(self.bus_url) as client:
            return client.xrange(self.stream_key)

    def count_published(self) -> int:
        with connect(self.bus_url) as client:
            return client.xlen(self.stream_key)

    def count_added(self) -> int:
        """Count the events that were sent; ``count_published`` misses all that a full stream has dropped."""
        with connect(self.bus_url) as client:
            return client.xinfo_stream(self.stream_key)["entries-added"] if client.exists(self.stream_key) else 0

    def remove_keys(self) -> None:
        """Remove what the run has left on a Redis that outlives it."""
        with connect(self.redis_url) as client:
            for key in client.scan_iter(f"*{self.run_id}*"):
                client.delete(key)


def _with_timeouts(url: str) -> str:
    """Add the time-outs without which a bus that accepts and never answers holds the LMS."""
    parts = urlsplit(url)
    timeouts = f"socket_timeout={BUS_TIMEOUT}&socket_connect_timeout={BUS_TIMEOUT}"
    return urlunsplit(parts._replace(query=f"{parts.query}&{timeouts}" if parts.query else timeouts))


def _records(path: Path) -> list[dict[str, Any]]:
    """Read the complete lines of a file that may not be there yet, or is just being written."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
