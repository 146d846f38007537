"""Starts a site, and lets learners earn and lose certificates on it; used by ``__main__``."""

import json

import redis

from testbed.run.comparing import compare, course_runs, expected_events
from testbed.run.inputs import Learner, Program
from testbed.run.narrating import Narrator, count
from testbed.servers.processes import ProcessError, wait_for
from testbed.site.site import Site

# What a process, or the Redis of the person who runs it, can do to a run.
FAILURES = (ProcessError, OSError, redis.RedisError)

# How many learners earn a certificate at the same time.
BATCH = 20


def start(site: Site, programs: list[Program], learners: list[Learner], narrator: Narrator) -> None:
    """Start a site, and each server that it has no URL of, with the programs and course runs."""
    if not site.redis_url:
        narrator.step("Redis-protocol server", site.start_redis)
    for what, begin in site.bus_steps():
        narrator.step(what, begin)
    if not site.credentials_url:
        narrator.step("stand-in of Credentials", site.start_credentials, programs, course_runs(programs, learners))
    if not site.discovery_url:
        narrator.step("stand-in of Discovery", site.start_discovery, programs)
    site.configure()
    narrator.step("LMS database, and the programs in the LMS's cache (cache_programs)", site.start_lms)
    narrator.step("Celery worker", site.start_worker)
    narrator.step("event consumer (./manage.py lms consume_events)", site.start_consumer)


def play(site: Site, programs: list[Program], learners: list[Learner], narrator: Narrator) -> list[str]:
    """
    Let learners earn certificates until programs complete, and lose some; each step has ``site.patience`` seconds.

    Returns:
        What went wrong: what failed, and each event that is missing or unexpected.
    """
    problems = []
    try:
        _enrol(site, programs, learners, narrator)
        _earn_and_lose(site, programs, learners, narrator)
        wait_for(lambda: len(site.events()) >= site.count_published(), "the consumer", patience=10)
    except FAILURES as exc:
        problems.append(str(exc))
    return problems + compare(expected_events(programs, learners), site.events())


def _enrol(site: Site, programs: list[Program], learners: list[Learner], narrator: Narrator) -> None:
    site.do("create_courses", keys=course_runs(programs, learners))
    for number, learner in enumerate(learners, 1):
        enrolled = {certificate["course_run"]: certificate["mode"] for certificate in learner["certificates"]}
        person = {name: learner[name] for name in ("username", "email", "name")}
        site.do("create_learner", **person, enrolled=enrolled)
        narrator.progress(number, len(learners), "learners enrolled")
    narrator.line(f"Enrolled {count(len(learners), 'learner')}; each has looked at their record in Credentials once.")


def _earn_and_lose(site: Site, programs: list[Program], learners: list[Learner], narrator: Narrator) -> None:
    shown = 0
    so_far: dict[str, Learner] = {}  # username -> the learner, as far as they have come

    def settle() -> None:
        """Wait until everything that was begun has arrived at the consumer, and show it."""
        nonlocal shown
        wait_for(
            lambda: site.refusal() or not site.unfinished_tasks(),
            "the tasks to finish",
            patience=site.patience,
            alive=[site.worker],
        )
        if refusal := site.refusal():  # Celery would repeat the task for an hour
            raise ProcessError(f"Credentials refused the request of {refusal}")
        site.wait_for_arrival(len(expected_events(programs, so_far.values())))
        for event in (events := site.events())[shown:]:
            narrator.line(f"EVENT {json.dumps(event, ensure_ascii=False)}")
        shown = len(events)

    # No learner earns the next certificate before the tasks of the last one are finished. Two tasks for one learner
    # that run at the same time may both find a program uncertified, and award and announce it twice.
    for turn in range(max(len(learner["certificates"]) for learner in learners)):
        earning = [learner for learner in learners if len(learner["certificates"]) > turn]
        for first in range(0, len(earning), BATCH):
            for learner in earning[first : first + BATCH]:
                site.do("certify", username=learner["username"], **learner["certificates"][turn])
                held = learner["certificates"][: turn + 1]
                so_far[learner["username"]] = {**learner, "certificates": held, "invalidate": []}
                narrator.earned(programs, learner, turn)
            settle()
    for learner in learners:
        for course_run in learner["invalidate"]:
            narrator.line(f"{learner['username']}'s certificate of {course_run} is invalidated")
            site.do("invalidate", username=learner["username"], course_run=course_run)
            so_far[learner["username"]]["invalidate"].append(course_run)
            settle()
