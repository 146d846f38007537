"""
``make run``: watch course certificates become program certificates, and those become events.

Everything is real and on loopback: a Redis-protocol server, an LMS database, a prefork Celery worker, an event-bus
consumer, and stand-ins of Credentials and Discovery that answer as those services do. With ``BUS=kafka`` the events
leave through Kafka instead of Redis; ``testbed.servers.kafka`` says how real that is.
"""

import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import redis

from testbed.run.comparing import expected_events
from testbed.run.inputs import InputError, read_learners, read_programs
from testbed.run.narrating import Narrator, ReaderGone, count
from testbed.run.options import JWT, read_options, without_credentials
from testbed.run.playing import FAILURES, play, start
from testbed.servers.processes import Processes
from testbed.site.kafka import KafkaSite
from testbed.site.site import Site


def main(arguments: Sequence[str] = ()) -> int:
    """
    Run; return the exit code.

    It is 0 if exactly the expected events arrived, or if the output's reader is gone; 1 if they did not arrive; 2 if an
    input is invalid; 130 if the run was interrupted.
    """
    try:
        if arguments:
            raise InputError("there are no arguments; README.md lists the environment variables")
        options = read_options()
        programs, learners = read_programs(options["PROGRAMS"]), read_learners(options["LEARNERS"])
    except InputError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    narrator, errors = Narrator(sys.stdout), Narrator(sys.stderr)
    events = len(expected_events(programs, learners))
    directory = Path(tempfile.mkdtemp(prefix="program-certificates-"))
    site, problems, code = None, [], 1
    try:
        with Processes(directory) as processes:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, processes.interrupt)
            site = _site(processes, directory, options)
            narrator.announce(programs, learners, events)
            start(site, programs, learners, narrator)
            problems = play(site, programs, learners, narrator)
            narrator.line("Stopping.")
        code = 1 if problems else 0
    except FAILURES as exc:
        problems.append(str(exc))
    except KeyboardInterrupt:
        problems.append("interrupted")
        code = 130
    except ReaderGone:
        code = 0  # as with `make run | head -5`: not a failure, and there is nothing more to print
    if site and options["REDIS_URL"]:
        with contextlib.suppress(redis.RedisError):
            site.remove_keys()
    if isinstance(site, KafkaSite) and options["KAFKA_BOOTSTRAP_SERVERS"]:
        site.remove_topic()
    if code != 1:
        shutil.rmtree(directory)
    with contextlib.suppress(ReaderGone):
        for problem in problems:
            errors.line(f"error: {without_credentials(problem, options['REDIS_URL'])}")
        if code == 1:
            errors.line(f"The logs are in {directory}")
        if code == 0:
            narrator.line(f"OK: exactly the {count(events, 'expected event')} arrived.")
    return code


def _site(processes: Processes, directory: Path, options: dict[str, str]) -> Site:
    if options["BUS"] == "kafka":
        kafka = options["KAFKA"], options["KAFKA_BOOTSTRAP_SERVERS"], options["SCHEMA_REGISTRY_URL"]
        site: Site = KafkaSite(processes, directory, *kafka)
    else:
        site = Site(processes, directory)
    site.redis_url = site.bus_url = options["REDIS_URL"]
    site.credentials_url, site.discovery_url = options["CREDENTIALS_URL"], options["DISCOVERY_URL"]
    if all(options[name] for name in JWT):
        site.jwt = {name: options[name] for name in JWT}
    return site


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
