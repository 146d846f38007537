"""
``make run``: watch course certificates become program certificates, and those become events.

Everything is real and on loopback: a Redis-protocol server, an LMS database, a prefork Celery worker, an event-bus
consumer, and stand-ins of Credentials and Discovery that answer as those services do. With ``BUS=kafka`` the events
leave through Kafka instead of Redis; ``testbed.servers.kafka`` says how real that is.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import redis
import requests

from testbed.run.inputs import (
    InputError,
    completed,
    course_runs,
    expected_events,
    modes_that_count,
    obstacle,
    read_learners,
    read_programs,
)
from testbed.servers.kafka import APACHE, KAFKAS, MOCK, apache
from testbed.servers.processes import ProcessError, Processes, wait_for
from testbed.servers.valkey import connect
from testbed.site.kafka import KafkaSite, find_problem
from testbed.site.site import Site

DATA = Path(__file__).parent / "data"

# What a process, or a Redis of the user's own, can do to a run.
FAILURES = (ProcessError, OSError, redis.RedisError)

# Learners who earn a certificate at the same time.
BATCH = 20

# Stricter than what reads them later: that takes a part of a password that is not encoded for the host, the port or the
# path, asks the DNS for it, and quotes it in its errors.
HOST = r"([\w.-]+|\[[\da-fA-F:.]+\])(:\d+)?"
REDIS_URL = re.compile(rf"rediss?://([^\s/?#\[\]]*@)?{HOST}(/\d*)?(\?[^\s@#]*)?")
SERVICE_URL = re.compile(rf"https?://{HOST}(/[^\s@?#]*)?")
ENCODED = "special characters in the user name and the password have to be percent-encoded"


class ReaderGone(Exception):
    """Nobody reads the output any more."""


def _say(text, stream, end="\n"):
    """Print at once, so that it shows here whether anybody still reads the stream."""
    try:
        print(text, end=end, file=stream, flush=True)
    except BrokenPipeError:
        raise ReaderGone from None


def _count(number, noun):
    return f"{number} {noun}" + ("" if number == 1 else "s")


class Narrator:
    """Tells a person what happens, with the time that it took where they had to wait."""

    def __init__(self, stream):
        self.stream = stream

    def line(self, text=""):
        """Print a line."""
        _say(text, self.stream)

    @contextlib.contextmanager
    def step(self, text):
        """Print what is being done, then, once it is, how long it took."""
        started = time.monotonic()
        _say(f"  {text} ...", self.stream, end=" ")
        try:
            yield
        except BaseException:
            self.line("not done")
            raise
        self.line(f"{time.monotonic() - started:.1f} s")

    def progress(self, done, total, what):
        """On a terminal, print a line that the next one overwrites."""
        if self.stream.isatty():
            _say(f"\r  {done} of {total} {what}", self.stream, end="\n" if done == total else "")


def start(site, programs, learners, narrator, redis_url=None, credentials_url=None, discovery_url=None):
    """
    Start a site.

    Args:
        site (Site): what to start.
        programs (list[dict]): the programs that Discovery has.
        learners (list[dict]): the learners; the stand-in of Credentials has their course runs in its catalog.
        narrator (Narrator): tells of it.
        redis_url (str): a Redis to use in place of an embedded one.
        credentials_url (str): a Credentials service to use in place of the stand-in.
        discovery_url (str): the same for Discovery.
    """
    if redis_url:
        site.redis_url = site.bus_url = redis_url
    else:
        with narrator.step("Redis-protocol server"):
            site.start_redis()
    for what, begin in site.bus_steps():
        with narrator.step(what):
            begin()
    site.credentials_url, site.discovery_url = credentials_url, discovery_url
    if not credentials_url:
        with narrator.step("stand-in of Credentials"):
            site.start_credentials(programs, course_runs(programs, learners))
    if not discovery_url:
        with narrator.step("stand-in of Discovery"):
            site.start_discovery(programs)
    site.configure()
    with narrator.step("LMS database, and the programs in the LMS's cache (cache_programs)"):
        site.start_lms()
    with narrator.step("Celery worker"):
        site.start_worker()
    with narrator.step("event consumer (./manage.py lms consume_events)"):
        site.start_consumer()


def play(site, programs, learners, narrator):
    """
    Let learners earn certificates until programs complete, and lose some.

    Args:
        site (Site): a started site.
        programs (list[dict]): the programs.
        learners (list[dict]): the learners.
        narrator (Narrator): tells of it.
    """
    shown = 0
    so_far = {}  # username -> the learner, as far as they have come

    def settle():
        """Wait until all that was begun has arrived at the consumer, and show it."""
        nonlocal shown
        wait_for(lambda: site.refusal() or not site.unfinished_tasks(), "the tasks to finish", alive=[site.worker])
        if refusal := site.refusal():  # Celery would repeat the task for an hour
            raise ProcessError(f"Credentials refused the request of {refusal}")
        site.wait_for_arrival(sum(map(len, expected_events(programs, so_far.values()))))
        for event in (events := site.events())[shown:]:
            narrator.line(f"EVENT {json.dumps(event, ensure_ascii=False)}")
        shown = len(events)

    site.do("create_courses", keys=course_runs(programs, learners))
    for number, learner in enumerate(learners, 1):
        username, certificates = learner["username"], learner["certificates"]
        site.do("create_learner", username=username, email=learner["email"], name=learner["name"])
        site.do("open_record", username=username)
        for certificate in certificates:
            site.do("enrol", username=username, **certificate)
        narrator.progress(number, len(learners), "learners enrolled")
    narrator.line(f"Enrolled {_count(len(learners), 'learner')}; each has looked at their record in Credentials once.")

    # In rounds: no learner earns the next certificate before the tasks of the last are through. Two tasks for one
    # learner at a time may both find a program uncertified, and award, and announce, it twice.
    for turn in range(max(len(learner["certificates"]) for learner in learners)):
        earning = [learner for learner in learners if len(learner["certificates"]) > turn]
        for first in range(0, len(earning), BATCH):
            for learner in earning[first : first + BATCH]:
                site.do("certify", username=learner["username"], **learner["certificates"][turn])
                held = learner["certificates"][: turn + 1]
                so_far[learner["username"]] = {**learner, "certificates": held, "invalidate": []}
                narrator.line(_earned(programs, learner, turn))
            settle()
    for learner in learners:
        for course_run in learner["invalidate"]:
            narrator.line(f"{learner['username']}'s certificate of {course_run} is invalidated")
            site.do("invalidate", username=learner["username"], course_run=course_run)
            so_far[learner["username"]]["invalidate"].append(course_run)
            settle()


def _earned(programs, learner, turn):
    """Say which certificate a learner earns in a turn, and what that leads to."""
    certificates = learner["certificates"]
    course_run, mode = certificates[turn]["course_run"], certificates[turn]["mode"]
    text = f"{learner['username']} earns the certificate of {course_run} ({mode})"
    for program in programs:
        if completed(program, certificates[: turn + 1]) and not completed(program, certificates[:turn]):
            text += f", which completes {_title(program)}"
    if mode not in (modes := modes_that_count(programs, course_run)):
        text += ", which counts for no program" + (f": it has to be {' or '.join(modes)}" if modes else "")
    return text


def _title(program):
    return f"«{program['title'] or program['uuid']}»"


def compare(expected, events):
    """
    Compare events with what was expected.

    Args:
        expected (list[tuple]): event type, username, program uuid of each.
        events (list[dict]): the events, as consumed.

    Returns:
        list[str]: a line for each difference.
    """
    found = Counter(
        (event["type"], certificate["user"]["pii"]["username"], certificate["program"]["uuid"])
        for event in events
        for certificate in [event["data"]["program_certificate"]]
    )
    wanted = Counter(expected)
    return [
        f"{word}: {event_type} for {username} in program {uuid}" + (f", {times} times" if times > 1 else "")
        for word, difference in (("missing", wanted - found), ("unexpected", found - wanted))
        for (event_type, username, uuid), times in difference.items()
    ]


def _announce(programs, learners, expected, narrator):
    """Say what is to come, and what cannot."""
    numbers = [_count(len(programs), "program"), _count(len(learners), "learner"), _count(len(expected), "event")]
    narrator.line(f"{', '.join(numbers)} to come.")
    hopeless = [program for program in programs if obstacle(program)]
    for program in hopeless:
        narrator.line(f"Nobody can complete {_title(program)}: {obstacle(program)}.")
    if not expected and hopeless != programs:
        narrator.line("No learner completes a program: do the two files belong together?")
    narrator.line("Starting:")


class OptionParser(argparse.ArgumentParser):
    """Says in one line what is wrong with an option; ``make`` gives them as environment variables."""

    def error(self, message):
        """End with the message."""
        self.exit(2, f"error: {message}\n")


def parse(argv):
    """Read the options; the environment, and so ``make``, may give each of them."""
    environment = os.environ.get
    parser = OptionParser(prog="python -m testbed.run", description=__doc__, allow_abbrev=False)
    parser.add_argument("--programs", default=environment("PROGRAMS") or DATA / "programs.json", metavar="FILE")
    parser.add_argument("--learners", default=environment("LEARNERS") or DATA / "learners.json", metavar="FILE")
    parser.add_argument("--bus", default=environment("BUS") or "redis", metavar="redis|kafka")
    parser.add_argument("--kafka", default=environment("KAFKA") or MOCK, metavar="|".join(KAFKAS))
    parser.add_argument("--kafka-servers", default=environment("KAFKA_BOOTSTRAP_SERVERS"), metavar="HOST:PORT,...")
    parser.add_argument("--schema-registry-url", default=environment("SCHEMA_REGISTRY_URL"), metavar="URL")
    parser.add_argument("--redis-url", default=environment("REDIS_URL"), metavar="URL")
    parser.add_argument("--credentials-url", default=environment("CREDENTIALS_URL"), metavar="URL")
    parser.add_argument("--discovery-url", default=environment("DISCOVERY_URL"), metavar="URL")
    options = parser.parse_args(argv)
    if not (options.redis_url and options.credentials_url and options.discovery_url):
        try:
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(server.getsockname(), timeout=5).close()
        except OSError as exc:
            parser.error(f"a run needs the loopback interface, and 127.0.0.1 cannot be reached: {exc.strerror or exc}")
    if options.bus not in ("redis", "kafka"):
        parser.error(f"BUS: {options.bus!r} is neither redis nor kafka")
    if options.kafka not in KAFKAS:
        parser.error(f"KAFKA: {options.kafka!r} is neither {' nor '.join(KAFKAS)}")
    if options.bus == "redis":
        options.kafka_servers = options.schema_registry_url = None
    elif options.kafka == APACHE and (problem := apache.find_problem()):
        parser.error(f"KAFKA: {problem}")
    for name in ("credentials_url", "discovery_url", "schema_registry_url"):
        if url := getattr(options, name):
            if not SERVICE_URL.fullmatch(url):
                parser.error(f"{name.upper()}: it has to be http://host:port or the like, without user and password")
            try:
                requests.get(url, timeout=5)  # any answer will do
            except requests.RequestException as exc:
                parser.error(f"{name.upper()}: cannot reach {url}: {type(exc).__name__}")
    options.jwt = {name: environment(name) for name in ("JWT_SECRET_KEY", "JWT_ISSUER", "JWT_AUDIENCE")}
    if (options.credentials_url or options.discovery_url) and not all(options.jwt.values()):
        missing = ", ".join(name for name, value in options.jwt.items() if not value)
        parser.error(f"a service of your own needs the environment variable(s) {missing}, as it has them")
    if options.kafka_servers and (problem := find_problem(options.kafka_servers)):
        parser.error(f"KAFKA_BOOTSTRAP_SERVERS: {problem}")
    if options.redis_url:
        if not REDIS_URL.fullmatch(options.redis_url):
            parser.error(f"REDIS_URL: it has to be redis://user:password@host:port/number or the like; {ENCODED}")
        try:
            with connect(options.redis_url) as client:
                client.ping()
        except (ValueError, TypeError, redis.RedisError) as exc:
            # Neither the URL nor what others say of it: there may be a password in both.
            reason = getattr(exc.__context__, "strerror", None) or type(exc).__name__
            parser.error(f"REDIS_URL: cannot use this Redis: {reason}; {ENCODED}")
    return options


def without_credentials(text, url):
    """Cross out what a Redis, or what speaks with it, may quote of a URL's user name and password."""
    parts = urlsplit(url or "")
    for secret in filter(None, (parts.username, parts.password)):
        text = text.replace(secret, "***").replace(unquote(secret), "***")
    return text


