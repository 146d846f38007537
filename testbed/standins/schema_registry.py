"""
A schema registry, the part of it that edx-event-bus-kafka uses: ``python -m testbed.standins.schema_registry``.

It keeps what it has in memory, and takes every schema for compatible with every other: the real one would not.
"""

import json
import socketserver
import threading

from testbed.standins import serving

LOCK = threading.Lock()
SCHEMAS: list[str] = []  # a schema's id is its place


class Handler(serving.JSONHandler):
    def do_POST(self) -> None:
        """``/subjects/<subject>/versions``: register a schema."""
        schema = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["schema"]
        with LOCK:
            if schema not in SCHEMAS:
                SCHEMAS.append(schema)
        self.answer(200, {"id": SCHEMAS.index(schema) + 1})

    def do_GET(self) -> None:
        """``/schemas/ids/<id>``: look a schema up."""
        number = self.path.partition("?")[0].removeprefix("/schemas/ids/")
        if number in map(str, range(1, len(SCHEMAS) + 1)):
            self.answer(200, {"schema": SCHEMAS[int(number) - 1]})
        else:
            self.answer(404, {"error_code": 40403, "message": "Schema not found"})


if __name__ == "__main__":
    serving.serve(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler))
