"""
The fault suite on Kafka: what new and restarted consumers miss, and what else the operators' page says of Kafka.
"""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import psutil
import pytest
from confluent_kafka import OFFSET_INVALID
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from testbed.pages.blocks import named_block
from testbed.run.inputs import AWARDED
from testbed.servers.processes import Process, wait_for
from testbed.site.events import username_of
from testbed.tests.faults.kafka.site import LEARNERS, KafkaFaultSite
from testbed.tests.faults.table import slug

pytestmark = [pytest.mark.e2e, pytest.mark.kafka]

# Says so when a producer is built.
NO_PRODUCER = """
EVENT_BUS_PRODUCER = f"{__name__}.create_producer"


def create_producer():
    print("built a producer")
"""


@dataclass(frozen=True)
class ConsumerFault:
    """
    A row of the table, and its test: what a group misses without a first position, and with the page's.

    What is expected are the other cells of the row in ``docs/faults-kafka.md``. The test waits for so many events.
    """

    fault: str
    play: Callable[[KafkaFaultSite], Process]  # publishes events, and returns the consumer that runs at the end
    before: int = 1  # how many events there are before
    note: str = ""  # may show the seconds from the consumer's start to its last event, as {}
    slow: bool | None = None  # whether those are more than 30, if they are checked
    injected: str = ""  # how, if other rows have the same fault


def new_group(site: KafkaFaultSite) -> Process:
    consumer = site.start_group()
    site.publish(0, 0, 0)
    return consumer


def idle_partitions(site: KafkaFaultSite) -> Process:
    site.end(site.start_group(), signal.SIGINT)
    site.publish(0, 1)
    consumer = site.start_group()
    site.publish(2)
    return consumer


def offset_time(site: KafkaFaultSite) -> Process:
    resetting = site.start_group("--extra", '{"offset_time": "2020-01-01T00:00:00+00:00"}')
    wait_for(lambda: site.count_in_log(resetting.name, "Found offsets for timestamp"), "the offsets")
    site.end(resetting, signal.SIGINT)
    wait_for(lambda: not site.members(), "the session to time out")  # it does not leave the group
    assert site.committed() == [0, OFFSET_INVALID, OFFSET_INVALID]
    site.publish(1)
    consumer = site.start_group()
    site.publish(2)
    return consumer


def restarted(site: KafkaFaultSite, number: signal.Signals) -> Process:
    consumer = site.start_group()
    site.wait_for_events(1)
    site.end(consumer, number)
    site.publish(0, 1)
    return site.start_group()


STARTED = "the next consumer had its events {:.0f} s after its start"
INT, TERM = (partial(restarted, number=number) for number in (signal.SIGINT, signal.SIGTERM))

FAULTS = [
    ConsumerFault("new group on a topic that has events", new_group, before=3),
    ConsumerFault("consumer restarted before it has consumed anything", idle_partitions),
    ConsumerFault("offset_time, and a partition that is empty until then", offset_time),
    ConsumerFault("consumer restarted", INT, note=STARTED, slow=False, injected="SIGINT"),
    ConsumerFault("consumer restarted", TERM, note=STARTED, slow=True, injected="SIGTERM"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda row: slug(f"{row.fault} {row.injected}"))
def test_consumer(apache: KafkaFaultSite, fault: ConsumerFault) -> None:
    published, *expected, _after, _note = apache.documented(fault.fault, fault.injected).cells
    lost = ["–", "–"]  # not measured
    for place, has_position in enumerate((False, True)):
        if expected[place] == "–":
            continue
        apache.begin_topic([0] * fault.before)
        if has_position:
            apache.give_first_position()
        consumer = fault.play(apache)
        apache.wait_for_events(int(published) - int(expected[place]))
        seconds = apache.consumed_file.stat().st_mtime - psutil.Process(consumer.pid).create_time()
        lost[place] = str(apache.count_published() - len(apache.events()))
        assert fault.slow in (None, seconds > 30)
        apache.end(consumer)
    note = fault.note.format(seconds)
    apache.compare(fault.fault, fault.injected, apache.count_published(), *lost, "–", note=note)


def test_registry_silent_while_a_consumer_starts(apache: KafkaFaultSite) -> None:
    # A consumer that gave the registry a time-out would commit past what it cannot decode.
    apache.begin_topic([0, 1], settings=named_block("kafka-flush"))
    apache.give_first_position()
    apache.silence(apache.registry)
    consumer = apache.start_group()
    time.sleep(4)  # longer than the block's time-out
    apache.go_on(apache.registry)
    apache.publish(2)
    apache.wait_for_events(3)
    apache.end(consumer)


def test_topic_of_the_page(apache: KafkaFaultSite) -> None:
    apache.begin_topic()
    admin = AdminClient({"bootstrap.servers": apache.servers})
    assert len(admin.list_topics(apache.stream_key, timeout=10).topics[apache.stream_key].partitions) == 3
    [described] = admin.describe_configs([ConfigResource(ResourceType.TOPIC, apache.stream_key)]).values()
    values = {name: entry.value for name, entry in described.result().items()}
    assert (values["retention.ms"], values["cleanup.policy"]) == ("604800000", "delete")


def test_block_builds_no_producer(site: KafkaFaultSite) -> None:
    site.begin(f"{named_block('kafka-flush')}\n{NO_PRODUCER}")
    assert "built a producer" not in site.manage("check")


def test_first_start_of_a_consumer(site: KafkaFaultSite) -> None:
    site.begin()
    site.store(LEARNERS[:3])
    site.republish()
    site.give_first_position()
    site.start_page_consumer()
    # All that the topic has ever received, published before the group was there.
    site.wait_for_events(site.count_published())
    assert len(site.events()) == site.count_published()
    assert {username_of(event) for event in site.events()} >= set(LEARNERS[:3])
    assert {event["type"] for event in site.events()} == {AWARDED}


def test_look_at_the_topic(site: KafkaFaultSite) -> None:
    site.begin()
    site.store(LEARNERS[:1])
    site.republish()
    assert AWARDED in site.manage("shell", "-c", named_block("kafka-look"))