def main(argv=None):
    """
    Run.

    Args:
        argv (list[str]): the options. Defaults to the command line's.

    Returns:
        int: 0 if exactly the expected events arrived, or nobody reads the output any more; 1 if they did not, 2 for
            unusable input, 130 if it was interrupted.
    """
    options = parse(argv)
    narrator = Narrator(sys.stdout)
    try:
        programs, learners = read_programs(options.programs), read_learners(options.learners)
    except InputError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    expected = sum(expected_events(programs, learners), [])

    directory = Path(tempfile.mkdtemp(prefix="program-certificates-"))
    site, problems, code = None, [], 1
    try:
        with Processes(directory) as processes:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, processes.interrupt)
            if options.bus == "kafka":
                kafka = options.kafka, options.kafka_servers, options.schema_registry_url
                site = KafkaSite(processes, directory, *kafka)
            else:
                site = Site(processes, directory)
            if all(options.jwt.values()):
                site.jwt = options.jwt
            _announce(programs, learners, expected, narrator)
            urls = (options.redis_url, options.credentials_url, options.discovery_url)
            start(site, programs, learners, narrator, *urls)
            try:
                play(site, programs, learners, narrator)
                wait_for(lambda: len(site.events()) >= site.count_published(), "the consumer", patience=10)
            except FAILURES as exc:
                problems.append(str(exc))
            problems += compare(expected, site.events())
            narrator.line("Stopping.")
        code = 1 if problems else 0
    except FAILURES as exc:
        problems.append(str(exc))
    except KeyboardInterrupt:
        problems.append("interrupted")
        code = 130
    except ReaderGone:
        code = 0  # as with `make run | head -5`: no failure, and nothing to say any more
    if site and options.redis_url:
        with contextlib.suppress(redis.RedisError):
            site.remove_keys()
    if site and options.kafka_servers:
        site.remove_topic()
    if code != 1:
        shutil.rmtree(directory)
    with contextlib.suppress(ReaderGone):
        for problem in problems:
            _say(f"error: {without_credentials(problem, options.redis_url)}", sys.stderr)
        if code == 1:
            _say(f"The logs are in {directory}", sys.stderr)
        if code == 0:
            narrator.line(f"OK: exactly the {_count(len(expected), 'expected event')} arrived.")
    return code


if __name__ == "__main__":
    sys.exit(main())
