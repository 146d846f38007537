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

from testbed.servers.processes import PATIENCE, wait_for
from testbed.servers.valkey import connect
from testbed.site.large import RepairSite
from testbed.site.site import GROUP

pytestmark = [pytest.mark.e2e, pytest.mark.scale]

LEARNERS = 400
# Learners that the command hands to Celery at once.
BATCH = 100
# The stream's EVENT_BUS_REDIS_STREAM_MAX_LEN, above a batch. It keeps more: whole nodes of 100 entries are trimmed.
CAP = 150
# Events that the consumer takes in a second, and the delay for a third of them: on a busy machine it takes fewer.
RATE = 20
DELAY = 3 * BATCH / RATE


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


def consume(site, republished, wait):
    """
    Take events from the stream, as ``consume_events`` does: one, then its work, then the acknowledgement.

    Args:
        site (SmallStreamSite): where.
        republished (threading.Event): no more events will come.
        wait (callable): takes the time that an event takes, given how many were taken before.

    Returns:
        list[int]: whose certificates the events were about.
    """
    learners = []
    with connect(site.bus_url) as client:
        while True:
            over = republished.is_set()  # before the look, which then is the last one
            found = client.xreadgroup(GROUP, "slow", {site.stream_key: ">"}, count=1, block=100)
            if not found and over:
                return learners
            for entry_id, fields in found[0][1] if found else []:
                wait(len(learners))
                data = deserialize_bytes_to_event_data(fields[b"event_data"], PROGRAM_CERTIFICATE_AWARDED)
                learners.append(data["program_certificate"].user.id)
                client.xack(site.stream_key, GROUP, entry_id)


def republish_and_consume(site, *options, rate=None):
    """
    Run the command beside a slow consumer.

    Args:
        site (SmallStreamSite): where.
        options (str): of the command.
        rate (float): events a second that the consumer takes. By default one for four that are sent.

    Returns:
        list[int]: whose certificates the consumer heard of, in the end.
    """
    republished, sent = threading.Event(), site.count_added()

    def wait(taken):
        if rate:
            time.sleep(1 / rate)
        else:
            wait_for(lambda: republished.is_set() or site.count_added() - sent > 4 * taken, "more events")

    with ThreadPoolExecutor() as pool:
        consumer = pool.submit(consume, site, republished, wait)
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
    heard = republish_and_consume(site, "--enqueue", "--delay", str(DELAY), rate=RATE)
    assert len(set(heard)) == len(heard) == LEARNERS
