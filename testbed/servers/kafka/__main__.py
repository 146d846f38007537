"""
Says on which Kafka the tests run: ``python -m testbed.servers.kafka``, for ``make test-kafka``.

It prints ``apache`` or ``mock``, and on standard error what that is. ``KAFKA`` decides; without it, Apache Kafka if it
can be started, which takes a download when it is the first time.
"""

import os
import sys

from testbed.servers.kafka import APACHE, KAFKAS, MOCK
from testbed.servers.kafka.apache import find_problem, versions


def main() -> int:
    """Choose; return 0, or 2 if what ``KAFKA`` names cannot be had."""
    wanted = os.environ.get("KAFKA")
    if wanted and wanted not in KAFKAS:
        problem = f"{wanted!r} is neither {' nor '.join(KAFKAS)}"
    else:
        problem = "" if wanted == MOCK else find_problem()
    if problem and wanted:
        print(f"error: KAFKA: {problem}", file=sys.stderr)
        return 2
    chosen = wanted or (MOCK if problem else APACHE)
    text = versions() if chosen == APACHE else ", ".join(KAFKAS[MOCK])
    print(f"Kafka of the tests: {text}" + (f" ({problem})" if problem else ""), file=sys.stderr)
    print(chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
