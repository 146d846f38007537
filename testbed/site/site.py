"""
A site for a local run: everything between a course certificate and an event, as real processes on loopback.
"""

import json
import secrets
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import yaml

from testbed.run.inputs import AWARDED, REVOKED
from testbed.servers.processes import PATIENCE, ProcessError, wait_for
from testbed.servers.valkey import Valkey, connect
from testbed.standins.credentials.control.client import CredentialsControl

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
    The site. It starts nothing by itself: the steps of a run are its methods, in the order they are called.

    Its event bus is Redis.

    Args:
        processes (Processes): starts and ends the processes.
        directory (Path): where configuration, databases and logs go.
        enabled (bool): whether the two events are enabled on the bus. False leaves the configuration as it is shipped.
    """

    bus_app = "edx_event_bus_redis"
    group = GROUP
    # What a consumer of this bus has to be told.
    consumer_options = {"consumer_name": "testbed"}
    # What the LMS has that no other one has, and what acts for the site's people.
    apps = ("testbed.site.probe.ProbeConfig",)
    shell_module = "testbed.site.lms"
    # Seconds within which it has done what it was told.
    patience = PATIENCE

    def __init__(self, processes, directory, enabled=True):
        self.processes = processes
        self.directory = Path(directory)
        self.enabled = enabled
        self.run_id = secrets.token_hex(4)
        self.jwt = {
            "JWT_SECRET_KEY": secrets.token_hex(32),
            "JWT_ISSUER": "http://127.0.0.1/oauth2",
            "JWT_AUDIENCE": f"testbed-{self.run_id}",
        }
        self.redis_url = self.bus_url = self.credentials_url = self.discovery_url = None
        self.consumed_file = self.directory / "consumed.jsonl"
        self.tasks_file = self.directory / "tasks.jsonl"
        self.shell = None
        self.worker = None
        self.consumer = None

    # Servers

    def bus_steps(self):
        """Return what starts the event bus: what to call each step, and a function."""
        return []  # the broker is the bus, too

    def start_redis(self):
        """Start a Redis-protocol server, both broker and bus."""
        valkey = Valkey(self.processes, "redis", self.directory / "redis")
        self.redis_url = self.bus_url = valkey.url
        return valkey

    def _jwt_env(self, service):
        return {f"{service}_{name}": value for name, value in self.jwt.items()}

    def start_credentials(self, programs, course_runs=()):
        """Start the stand-in of Credentials with these programs; their course runs, and more, are in its catalog."""
        process, self.credentials_url = self.processes.server(
            "credentials",
            *("-m", "testbed.standins.credentials", "--database", self.directory / "credentials.sqlite3"),
            *("--programs", self._programs_file(programs, course_runs)),
            env=self._jwt_env("CREDENTIALS"),
        )
        return process

    def start_discovery(self, programs):
        """Start the stand-in of Discovery with these programs."""
        process, self.discovery_url = self.processes.server(
            "discovery",
            *("-m", "testbed.standins.discovery", "--programs", self._programs_file(programs)),
            env=self._jwt_env("DISCOVERY"),
        )
        return process

    def _programs_file(self, programs, course_runs=()):
        path = self.directory / "programs.json"
        path.write_text(json.dumps({"programs": programs, "course_runs": list(course_runs)}), encoding="utf-8")
        return path

    # The LMS

    def configure(self, database=None):
        """
        Write the LMS's configuration file, as an operator would.

        Args:
            database (dict): the LMS's database, as ``testbed.servers.mysql`` gives it, in place of a SQLite file.
        """
        broker = urlsplit(self.redis_url)
        config = {
            "SECRET_KEY": secrets.token_hex(32),
            "JWT_AUTH": self.jwt,
            "DATABASES": {"default": database or self._sqlite()},
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
            "ADDL_INSTALLED_APPS": [self.bus_app, *self.apps],
            "EVENT_BUS_TOPIC_PREFIX": self.run_id,
            **self.bus_settings(),
        }
        if database:
            # Before the applications' models are imported, which load Django's back end.
            config["ADDL_INSTALLED_APPS"].append("testbed.servers.mysql")
        if self.enabled:
            config["EVENT_BUS_PRODUCER_CONFIG"] = {
                event_type: {TOPIC: {"enabled": True}} for event_type in (AWARDED, REVOKED)
            }
        self.config_file.touch(mode=0o600)
        self.config_file.write_text(yaml.safe_dump(config), encoding="utf-8")

    def bus_settings(self):
        """Return the settings of the event bus's back end."""
        return {
            "EVENT_BUS_PRODUCER": "edx_event_bus_redis.create_producer",
            "EVENT_BUS_CONSUMER": "edx_event_bus_redis.RedisEventConsumer",
            "EVENT_BUS_REDIS_CONNECTION_URL": _with_timeouts(self.bus_url),
            "EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT": CONSUMER_POLL,
            "EVENT_BUS_REDIS_CONSUMER_POLL_FAILURE_SLEEP": 0.2,
        }

    def _sqlite(self):
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(self.directory / "lms.sqlite3"),
            "OPTIONS": {
                "timeout": 30,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL",
            },
        }

    @property
    def config_file(self):
        """Path: the YAML file that ``LMS_CFG`` names."""
        return self.directory / "lms.yml"

    def env(self, **extra):
        """Return the environment of an LMS process."""
        return {
            "LMS_CFG": str(self.config_file),
            "DJANGO_SETTINGS_MODULE": "lms.envs.production",
            "SERVICE_VARIANT": "lms",
            "TESTBED_TASKS": str(self.tasks_file),
            **extra,
        }

    def manage(self, *argv, name=None):
        """Run ``./manage.py lms ...`` to its end."""
        self.processes.run(name or argv[0], "manage.py", "lms", *argv, env=self.env())

    def start_for_commands(self, programs, database=None):
        """
        Start what the commands need that ask Credentials: no worker.

        Args:
            programs (list[dict]): what Credentials and the catalog know.
            database (dict): the LMS's, as Django's ``DATABASES`` has it. Defaults to one of the site's own.
        """
        self.start_redis()
        self.start_credentials(programs)
        self.start_discovery(programs)
        self.credentials = CredentialsControl(self.credentials_url)
        self.configure(database=database)
        self.manage("migrate", "--verbosity=0")
        self.start_shell()
        self.do("configure", catalog_url=f"{self.discovery_url}/api/v1")
        self.manage("cache_programs")

    def start_shell(self):
        """Start the LMS process that acts for the site's people."""
        self.shell = self.processes.python(
            "lms", "-m", self.shell_module, env=self.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def do(self, action, **arguments):
        """
        Have the LMS do something.

        Args:
            action (str): a function of ``testbed.site.lms``.
            **arguments: its arguments.

        Returns:
            object: its result.

        Raises:
            ProcessError: it failed.
        """
        self.shell.check()
        self.shell.popen.stdin.write(json.dumps({"do": action, **arguments}) + "\n")
        self.shell.popen.stdin.flush()
        answer = json.loads(self.shell.read_line(self.patience))
        if "error" in answer:
            raise ProcessError(f"the LMS could not {action}: {answer['error']}, see {self.shell.log}")
        return answer["result"]

    def start_worker(self, name="worker", concurrency=2, options=(), **env):
        """Start a Celery worker, prefork unless the options say otherwise, and wait until it takes tasks."""
        before = self.count_in_log(name, " ready.")
        self.worker = self.processes.python(
            name,
            *("-m", "celery", "--app=lms.celery:APP", "worker", "--loglevel=info", "--pool=prefork"),
            *(f"--concurrency={concurrency}", f"--queues={QUEUE}", f"--hostname={name}-{self.run_id}@%h"),
            *("--without-gossip", "--without-mingle", *options),
            env=self.env(**env),
        )
        wait_for(lambda: self.count_in_log(name, " ready.") > before, f"{name} to take tasks", alive=[self.worker])
        return self.worker

    def start_consumer(self, name="consumer", **extra):
        """Start a consumer of the topic, and wait until it reads."""
        before = self.count_in_log(name, "Running consumer for")
        self.consumer = self.processes.python(
            name,
            *("manage.py", "lms", "consume_events", "-t", TOPIC, "-g", self.group),
            *("--extra", json.dumps({**self.consumer_options, **extra})),
            env=self.env(TESTBED_CONSUMED=str(self.consumed_file), TESTBED_TOPIC=TOPIC),
        )
        wait_for(
            lambda: self.count_in_log(name, "Running consumer for") > before,
            f"{name} to read",
            alive=[self.consumer],
        )
        return self.consumer

    def count_in_log(self, name, text):
        """Count in how many lines of a log a text is."""
        path = self.directory / f"{name}.log"
        return sum(text in line for line in _lines(path))

    # What has happened

    def events(self):
        """list[dict]: the events, as the consumer received them."""
        return [json.loads(line) for line in _lines(self.consumed_file)]

    def tasks(self):
        """list[dict]: what has become of tasks, in the order it happened."""
        return [json.loads(line) for line in _lines(self.tasks_file)]

    def unfinished_tasks(self):
        """set[str]: ids of the tasks that are published and neither succeeded nor failed."""
        tasks = self.tasks()
        finished = {task["id"] for task in tasks if task["state"] in FINAL_STATES}
        return {task["id"] for task in tasks if task["state"] == "published"} - finished

    def wait_for_tasks(self):
        """Wait until no task is waiting or running."""
        wait_for(lambda: not self.unfinished_tasks(), "the tasks to finish", alive=self._living(self.worker))

    def refusal(self):
        """str: which task's request Credentials refused, and its answer; Celery repeats such a task. Or None."""
        refused = (f"{task['task']}: {task['refused']}" for task in self.tasks() if "refused" in task)
        return next(refused, None)

    def wait_for_events(self, count):
        """Wait until the consumer has received so many events."""
        wait_for(lambda: len(self.events()) >= count, f"{count} events", alive=self._living(self.consumer))

    def wait_for_arrival(self, due):
        """
        Wait until the consumer has received all events that were sent.

        Args:
            due (int): how many there should be. Redis has them before their tasks are through, so it is asked instead.
        """
        self.wait_for_events(self.count_published())

    def _living(self, process):
        return [process] if process in self.processes.running else []

    @property
    def stream_key(self):
        """str: the bus's name for the stream."""
        return f"{self.run_id}-{TOPIC}"

    def stream(self):
        """list: the entries of the bus's stream, oldest first."""
        with connect(self.bus_url) as client:
            return client.xrange(self.stream_key)

    def count_published(self):
        """Count the events that the bus has received."""
        return len(self.stream())

    def count_added(self):
        """Count the events that were sent; ``count_published`` would miss all that a full stream has dropped."""
        with connect(self.bus_url) as client:
            return client.xinfo_stream(self.stream_key)["entries-added"] if client.exists(self.stream_key) else 0

    def remove_keys(self):
        """Remove what the run has left on a Redis that outlives it."""
        with connect(self.redis_url) as client:
            for key in client.scan_iter(f"*{self.run_id}*"):
                client.delete(key)


def _with_timeouts(url):
    """Add the time-outs without which a bus that accepts and never answers holds the LMS."""
    parts = urlsplit(url)
    timeouts = f"socket_timeout={BUS_TIMEOUT}&socket_connect_timeout={BUS_TIMEOUT}"
    return urlunsplit(parts._replace(query=f"{parts.query}&{timeouts}" if parts.query else timeouts))


def _lines(path):
    """Read the complete lines of a file that may not be there yet, or is just being written."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in text.split("\n")[:-1] if line]
