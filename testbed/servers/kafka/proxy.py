"""A TCP proxy on loopback whose answers come late, as from a server that is far away: ``ApacheKafka`` has one."""

import asyncio
import contextlib
import threading


class Proxy:
    """
    The proxy. It runs in a thread of this process, and passes connections on to ``target`` once that is set.

    Attributes:
        port: where it listens.
        target: the port, also on loopback, to which it connects.
        rtt: how many seconds late each answer of the target comes.
    """

    target: int

    def __init__(self) -> None:
        self.port, self.rtt = 0, 0.0
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._server: asyncio.Server | None = None
        self.open()

    def open(self) -> None:
        """Accept connections, on the same port as before."""
        if self._server and self._server.is_serving():
            return
        serving = asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Refuse connections; those that are open stay."""
        if self._server:
            self._loop.call_soon_threadsafe(self._server.close)

    async def _connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            target, to_target = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            to_client.close()
            return
        await asyncio.gather(self._pass(client, to_target), self._pass(target, to_client, late=True))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late: bool = False) -> None:
        """Write what is read, in its order and each piece at its time: the delays of several do not add up."""
        due, data = 0.0, b"more"
        while data:
            data = b""  # at the end, or when the connection breaks
            with contextlib.suppress(ConnectionError):
                data = await reader.read(65536)
            # The loop promises no order to calls that are due at the same time.
            due = max(due + 1e-6, self._loop.time() + (self.rtt if late else 0))
            self._loop.call_at(due, *((writer.write, data) if data else (writer.close,)))
