"""
A schema registry, the part of it that edx-event-bus-kafka uses: ``python -m testbed.standins.schema_registry``.

It listens on loopback, prints ``{"url": ...}`` once it accepts requests, and ends on SIGTERM or SIGINT. It keeps what
it has in memory, and takes every schema for compatible with every other: the real one would not.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from testbed.standins.serving import end_on_signals


class Registry(ThreadingHTTPServer):
    """The server; a schema's id is its place."""

    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.schemas = []
        self.lock = threading.Lock()

    def register(self, schema):
        """Return the id of a schema, a new one if it is new."""
        with self.lock:
            if schema not in self.schemas:
                self.schemas.append(schema)
            return self.schemas.index(schema) + 1


class Handler(BaseHTTPRequestHandler):
    """Answers as Confluent Schema Registry does."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as in testbed.standins.serving
    wbufsize = -1  # head and body at once

    def do_POST(self):
        """``/subjects/<subject>/versions``: register a schema."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match urlsplit(self.path).path.split("/"):
            case ["", "subjects", _subject, "versions"]:
                self._answer(200, {"id": self.server.register(request["schema"])})
            case _:
                self._answer(404, {"error_code": 404, "message": "HTTP 404 Not Found"})

    def do_GET(self):
        """``/schemas/ids/<id>``: look a schema up."""
        match urlsplit(self.path).path.split("/"):
            case ["", "schemas", "ids", number] if number in map(str, range(1, len(self.server.schemas) + 1)):
                self._answer(200, {"schema": self.server.schemas[int(number) - 1]})
            case _:
                self._answer(404, {"error_code": 40403, "message": "Schema not found"})

    def _answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main():
    """Serve until a signal comes."""
    end_on_signals()
    registry = Registry()
    print(json.dumps({"url": f"http://127.0.0.1:{registry.server_port}"}), flush=True)
    registry.serve_forever()


if __name__ == "__main__":
    main()
