"""
What the tests of the change share: a site that is looked at again and again, and how many examples the properties take.
"""

import os

from hypothesis import settings

from testbed.site.site import Site

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
