"""
Reads the two files of ``make run``, the programs and the learners; used by the run and by the tests.

The checks are serializers of Django REST framework. attrs, the only other pinned library that checks data, neither
checks types by itself nor names the place of an error in nested data.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.validators import UnicodeUsernameValidator
from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey
from rest_framework import serializers
from rest_framework.fields import empty

DATA = Path(__file__).parent / "data"

# The users as which the LMS calls other services.
SERVICE_USERNAMES = ("credentials_service_user", "lms_catalog_service_user")

AWARDED = "org.openedx.learning.program.certificate.awarded.v1"
REVOKED = "org.openedx.learning.program.certificate.revoked.v1"

Program = dict[str, Any]
Learner = dict[str, Any]


class InputError(Exception):
    """A variable or a file is invalid. The message is one line, and names the variable, or the file and the place."""


class ParsedField(serializers.CharField):
    """A text that a parser can read. The value is what the parser makes of it."""

    def __init__(self, parser: Callable[[str], object], label: str) -> None:
        super().__init__(label=label, max_length=255)
        self.parser = parser

    def to_internal_value(self, data: Any) -> str:
        try:
            return str(self.parser(super().to_internal_value(data)))
        except (ValueError, InvalidKeyError):
            raise serializers.ValidationError(f"{data!r} is no {self.label}.") from None


class DistinctList(serializers.ListSerializer):
    """A list whose items differ in each of their ``distinct`` fields."""

    def validate(self, attrs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for name in self.child.distinct:
            seen: dict[str, int] = {}
            for index, item in enumerate(attrs):
                if (first := seen.setdefault(item[name], index)) != index:
                    problem = f"Duplicate {item[name]!r}: [{first}].{name} is the same."
                    raise serializers.ValidationError({index: {name: [problem]}})
        return attrs


class DiscoverySerializer(serializers.Serializer):
    """An item of a list that Discovery gives. Fields that are not used here pass through."""

    distinct: tuple[str, ...] = ()

    class Meta:
        list_serializer_class = DistinctList

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        return data | super().to_internal_value(data)


class CourseRunSerializer(DiscoverySerializer):
    """Discovery derives a course run's type from its seats. Without seats, the type is null."""

    key = ParsedField(CourseKey.from_string, "course key")
    type = serializers.CharField(allow_null=True)


class CourseSerializer(DiscoverySerializer):
    course_runs = CourseRunSerializer(many=True)


class ProgramSerializer(DiscoverySerializer):
    distinct = ("uuid",)
    uuid = ParsedField(UUID, "UUID")
    title = serializers.CharField(allow_null=True, allow_blank=True)
    status = serializers.CharField(default="active")
    courses = CourseSerializer(many=True)

    def validate_title(self, title: str | None) -> str:
        return title or ""  # the LMS sorts programs by title, and cannot sort null


class OwnSerializer(DiscoverySerializer):
    """An item of a list in our own format. Unknown fields are refused: one may be misspelt."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, dict) and (unknown := sorted(data.keys() - self.fields.keys())):
            raise serializers.ValidationError({unknown[0]: ["There is no such field."]})
        return super().to_internal_value(data)


class CertificateSerializer(OwnSerializer):
    distinct = ("course_run",)
    course_run = ParsedField(CourseKey.from_string, "course key")
    mode = serializers.CharField(max_length=32)


class LearnerSerializer(OwnSerializer):
    """A learner, the certificates they earn in order, and the course runs whose certificates they lose."""

    distinct = ("username", "email")
    username = serializers.CharField(max_length=150, validators=[UnicodeUsernameValidator()])
    email = serializers.EmailField(max_length=254)
    name = serializers.CharField(max_length=255)
    certificates = CertificateSerializer(many=True)
    invalidate = serializers.ListField(child=ParsedField(CourseKey.from_string, "course key"), default=list)

    def validate_username(self, username: str) -> str:
        if username in SERVICE_USERNAMES:
            raise serializers.ValidationError(f"{username!r} is the name of a service user.")
        return username

    def validate(self, attrs: Learner) -> Learner:
        left = {certificate["course_run"] for certificate in attrs["certificates"]}
        for index, key in enumerate(attrs["invalidate"]):
            if key not in left:
                problem = f"The learner has no certificate of {key!r}, or loses it already."
                raise serializers.ValidationError({"invalidate": {index: [problem]}})
            left.remove(key)
        return attrs


def read_programs(path: str | Path) -> list[Program]:
    """Read programs, as Discovery's ``programs/`` API gives them: ``{"programs": [...]}``, a page, or the list."""
    return _read(path, ProgramSerializer, "programs", "results")


def read_learners(path: str | Path) -> list[Learner]:
    """Read learners: ``{"learners": [...]}``, or the list."""
    return _read(path, LearnerSerializer, "learners")


def _read(path: str | Path, serializer: type[DiscoverySerializer], *names: str) -> list[dict[str, Any]]:
    """Read a JSON file: a list, or an object that has the list under one of the names."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        if not text.strip():
            raise InputError(f"{path}: is empty")
        data, place = json.loads(text, object_pairs_hook=_object), ""
        json.dumps(data, allow_nan=False, ensure_ascii=False).encode()  # what cannot be sent is no JSON either
    except OSError as exc:
        raise InputError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:  # also what is no UTF-8
        raise InputError(f"{path}: is no JSON: {exc}") from exc
    if isinstance(data, dict):
        place = next((name for name in names if name in data), names[0])
        data = data.get(place, empty)
    if not settings.configured:  # a run is no Django process, but the serializers look for a translation
        settings.configure(USE_I18N=False)
    try:
        return serializer(many=True, allow_empty=False).run_validation(data)
    except serializers.ValidationError as exc:
        raise InputError(f"{path}: {_first_problem(exc.detail, place)}") from exc


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object in which each field is unique; the json module would keep the last of two."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"{name!r} is there twice in the object that begins {json.dumps(fields)[:60]!r}")
        fields[name] = value
    return fields


def _first_problem(detail: Any, place: str) -> str:
    """Return the first of a serializer's errors after its place, such as ``programs[1].courses[0]``."""
    while not isinstance(detail, str):
        key, detail = next(iter(detail.items() if isinstance(detail, dict) else enumerate(detail)))
        if isinstance(key, int):
            place += "" if isinstance(detail, str) else f"[{key}]"
        elif key != "non_field_errors":
            place += f".{key}" if place else key
    line = f"{place or 'the whole file'}: {detail}"
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)
