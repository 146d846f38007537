"""
What the tests of the change share: the processes of a file's site, and how many examples the properties take.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from testbed.servers.processes import Processes
from testbed.site.site import Site
from testbed.tests.conftest import leftovers

# `make test` takes a few examples, and `make test-change` the full number.
settings.register_profile("change", max_examples=int(os.environ.get("EXAMPLES", 30)), deadline=None, print_blob=True)
settings.load_profile("change")


class WatchedSite(Site):
    """A site whose tests run one after the other; each looks at the events that came since the last look."""

    seen = 0

    def new_events(self) -> list[dict]:
        """Return the new events, once all that were sent have arrived."""
        self.wait_for_events(self.count_published())
        new = self.events()[self.seen :]
        self.seen += len(new)
        return new


@pytest.fixture(scope="module")
def shared_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Start processes that end with the tests of a file."""
    directory = tmp_path_factory.mktemp("site")
    with Processes(directory) as running:
        yield running
    assert not leftovers(directory)
