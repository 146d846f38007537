"""
A TCP proxy on loopback whose answers come late, as from a server that is far away.
"""

import asyncio
import contextlib
import threading


class Proxy:
    """
    The proxy. It runs in a thread of this process, and passes connections on to ``target`` once that is set.

    Attributes:
        port (int): where it listens.
        target (int): the port, also on loopback, to which it connects.
        rtt (float): how many seconds late each answer of the target comes.
    """

    def __init__(self):
        self.port, self.target, self.rtt = 0, None, 0
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._server = None
        self.open()

    def open(self):
        """Accept connections, on the same port as before."""
        if self._server and self._server.is_serving():
            return
        serving = asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self):
        """Refuse connections; those that are open stay."""
        self._loop.call_soon_threadsafe(self._server.close)

    async def _connected(self, client, to_client):
        try:
            target, to_target = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            to_client.close()
            return
        await asyncio.gather(self._pass(client, to_target), self._pass(target, to_client, late=True))

    async def _pass(self, reader, writer, late=False):
        """Write what is read, in its order and each piece at its time: the delays of several do not add up."""
        due, data = 0, True
        while data:
            data = b""  # at the end, or when the connection breaks
            with contextlib.suppress(ConnectionError):
                data = await reader.read(65536)
            # The loop promises no order to calls that are due at the same time.
            due = max(due + 1e-6, self._loop.time() + (self.rtt if late else 0))
            self._loop.call_at(due, *((writer.write, data) if data else (writer.close,)))
