"""
Reads the two files of a local run, the programs and the learners, and tells what events they must lead to.

Whatever is wrong with a file is one ``InputError`` that names the file and the place, before anything is started.
"""

import json
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.contrib.auth.validators import UnicodeUsernameValidator
from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey
from rest_framework import serializers
from rest_framework.fields import empty

# Of a program in Discovery: only these reach the LMS.
LISTED_STATUSES = ("active", "retired")

# The users that the LMS and other services speak as.
SERVICE_USERNAMES = ("credentials_service_user", "lms_catalog_service_user")

AWARDED = "org.openedx.learning.program.certificate.awarded.v1"
REVOKED = "org.openedx.learning.program.certificate.revoked.v1"


class InputError(Exception):
    """A file that cannot be used; the message names the file and the place."""


class ParsedField(serializers.CharField):
    """A text that a parser can read, in the form that the parser gives it."""

    def __init__(self, parser, label):
        super().__init__(label=label, max_length=255)
        self.parser = parser

    def to_internal_value(self, data):
        try:
            return str(self.parser(super().to_internal_value(data)))
        except (ValueError, InvalidKeyError):
            raise serializers.ValidationError(f"{data!r} is no {self.label}.") from None


class DistinctList(serializers.ListSerializer):
    """A list whose items differ in each of their ``distinct`` fields."""

    def validate(self, attrs):
        for name in self.child.distinct:
            seen = {}
            for index, item in enumerate(attrs):
                if (first := seen.setdefault(item[name], index)) != index:
                    problem = f"Duplicate {item[name]!r}: [{first}].{name} is the same."
                    raise serializers.ValidationError({index: {name: [problem]}})
        return attrs


class DiscoverySerializer(serializers.Serializer):
    """An item of a list that Discovery gives; the fields that are of no use here pass through."""

    distinct = ()

    class Meta:
        list_serializer_class = DistinctList

    def to_internal_value(self, data):
        known = super().to_internal_value(data)
        return data | known


class CourseRunSerializer(DiscoverySerializer):
    """A course run. Discovery derives the type from the seats, and has none without them."""

    key = ParsedField(CourseKey.from_string, "course key")
    type = serializers.CharField(allow_null=True)


class CourseSerializer(DiscoverySerializer):
    """A course."""

    course_runs = CourseRunSerializer(many=True)


class ProgramSerializer(DiscoverySerializer):
    """A program."""

    distinct = ("uuid",)
    uuid = ParsedField(UUID, "UUID")
    title = serializers.CharField(allow_null=True, allow_blank=True)
    status = serializers.CharField(default="active")
    courses = CourseSerializer(many=True)

    def validate_title(self, title):
        return title or ""  # the LMS sorts programs by title, and cannot sort null


class OwnSerializer(DiscoverySerializer):
    """An item in a form of our own, of which no other field is taken: a misspelt one would go unnoticed."""

    def to_internal_value(self, data):
        if isinstance(data, dict) and (unknown := sorted(data.keys() - self.fields.keys())):
            raise serializers.ValidationError({unknown[0]: ["There is no such field."]})
        return super().to_internal_value(data)


class CertificateSerializer(OwnSerializer):
    """A certificate that a learner earns."""

    distinct = ("course_run",)
    course_run = ParsedField(CourseKey.from_string, "course key")
    mode = serializers.CharField(max_length=32)


class LearnerSerializer(OwnSerializer):
    """A learner, the certificates they earn one after the other, and the course runs whose certificate they lose."""

    distinct = ("username", "email")
    username = serializers.CharField(max_length=150, validators=[UnicodeUsernameValidator()])
    email = serializers.EmailField(max_length=254)
    name = serializers.CharField(max_length=255)
    certificates = CertificateSerializer(many=True)
    invalidate = serializers.ListField(child=ParsedField(CourseKey.from_string, "course key"), default=list)

    def validate_username(self, username):
        if username in SERVICE_USERNAMES:
            raise serializers.ValidationError(f"{username!r} is the name of a service user.")
        return username

    def validate(self, attrs):
        left = {certificate["course_run"] for certificate in attrs["certificates"]}
        for index, key in enumerate(attrs["invalidate"]):
            if key not in left:
                problem = f"The learner has no certificate of {key!r}, or loses it already."
                raise serializers.ValidationError({"invalidate": {index: [problem]}})
            left.remove(key)
        return attrs


