"""
A consumer that is slower than ``republish_program_certificate_events`` loses events by the repair itself, since a Redis
stream keeps no more than its cap; and with ``--delay`` chosen for that consumer, it loses none.
"""

import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from openedx_events.event_bus.avro.deserializer import deserialize_bytes_to_event_data
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED

from testbed.credentials.client import CredentialsControl
from testbed.inputs import read_programs
from testbed.processes import PATIENCE
from testbed.run import DATA
from testbed.site import GROUP, Site, connect

pytestmark = [pytest.mark.e2e, pytest.mark.scale]

LEARNERS = [f"learner{number}" for number in range(400)]

# The stream's EVENT_BUS_REDIS_STREAM_MAX_LEN. It keeps a few more: whole nodes are trimmed, of 15 such events here.
CAP = 100
# Events a second that the consumer takes, by design: so few that also a machine that is busy announces more.
RATE = 40
# Of the API of Credentials. A page is announced at once, so the cap has to be well above it.
PAGE_SIZE = 20
# As on the operators' page: at most PAGE_SIZE / delay events a second, and a third less than the consumer can take.
DELAY = 1.5 * PAGE_SIZE / RATE


class SmallStreamSite(Site):
    """A site whose learners have a certificate each, and whose stream does not take them all."""

    def __init__(self, processes, directory):
        super().__init__(processes, directory)
        programs = read_programs(DATA / "programs.json")
        self.start_redis()
        self.start_credentials(programs)
        self.configure()
        self.manage("migrate", "--verbosity=0")
        self.start_shell()
        self.do("configure", catalog_url="http://127.0.0.1/nobody-asks")
        for username in LEARNERS:
            self.do("create_learner", username=username, email=f"{username}@example.com", name=username)
        record = {"program_uuid": programs[0]["uuid"], "status": "awarded", "modified": datetime.now(UTC).isoformat()}
        CredentialsControl(self.credentials_url).store({"username": username, **record} for username in LEARNERS)
        with connect(self.bus_url) as client:
            client.xgroup_create(self.stream_key, GROUP, mkstream=True)

    def bus_settings(self):
        """Return the settings of the bus, with a stream that keeps little."""
        return {**super().bus_settings(), "EVENT_BUS_REDIS_STREAM_MAX_LEN": CAP}

    def republish(self, *options):
        """Run the command for everything, to its end; return how many certificates it counts as published."""
        run = self.processes.python(
            "republish",
            *("manage.py", "lms", "republish_program_certificate_events", "--all", *options),
            env=self.env(),
            stdout=subprocess.PIPE,
            text=True,
        )
        summary, _ = run.popen.communicate(timeout=PATIENCE)
        self.processes.forget(run)
        assert run.popen.returncode == 0
        return int(re.search(r" published_awarded=(\d+) ", summary)[1])


def consume(site, republished):
    """
    Take events from the stream, as ``consume_events`` does: one, then its work, then the acknowledgement.

    Each takes 1 / RATE seconds. What a busy machine adds to one is taken off the next ones, so the rate stays.

    Args:
        site (SmallStreamSite): where.
        republished (threading.Event): no more events will come.

    Returns:
        list[str]: whose certificates the events were about.
    """
    usernames, due = [], time.monotonic()
    with connect(site.bus_url) as client:

        def read(**options):
            found = client.xreadgroup(GROUP, "slow", {site.stream_key: ">"}, count=1, **options)
            return found[0][1] if found else []

        while True:
            over = republished.is_set()  # before the look, which then is the last one
            entries = read()
            if not entries:
                if over:
                    return usernames
                entries = read(block=100)
                due = time.monotonic()  # it had nothing to do, which is nothing to catch up on
            for entry_id, fields in entries:
                due += 1 / RATE
                time.sleep(max(0, due - time.monotonic()))
                data = deserialize_bytes_to_event_data(fields[b"event_data"], PROGRAM_CERTIFICATE_AWARDED)
                usernames.append(data["program_certificate"].user.pii.username)
                client.xack(site.stream_key, GROUP, entry_id)


def republish_and_consume(site, *options):
    """Run the command beside the slow consumer; return whose certificates the consumer heard of, in the end."""
    republished = threading.Event()
    with ThreadPoolExecutor() as pool:
        consumer = pool.submit(consume, site, republished)
        try:
            assert site.republish(*options) == len(LEARNERS)
        finally:
            republished.set()
        return consumer.result(PATIENCE)


def test_slow_consumer(processes, tmp_path):
    site = SmallStreamSite(processes, tmp_path)

    heard = republish_and_consume(site)
    assert CAP <= len(site.stream()) < 2 * CAP  # a node has 100 entries at most
    # Nobody notices: the run has sent them all, and the consumer has read and acknowledged all that it was given.
    missing = set(LEARNERS) - set(heard)
    assert missing
    assert len(heard) == len(LEARNERS) - len(missing)

    heard = republish_and_consume(site, "--delay", str(DELAY))
    assert set(heard) == set(LEARNERS)
    assert len(heard) == len(LEARNERS)
