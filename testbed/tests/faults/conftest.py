"""Fixtures of the fault suites on Redis: one site, whose scenes follow each other."""

from collections.abc import Iterator

import pytest

from testbed.servers.processes import Processes
from testbed.tests.conftest import leftovers
from testbed.tests.faults.scene import Scene
from testbed.tests.faults.site import FaultSite


@pytest.fixture(scope="session")
def fault_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultSite]:
    """Start the site that all faults happen to, one after the other."""
    directory = tmp_path_factory.mktemp("faults")
    with Processes(directory) as processes:
        yield FaultSite(processes, directory)
    assert not leftovers(directory)


@pytest.fixture
def scene(fault_site: FaultSite, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Set the scene of a row. When the test is over, everything runs again."""
    yield Scene(fault_site, request.node.callspec.id)
    fault_site.heal()
    fault_site.credentials.set_clock(0)
