"""
Reads the two files of a local run, the programs and the learners, and tells what events they must lead to.

Whatever is wrong with a file is one ``InputError`` that names the file and the place, before anything is started.
"""

import json
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey

# Of a program in Discovery: only these reach the LMS.
LISTED_STATUSES = ("active", "retired")

# The users that the LMS and other services speak as.
SERVICE_USERNAMES = ("credentials_service_user", "lms_catalog_service_user")

AWARDED = "org.openedx.learning.program.certificate.awarded.v1"
REVOKED = "org.openedx.learning.program.certificate.revoked.v1"


class InputError(Exception):
    """A file that cannot be used; the message names the file and the place."""


@dataclass(frozen=True)
class CourseCertificate:
    """A certificate that a learner earns: course run key and mode."""

    course_run: str
    mode: str


@dataclass(frozen=True)
class Learner:
    """A learner, the certificates they earn one after the other, and the course runs whose certificate they lose."""

    username: str
    email: str
    name: str
    certificates: list[CourseCertificate] = field(default_factory=list)
    invalidate: list[str] = field(default_factory=list)


class _Place:
    """A value in a JSON file, together with where it stands."""

    def __init__(self, file, path, value):
        self.file, self.path, self.value = file, path, value

    def fail(self, problem):
        raise InputError(f"{self.file}: {self.path or 'the whole file'}: {problem}")

    def typed(self, kind, article_and_name):
        if not isinstance(self.value, kind):
            self.fail(f"must be {article_and_name}")
        return self.value

    def get(self, key, default=None):
        """Go to a field of an object; without a default it has to be there."""
        path = f"{self.path}.{key}" if self.path else key
        fields = self.typed(dict, "an object")
        if key not in fields and default is None:
            _Place(self.file, path, None).fail("is missing")
        return _Place(self.file, path, fields.get(key, default))

    def items(self):
        """Go to each item of a list."""
        for index, item in enumerate(self.typed(list, "a list")):
            yield _Place(self.file, f"{self.path}[{index}]", item)

    def text(self, longest=255):
        """Read a text that is not empty, of so many characters at the most."""
        text = self.typed(str, "a text")
        if not text.strip() or len(text) > longest:
            self.fail(f"must have 1 to {longest} characters")
        if not text.isprintable() and any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
            self.fail("has a control character, or half of a surrogate pair")
        return text

    def username(self):
        text = self.text(150)
        if not re.fullmatch(r"[\w.@+-]+", text):
            self.fail("may have letters, digits and @.+-_ only")
        if text in SERVICE_USERNAMES:
            self.fail(f"{text!r} is the name of a service user")
        return text

    def email(self):
        text = self.text(254)
        if "@" not in text:
            self.fail("is no e-mail address")
        return text

    def only(self, names):
        """Refuse fields of an object that have no meaning."""
        for name in self.typed(dict, "an object"):
            if name not in names:
                _Place(self.file, f"{self.path}.{name}" if self.path else name, None).fail("is no field of this")

    def course_key(self):
        try:
            return str(CourseKey.from_string(self.text()))
        except InvalidKeyError:
            self.fail(f"invalid course key {self.value!r}")

    def uuid(self):
        try:
            return str(UUID(self.text()))
        except ValueError:
            self.fail(f"invalid uuid {self.value!r}")

    def new(self, value, seen):
        """Refuse what an earlier item has too."""
        if value in seen:
            self.fail(f"duplicate {value!r}, it is at {seen[value]} too")
        seen[value] = self.path
        return value


