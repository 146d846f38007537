"""What a consumer knows that keeps, for each learner, the event with the latest time; for the tests on a site."""

from collections.abc import Iterable
from datetime import datetime

from testbed.run.inputs import AWARDED, REVOKED

STATUS = {AWARDED: "awarded", REVOKED: "revoked"}


def username_of(event: dict) -> str:
    """Return whom an event is about."""
    return event["data"]["program_certificate"]["user"]["pii"]["username"]


def known(events: Iterable[dict]) -> dict[str, str]:
    """Return the status that a consumer knows of each username."""
    # The sort is stable: of two events of one time, the later one counts.
    latest = sorted(events, key=lambda event: datetime.fromisoformat(event["time"]))
    return {username_of(event): STATUS[event["type"]] for event in latest}
