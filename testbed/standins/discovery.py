"""
A local stand-in of Discovery, what ``cache_programs`` reads: ``python -m testbed.standins.discovery --programs FILE``.

The environment has to have ``DISCOVERY_JWT_SECRET_KEY``, ``DISCOVERY_JWT_ISSUER`` and ``DISCOVERY_JWT_AUDIENCE``. It is
test tooling, never to be exposed to a network.
"""

import argparse
import json
import socketserver
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

from testbed.standins import serving

PROGRAMS: dict[str, dict[str, Any]] = {}


class Handler(serving.JSONHandler):
    def do_GET(self) -> None:
        """``programs/?uuids_only=1``, filtered by ``status``, which may be repeated, and ``programs/<uuid>/``."""
        url = urlsplit(self.path)
        query, name = parse_qs(url.query), url.path.removeprefix("/api/v1/programs/").rstrip("/")
        try:
            claims = serving.read_token(self.headers.get("Authorization", ""), "DISCOVERY")
        except jwt.InvalidTokenError:
            claims = None
        if not claims:
            self.answer(401, {"detail": "Invalid token."}, {"WWW-Authenticate": serving.CHALLENGE})
        elif name in PROGRAMS:
            self.answer(200, PROGRAMS[name])
        elif name:
            self.answer(404, {"detail": "Not found."})
        elif query.get("uuids_only") != ["1"]:
            self.answer(400, {"uuids_only": "It has to be 1."})
        else:
            statuses = query.get("status")
            self.answer(200, [uuid for uuid, item in PROGRAMS.items() if not statuses or item["status"] in statuses])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True, type=Path, metavar="FILE", help="programs JSON")
    programs = json.loads(parser.parse_args().programs.read_text(encoding="utf-8"))["programs"]
    PROGRAMS.update({program["uuid"]: program for program in programs})
    serving.serve(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler))