def _read(path, *keys):
    """Read a JSON file: a list, or an object with the list under the first of the keys that it has."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        if not text.strip():
            raise InputError(f"{path}: is empty")
        data = json.loads(text)
    except OSError as exc:
        raise InputError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:  # also what is no UTF-8
        raise InputError(f"{path}: is no JSON: {exc}") from exc
    top = _Place(path, "", data)
    if isinstance(data, list):
        return top
    present = [key for key in keys if key in top.typed(dict, "an object or a list")]
    return top.get((present or keys)[0])


def read_programs(path):
    """
    Read programs in the format of Discovery's ``programs/`` API.

    Args:
        path (str): a JSON file: ``{"programs": [...]}``, or the list alone. Of each program these fields are used:
            ``uuid, title, status, courses[].course_runs[].{key, type}``; others pass through. A page of the API, with
            the list under ``results``, is read as well.

    Returns:
        list[dict]: the programs.

    Raises:
        InputError: the file cannot be used.
    """
    programs, seen = _read(path, "programs", "results"), {}
    for program in programs.items():
        uuid = program.get("uuid")
        program.value["uuid"] = uuid.new(uuid.uuid(), seen)
        program.get("title").text()
        program.value["status"] = program.get("status", "active").text()
        for course in program.get("courses").items():
            for run in course.get("course_runs").items():
                run.value["key"] = run.get("key").course_key()
                run.get("type").text()
    if not programs.value:
        programs.fail("has no program")
    return programs.value


def read_learners(path):
    """
    Read learners.

    Args:
        path (str): a JSON file: ``{"learners": [...]}``, or the list alone. A learner has ``username``, ``email``,
            ``name``, ``certificates`` (a list of ``{"course_run": key, "mode": mode}``, in the order they are earned)
            and, optionally, ``invalidate`` (a list of course run keys out of those).

    Returns:
        list[Learner]: the learners.

    Raises:
        InputError: the file cannot be used.
    """
    learners, usernames, emails = [], {}, {}
    place = _read(path, "learners")
    for item in place.items():
        item.only(("username", "email", "name", "certificates", "invalidate"))
        username, email = item.get("username"), item.get("email")
        certificates, runs = [], {}
        for certificate in item.get("certificates").items():
            certificate.only(("course_run", "mode"))
            run = certificate.get("course_run")
            certificates.append(CourseCertificate(run.new(run.course_key(), runs), certificate.get("mode").text(32)))
        invalidate, invalidated = [], {}
        for run in item.get("invalidate", []).items():
            if run.course_key() not in runs:
                run.fail(f"the learner has no certificate in {run.value!r}")
            invalidate.append(run.new(run.course_key(), invalidated))
        learners.append(
            Learner(
                username=username.new(username.username(), usernames),
                email=email.new(email.email(), emails),
                name=item.get("name").text(),
                certificates=certificates,
                invalidate=invalidate,
            )
        )
    if not learners:
        place.fail("has no learner")
    return learners


def course_runs(programs, learners):
    """
    List all course runs that the files name.

    Args:
        programs (list[dict]): the programs.
        learners (list[Learner]): the learners.

    Returns:
        list[str]: course run keys, sorted.
    """
    in_programs = {run["key"] for program in programs for run in _runs(program)}
    in_learners = {certificate.course_run for learner in learners for certificate in learner.certificates}
    return sorted(in_programs | in_learners)


def completed(program, certificates):
    """
    Tell, independently of the LMS, whether certificates complete a program.

    Args:
        program (dict): the program.
        certificates (list[CourseCertificate]): what the learner holds.

    Returns:
        bool: True if each course has a run with a certificate in the mode that the program asks for.
    """
    held = {(certificate.course_run, certificate.mode) for certificate in certificates}
    return (
        program["status"] in LISTED_STATUSES
        and bool(program["courses"])
        and all(
            any((run["key"], mode) in held for run in course["course_runs"] for mode in _modes_for(run["type"]))
            for course in program["courses"]
        )
    )


def expected_events(programs, learners):
    """
    List the events that a run must lead to.

    Args:
        programs (list[dict]): the programs.
        learners (list[Learner]): the learners.

    Returns:
        tuple[list, list]: awards, then revocations, each as (event type, username, program uuid).
    """
    awards, revocations = [], []
    for learner in learners:
        for program in programs:
            if completed(program, learner.certificates):
                awards.append((AWARDED, learner.username, program["uuid"]))
                if {run["key"] for run in _runs(program)} & set(learner.invalidate):
                    revocations.append((REVOKED, learner.username, program["uuid"]))
    return awards, revocations


def _runs(program):
    return [run for course in program["courses"] for run in course["course_runs"]]


def _modes_for(run_type):
    """A run of type credit is completed in verified mode; two modes count as professional."""
    return {"credit": ["verified"], "professional": ["professional", "no-id-professional"]}.get(run_type, [run_type])
