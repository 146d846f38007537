"""
A schema registry, the part of it that edx-event-bus-kafka uses: ``python -m testbed.standins.schema_registry``.

It keeps what it has in memory, and takes every schema for compatible with every other: the real one would not.
"""

import json
import threading

from django.http import HttpRequest, JsonResponse
from django.urls import path

from testbed.standins import serving

LOCK = threading.Lock()
SCHEMAS: list[str] = []  # a schema's id is its place


def register(request: HttpRequest, subject: str) -> JsonResponse:
    schema = json.loads(request.body)["schema"]
    with LOCK:
        if schema not in SCHEMAS:
            SCHEMAS.append(schema)
    return JsonResponse({"id": SCHEMAS.index(schema) + 1})


def look_up(request: HttpRequest, number: int) -> JsonResponse:
    if 1 <= number <= len(SCHEMAS):
        return JsonResponse({"schema": SCHEMAS[number - 1]})
    return JsonResponse({"error_code": 40403, "message": "Schema not found"}, status=404)


urlpatterns = [path("subjects/<subject>/versions", register), path("schemas/ids/<int:number>", look_up)]

if __name__ == "__main__":
    serving.serve_module()