def read_programs(path):
    """Read programs, as Discovery's ``programs/`` API gives them: ``{"programs": [...]}``, a page, or the list."""
    return _read(path, ProgramSerializer, "programs", "results")


def read_learners(path):
    """Read learners: ``{"learners": [...]}``, or the list."""
    return _read(path, LearnerSerializer, "learners")


def _read(path, serializer, *names):
    """Read a JSON file: a list, or an object with the list under the first of the names that it has."""
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


def _object(pairs):
    """Make an object that has each field once; JSON's own reader would keep the last of two."""
    fields = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"{name!r} is there twice in the object that begins {json.dumps(fields)[:60]!r}")
        fields[name] = value
    return fields


def _first_problem(detail, place):
    """Find the first of a serializer's errors, and name its place, such as ``programs[1].courses[0]``."""
    while not isinstance(detail, str):
        key, detail = next(iter(detail.items() if isinstance(detail, dict) else enumerate(detail)))
        if isinstance(key, int):
            place += "" if isinstance(detail, str) else f"[{key}]"
        elif key != "non_field_errors":
            place += f".{key}" if place else key
    line = f"{place or 'the whole file'}: {detail}"
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)


def course_runs(programs, learners):
    """
    List all course runs that the files name.

    Args:
        programs (list[dict]): the programs.
        learners (list[dict]): the learners.

    Returns:
        list[str]: course run keys, sorted.
    """
    in_programs = {run["key"] for program in programs for run in _runs(program)}
    in_learners = {certificate["course_run"] for learner in learners for certificate in learner["certificates"]}
    return sorted(in_programs | in_learners)


def completed(program, certificates):
    """
    Tell, independently of the LMS, whether certificates complete a program.

    Args:
        program (dict): the program.
        certificates (list[dict]): what the learner holds.

    Returns:
        bool: True if each course has a run with a certificate in the mode that the program asks for.
    """
    held = {(certificate["course_run"], certificate["mode"]) for certificate in certificates}
    return not obstacle(program) and all(
        any((run["key"], mode) in held for run in course["course_runs"] for mode in _modes_for(run))
        for course in program["courses"]
    )


def obstacle(program):
    """Tell why nobody can complete a program, whatever they earn; None if they can."""
    if program["status"] not in LISTED_STATUSES:
        return f"its status is {program['status']}, and only {' and '.join(LISTED_STATUSES)} ones reach the LMS"
    for index, course in enumerate(program["courses"]):
        if not any(_modes_for(run) for run in course["course_runs"]):
            return f"its courses[{index}] has no course run" + (" with a type" if course["course_runs"] else "")
    return None if program["courses"] else "it has no courses"


def modes_that_count(programs, course_run):
    """List the modes in which a certificate of a course run counts for any of the programs."""
    runs = [run for program in programs if not obstacle(program) for run in _runs(program)]
    return sorted({mode for run in runs if run["key"] == course_run for mode in _modes_for(run)})


def expected_events(programs, learners):
    """
    List the events that a run must lead to.

    Args:
        programs (list[dict]): the programs.
        learners (list[dict]): the learners.

    Returns:
        tuple[list, list]: awards, then revocations, each as (event type, username, program uuid).
    """
    awards, revocations = [], []
    for learner in learners:
        for program in programs:
            if completed(program, learner["certificates"]):
                awards.append((AWARDED, learner["username"], program["uuid"]))
                if {run["key"] for run in _runs(program)} & set(learner["invalidate"]):
                    revocations.append((REVOKED, learner["username"], program["uuid"]))
    return awards, revocations


def _runs(program):
    return [run for course in program["courses"] for run in course["course_runs"]]


def _modes_for(run):
    """The modes that complete a run, by its type: two count as professional; without a type, none do."""
    modes = {"credit": ["verified"], "professional": ["professional", "no-id-professional"], None: []}
    return modes.get(run["type"], [run["type"]])
