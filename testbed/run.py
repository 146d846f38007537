"""
``make run``: watch course certificates become program certificates, and those become events.

Everything is real and on loopback: a Redis-protocol server, an LMS database, a prefork Celery worker, an event-bus
consumer, and stand-ins of Credentials and Discovery that answer as those services do.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import redis
import requests

from testbed.inputs import InputError, completed, course_runs, expected_events, read_learners, read_programs
from testbed.processes import ProcessError, Processes, wait_for
from testbed.site import Site, connect

DATA = Path(__file__).parent / "data"

# What a process, or a Redis of the user's own, can do to a run.
FAILURES = (ProcessError, OSError, redis.RedisError)

# Learners who earn a certificate at the same time.
BATCH = 20


class Narrator:
    """Tells a person what happens, with the time that it took where they had to wait."""

    def __init__(self, stream):
        self.stream = stream

    def line(self, text=""):
        """Print a line."""
        print(text, file=self.stream, flush=True)

    @contextlib.contextmanager
    def step(self, text):
        """Print what is being done, then, once it is, how long it took."""
        started = time.monotonic()
        print(f"  {text} ...", end=" ", file=self.stream, flush=True)
        try:
            yield
        except BaseException:
            self.line("not done")
            raise
        self.line(f"{time.monotonic() - started:.1f} s")

    def progress(self, done, total, what):
        """On a terminal, print a line that the next one overwrites."""
        if self.stream.isatty():
            end = "\n" if done == total else ""
            print(f"\r  {done} of {total} {what}", end=end, file=self.stream, flush=True)


def start(site, programs, narrator, redis_url=None, credentials_url=None, discovery_url=None):
    """
    Start a site.

    Args:
        site (Site): what to start.
        programs (list[dict]): the programs that Discovery has.
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
    site.credentials_url, site.discovery_url = credentials_url, discovery_url
    if not credentials_url:
        with narrator.step("stand-in of Credentials"):
            site.start_credentials(programs)
    if not discovery_url:
        with narrator.step("stand-in of Discovery"):
            site.start_discovery(programs)
    site.configure()
    with narrator.step("LMS database"):
        site.manage("migrate", "--verbosity=0")
    with narrator.step("LMS"):
        site.start_shell()
        site.do("configure", catalog_url=f"{site.discovery_url.rstrip('/')}/api/v1")
    with narrator.step("programs into the LMS's cache (./manage.py lms cache_programs)"):
        site.manage("cache_programs")
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
        learners (list[Learner]): the learners.
        narrator (Narrator): tells of it.
    """
    titles = {program["uuid"]: program["title"] for program in programs}
    shown = 0

    def settle():
        """Wait until all that was begun has arrived at the consumer, and show it."""
        nonlocal shown
        site.wait_for_tasks()
        site.wait_for_events(len(site.stream()))
        for event in (events := site.events())[shown:]:
            narrator.line(f"EVENT {json.dumps(event, ensure_ascii=False)}")
        shown = len(events)

    site.do("create_courses", keys=course_runs(programs, learners))
    for number, learner in enumerate(learners, 1):
        site.do("create_learner", username=learner.username, email=learner.email, name=learner.name)
        site.do("open_record", username=learner.username)
        for certificate in learner.certificates:
            site.do("enrol", username=learner.username, course_run=certificate.course_run, mode=certificate.mode)
        narrator.progress(number, len(learners), "learners enrolled")
    narrator.line(f"Enrolled {len(learners)} learners; each has looked at their record in Credentials once.")

    # In rounds: no learner earns the next certificate before the tasks of the last are through. Two tasks for one
    # learner at a time may both find a program uncertified, and award, and announce, it twice.
    for turn in range(max(len(learner.certificates) for learner in learners)):
        earning = [learner for learner in learners if len(learner.certificates) > turn]
        for first in range(0, len(earning), BATCH):
            for learner in earning[first : first + BATCH]:
                certificate = learner.certificates[turn]
                site.do("certify", username=learner.username, **vars(certificate))
                held, before = learner.certificates[: turn + 1], learner.certificates[:turn]
                done = [
                    titles[program["uuid"]]
                    for program in programs
                    if completed(program, held) and not completed(program, before)
                ]
                narrator.line(
                    f"{learner.username} earns the certificate of {certificate.course_run} ({certificate.mode})"
                    + "".join(f", which completes «{title}»" for title in done)
                )
            settle()
    for learner in learners:
        for course_run in learner.invalidate:
            narrator.line(f"{learner.username}'s certificate of {course_run} is invalidated")
            site.do("invalidate", username=learner.username, course_run=course_run)
            settle()


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
    parser.add_argument("--redis-url", default=environment("REDIS_URL"), metavar="URL")
    parser.add_argument("--credentials-url", default=environment("CREDENTIALS_URL"), metavar="URL")
    parser.add_argument("--discovery-url", default=environment("DISCOVERY_URL"), metavar="URL")
    options = parser.parse_args(argv)
    for name in ("credentials_url", "discovery_url"):
        if url := getattr(options, name):
            try:
                requests.get(url, timeout=5)  # any answer will do
            except requests.RequestException as exc:
                parser.error(f"{name.upper()}: cannot reach {url}: {type(exc).__name__}")
    options.jwt = {name: environment(name) for name in ("JWT_SECRET_KEY", "JWT_ISSUER", "JWT_AUDIENCE")}
    if (options.credentials_url or options.discovery_url) and not all(options.jwt.values()):
        missing = ", ".join(name for name, value in options.jwt.items() if not value)
        parser.error(f"a service of your own needs the environment variable(s) {missing}, as it has them")
    if options.redis_url:
        try:
            with connect(options.redis_url) as client:
                client.ping()
        except (ValueError, redis.RedisError) as exc:
            # Not the URL: it may have a password in it.
            parser.error(f"REDIS_URL: {exc}")
    return options


def main(argv=None):
    """
    Run.

    Args:
        argv (list[str]): the options. Defaults to the command line's.

    Returns:
        int: 0 if exactly the expected events arrived, 1 if not, 2 for unusable input, 130 if it was interrupted.
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
            site = Site(processes, directory)
            if all(options.jwt.values()):
                site.jwt = options.jwt
            narrator.line(f"{len(programs)} programs, {len(learners)} learners, {len(expected)} events to come.")
            if not expected:
                narrator.line("No learner completes a program: do the two files belong together?")
            narrator.line("Starting:")
            start(site, programs, narrator, options.redis_url, options.credentials_url, options.discovery_url)
            try:
                play(site, programs, learners, narrator)
                wait_for(lambda: len(site.events()) >= len(site.stream()), "the consumer", patience=10)
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
    if site and options.redis_url:
        with contextlib.suppress(redis.RedisError):
            site.remove_keys()
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if code == 1:
        print(f"The logs are in {directory}", file=sys.stderr)
        return code
    shutil.rmtree(directory)
    if code == 0:
        narrator.line(f"OK: exactly the {len(expected)} expected events arrived.")
    return code


if __name__ == "__main__":
    sys.exit(main())
