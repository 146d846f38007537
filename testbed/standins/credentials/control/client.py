"""Drives the local stand-in of Credentials (its faults, and what it has stored) through HTTP, for sites and tests."""

from collections.abc import Iterable
from typing import Any

import requests


class CredentialsControl:
    """The control endpoint of a running stand-in, at the URL that it printed; ``control.api`` is the other side."""

    def __init__(self, url: str) -> None:
        self.url = f"{url.rstrip('/')}/_standin/"

    def fault(self, kind: str, **options: Any) -> int:
        """
        Append a fault; it is applied to the next ``times`` matching requests (None: until cleared).

        Args:
            kind: one of ``testbed.standins.credentials.control.faults.KINDS``
            options: ``times``, ``method``, ``path`` (such as ``credentials/``) and ``type``; for ``status``, and for
                ``status_after``, which carries the request out before it answers so, also ``status``, ``headers``
                (such as a redirect's ``Location``) and ``body``; for ``delay`` also ``seconds``

        Returns:
            Its id.
        """
        return self._do("fault", kind=kind, **options)

    def clear(self) -> None:
        """Forget all faults and release what they hold."""
        self._do("clear")

    def held(self) -> int:
        """Return how many requests are held at this moment."""
        return self._do("report")["held"]

    def applied(self, fault_id: int | None = None) -> int:
        """Return how often a fault was applied; without an id, how often all together that were not cleared."""
        faults = self._do("report")["faults"]
        return sum(fault["applied"] for fault in faults if fault_id in (None, fault["id"]))

    def credentials(self) -> list[dict[str, Any]]:
        """Return all stored certificates, with the history of each."""
        return self._do("credentials")

    def requests(self) -> list[dict[str, Any]]:
        """Return the API requests so far: method, path, type, status (None: no answer) and fault of each."""
        return self._do("requests")

    def store(self, records: Iterable[dict[str, str]]) -> None:
        """Store program certificates: their username, program_uuid, status, modified (ISO 8601), perhaps created."""
        self._do("store", records=list(records))

    def change_status(self, usernames: Iterable[str], status: str) -> None:
        """Change the status of all program certificates of some learners, and nothing else: ``modified`` stays."""
        self._do("change_status", usernames=list(usernames), status=status)

    def delete(self, usernames: Iterable[str]) -> None:
        """Delete all program certificates of some learners for good."""
        self._do("delete", usernames=list(usernames))

    def set_clock(self, offset: float) -> None:
        """Have certificates stamped by a clock that is so many seconds ahead or, below 0, behind."""
        self._do("set_clock", offset=offset)

    def _do(self, action: str, **arguments: Any) -> Any:
        response = requests.post(self.url, json={"do": action, **arguments}, timeout=30)
        if not response.ok:
            raise ValueError(f"{action}: {response.status_code} {response.text}")
        return response.json() if response.content else None
