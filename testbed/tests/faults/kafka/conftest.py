"""Fixtures of the fault suite on Kafka: one site, to which the faults happen one after the other."""

from collections.abc import Iterator

import pytest

from testbed.servers.kafka import APACHE
from testbed.servers.processes import Processes
from testbed.tests.conftest import leftovers
from testbed.tests.faults.kafka.site import KafkaFaultSite


@pytest.fixture(scope="session")
def kafka_site(tmp_path_factory: pytest.TempPathFactory, kafka: str) -> Iterator[KafkaFaultSite]:
    """Start the site."""
    directory = tmp_path_factory.mktemp("kafka")
    with Processes(directory) as processes:
        yield KafkaFaultSite(processes, directory, kafka)
    assert not leftovers(directory)


@pytest.fixture
def site(kafka_site: KafkaFaultSite) -> Iterator[KafkaFaultSite]:
    """The site, with a broker and a registry that answer at once, and no worker."""
    yield kafka_site
    kafka_site.heal()


@pytest.fixture
def apache(site: KafkaFaultSite) -> KafkaFaultSite:
    """The site, if its broker is Apache Kafka: the mock cluster has no admin API, and lets consumers join slowly."""
    if site.kafka != APACHE:
        pytest.skip("KAFKA: this shows itself on Apache Kafka only")
    return site
