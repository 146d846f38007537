"""
A consumer that is slower than a repair loses events by the repair itself, since a Redis stream keeps no more than its
cap. With ``--enqueue`` and a ``--delay`` chosen for that consumer, it loses none.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from openedx_events.event_bus.avro.deserializer import deserialize_bytes_to_event_data
from openedx_events.learning.signals import PROGRAM_CERTIFICATE_AWARDED

from testbed.large import RepairSite
from testbed.processes import PATIENCE
from testbed.site import GROUP, connect

pytestmark = [pytest.mark.e2e, pytest.mark.scale]

LEARNERS = 400
# Learners that the command hands to Celery at once.
BATCH = 100
# The stream's EVENT_BUS_REDIS_STREAM_MAX_LEN, above a batch. It keeps more: whole nodes of 100 entries are trimmed.
CAP = 150
# Events a second that the consumer takes, by design: so few that also a machine that is busy announces more.
RATE = 10
# As on the operators' page: a third fewer events a second than the consumer can take.
DELAY = 1.5 * BATCH / RATE


class SmallStreamSite(RepairSite):
    """A site whose learners have a certificate each, and whose stream does not take them all."""

    def __init__(self, processes, directory):
        super().__init__(processes, directory, LEARNERS, 1)
        with connect(self.bus_url) as client:
            client.xgroup_create(self.stream_key, GROUP, mkstream=True)

    def bus_settings(self):
        """Return the settings of the bus, with a stream that keeps little."""
        return {**super().bus_settings(), "EVENT_BUS_REDIS_STREAM_MAX_LEN": CAP}

    def republish(self, *options):
        """Run the command for everything, to its end."""
        run = self.start_command("--all", *options)
        assert run.popen.wait(2 * PATIENCE) == 0
        self.processes.forget(run)
        if "--enqueue" in options:
            self.wait_for_tasks()


def consume(site, republished):
    """
    Take events from the stream, as ``consume_events`` does: one, then its work, then the acknowledgement.

    Each takes 1 / RATE seconds. What a busy machine adds to one is taken off the next ones, so the rate stays.

    Args:
        site (SmallStreamSite): where.
        republished (threading.Event): no more events will come.

    Returns:
        list[int]: whose certificates the events were about.
    """
    learners, due = [], time.monotonic()
    with connect(site.bus_url) as client:

        def read(**options):
            found = client.xreadgroup(GROUP, "slow", {site.stream_key: ">"}, count=1, **options)
            return found[0][1] if found else []

        while True:
            over = republished.is_set()  # before the look, which then is the last one
            entries = read()
            if not entries:
                if over:
                    return learners
                entries = read(block=100)
                due = time.monotonic()  # it had nothing to do, which is nothing to catch up on
            for entry_id, fields in entries:
                due += 1 / RATE
                time.sleep(max(0, due - time.monotonic()))
                data = deserialize_bytes_to_event_data(fields[b"event_data"], PROGRAM_CERTIFICATE_AWARDED)
                learners.append(data["program_certificate"].user.id)
                client.xack(site.stream_key, GROUP, entry_id)


def republish_and_consume(site, *options):
    """Run the command beside the slow consumer; return whose certificates the consumer heard of, in the end."""
    republished = threading.Event()
    sent = site.count_added()
    with ThreadPoolExecutor() as pool:
        consumer = pool.submit(consume, site, republished)
        try:
            site.republish(*options)
            assert site.count_added() - sent == LEARNERS
        finally:
            republished.set()
        return consumer.result(PATIENCE)


def test_slow_consumer(processes, tmp_path):
    site = SmallStreamSite(processes, tmp_path)

    heard = republish_and_consume(site)
    assert CAP <= len(site.stream()) < CAP + 100
    # Nobody notices: the run has sent them all, and the consumer has read and acknowledged all that it was given.
    assert len(set(heard)) == len(heard) < LEARNERS

    site.start_worker()
    heard = republish_and_consume(site, "--enqueue", "--delay", str(DELAY))
    assert len(set(heard)) == len(heard) == LEARNERS
