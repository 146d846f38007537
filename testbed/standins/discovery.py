"""
A local stand-in of Discovery, what ``cache_programs`` reads: ``python -m testbed.standins.discovery --programs FILE``.

The environment has to have ``DISCOVERY_JWT_SECRET_KEY``, ``DISCOVERY_JWT_ISSUER`` and ``DISCOVERY_JWT_AUDIENCE``. It is
test tooling, never to be exposed to a network.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jwt
from django.http import HttpRequest, JsonResponse
from django.urls import path

from testbed.standins import serving

PROGRAMS: dict[str, dict[str, Any]] = {}


def programs(request: HttpRequest, name: str = "") -> JsonResponse:
    """``programs/?uuids_only=1``, filtered by ``status``, which may be repeated, and ``programs/<uuid>/``."""
    try:
        claims = serving.read_token(request.headers.get("Authorization", ""), "DISCOVERY")
    except jwt.InvalidTokenError:
        claims = None
    if not claims:
        return JsonResponse({"detail": "Invalid token."}, status=401, headers={"WWW-Authenticate": serving.CHALLENGE})
    if name:
        return JsonResponse(PROGRAMS.get(name, {"detail": "Not found."}), status=200 if name in PROGRAMS else 404)
    if request.GET.get("uuids_only") != "1":
        return JsonResponse({"uuids_only": "It has to be 1."}, status=400)
    statuses = request.GET.getlist("status")
    uuids = [uuid for uuid, program in PROGRAMS.items() if not statuses or program["status"] in statuses]
    return JsonResponse(uuids, safe=False)


urlpatterns = [path("api/v1/programs/", programs), path("api/v1/programs/<name>/", programs)]

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True, type=Path, metavar="FILE", help="programs JSON")
    data = json.loads(parser.parse_args().programs.read_text(encoding="utf-8"))
    PROGRAMS.update({program["uuid"]: program for program in data["programs"]})
    serving.serve_module()
