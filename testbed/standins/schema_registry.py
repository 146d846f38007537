"""
A schema registry, the part of it that edx-event-bus-kafka uses: ``python -m testbed.standins.schema_registry``.

It listens on loopback, prints ``{"url": ...}`` once it accepts requests, and ends on SIGTERM or SIGINT. It keeps what
it has in memory, and takes every schema for compatible with every other: the real one would not.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from testbed.standins.serving import end_on_signals

LOCK = threading.Lock()
SCHEMAS: list[str] = []  # a schema's id is its place


class Handler(BaseHTTPRequestHandler):
    """Answers as Confluent Schema Registry does."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as in testbed.standins.serving
    wbufsize = -1  # head and body at once

    def do_POST(self) -> None:
        """``/subjects/<subject>/versions``: register a schema."""
        schema = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["schema"]
        with LOCK:
            if schema not in SCHEMAS:
                SCHEMAS.append(schema)
        self._answer(200, {"id": SCHEMAS.index(schema) + 1})

    def do_GET(self) -> None:
        """``/schemas/ids/<id>``: look a schema up."""
        number = self.path.partition("?")[0].removeprefix("/schemas/ids/")
        if number in map(str, range(1, len(SCHEMAS) + 1)):
            self._answer(200, {"schema": SCHEMAS[int(number) - 1]})
        else:
            self._answer(404, {"error_code": 40403, "message": "Schema not found"})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """Serve until a signal comes."""
    end_on_signals()
    registry = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(json.dumps({"url": f"http://127.0.0.1:{registry.server_port}"}), flush=True)
    registry.serve_forever()


if __name__ == "__main__":
    main()
