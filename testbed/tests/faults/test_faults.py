"""
The fault suite: breaks one thing at a time while real processes award and revoke program certificates.
"""

import json
import os
import re
import signal
from dataclasses import dataclass

import pytest

from testbed.pages.blocks import named_block
from testbed.run.inputs import AWARDED
from testbed.servers.processes import wait_for
from testbed.servers.valkey import connect
from testbed.site.site import BUS_TIMEOUT, GROUP
from testbed.tests.faults.site import STATUS, fault_scene, fault_site  # noqa: F401 - the fixtures

pytestmark = [pytest.mark.e2e, pytest.mark.fault]

TO_ITSELF = {"Location": "/api/v2/credentials/"}
PAGE = {"kind": "status", "status": 200, "body": "<p>Back soon</p>"}
# In the log of a task whose answer was not a 201.
UNEXPECTED = "CREDENTIALS_INTERNAL_SERVICE_URL"


# The event bus


@pytest.mark.representative
def test_bus_refuses(site, scene):
    awarded, revoked = scene.learner(), scene.learner("awarded")
    site.bus.stop()
    scene.complete(awarded)
    scene.revoke(revoked)
    site.wait_for_tasks()
    site.bus.start()

    scene.finish("bus refuses connections", "server stopped", lost=2)


def test_bus_silent(site, scene):
    username = scene.learner()
    before = site.count_in_log("worker", "Timeout reading from")
    site.bus.process.popen.send_signal(signal.SIGSTOP)
    scene.complete(username)
    site.wait_for_tasks()
    assert site.count_in_log("worker", "Timeout reading from") > before
    lost = scene.lost()
    site.bus.process.popen.send_signal(signal.SIGCONT)
    assert lost == 1

    # The server may still carry out what it had received and not read.
    note = f"task took {scene.seconds(username):.1f} s, time-outs of {BUS_TIMEOUT} s; event lost or late"
    scene.finish("bus accepts and never answers", "SIGSTOP", lost=None, note=note)


def test_bus_restarted_between_awards(site, scene):
    first, second = scene.learners(2)
    scene.complete(first)
    scene.settle()
    site.bus.stop()
    site.bus.start()
    scene.complete(second)

    scene.finish("bus restarted between two awards", "stopped, started", lost=0)


def test_stream_trimmed(site, scene):
    usernames = scene.learners(2)
    site.end_consumer()
    for username in usernames:
        scene.complete(username)
    site.wait_for_tasks()
    connect(site.bus_url).xtrim(site.stream_key, maxlen=0, approximate=False)
    site.start_consumer()

    scene.finish("stream trimmed below the consumer's position", "XTRIM", lost=2)


# The consumer


def test_consumer_killed_before_acknowledging(site, scene, tmp_path):
    username = scene.learner()
    site.end_consumer()
    reading = tmp_path / "reading"
    os.environ["TESTBED_CONSUMER_HANGS"] = str(reading)
    try:
        site.start_consumer()
    finally:
        del os.environ["TESTBED_CONSUMER_HANGS"]
    scene.complete(username)
    wait_for(reading.exists, "the consumer to read the event")
    assert connect(site.bus_url).xpending(site.stream_key, GROUP)["pending"] == 1
    site.end_consumer()
    site.start_consumer()

    # The consumer that was killed had recorded the event first.
    scene.finish("consumer killed after reading, before acknowledging", "SIGKILL", lost=0, duplicates=1)


def test_pending_entry_trimmed(site, scene):
    [options] = re.findall(r"--extra '(.+)'", named_block("redis-consumer"))
    usernames = scene.learners(3)
    site.end_consumer()
    for username in usernames:
        scene.complete(username)
        site.wait_for_tasks()
    with connect(site.bus_url) as client:
        # What a consumer that was killed had read.
        client.xreadgroup(GROUP, "testbed", {site.stream_key: ">"}, count=2)
        client.xtrim(site.stream_key, maxlen=2, approximate=False)
    site.start_consumer(claim_msgs_older_than=json.loads(options)["claim_msgs_older_than"])
    scene.settle()
    assert set(usernames) - set(scene.known()) == {usernames[0]}

    note = "without `claim_msgs_older_than` the second would stay pending"
    scene.finish("first of two pending entries trimmed", "XREADGROUP, XTRIM", lost=1, note=note)


def test_consumer_gave_up_reading(site, scene):
    username = scene.learner()
    site.consumer.popen.send_signal(signal.SIGSTOP)
    with connect(site.bus_url) as client:
        wait_for(lambda: client.info("clients")["blocked_clients"] == 0, "the consumer's last look to be over")
        scene.complete(username)
        site.wait_for_tasks()
        assert client.xreadgroup(GROUP, "testbed", {site.stream_key: ">"})
    site.consumer.popen.send_signal(signal.SIGCONT)

    fault = "event delivered to a connection that the consumer has given up"
    injected = "read in its name while it was stopped"
    scene.finish(fault, injected, lost=0, note="stays pending until the consumer starts anew")


# The worker


@pytest.mark.representative
@pytest.mark.parametrize(
    ("fault", "hold", "wrong"),
    [
        ("worker killed after Credentials accepted, before the event", {"kind": "hold"}, 0),
        # Before it awards, the task asks what is awarded already.
        ("worker killed before Credentials stored anything", {"kind": "hold_before", "method": "GET"}, 1),
    ],
    ids=["after_acceptance", "before_request"],
)
def test_worker_killed(site, scene, fault, hold, wrong):
    username = scene.learner()
    scene.credentials_fault(**hold)
    scene.complete(username)
    scene.wait_until_held()
    site.end_worker()
    site.credentials.clear()
    site.start_worker()

    scene.finish(fault, "SIGKILL", lost=1, task="lost", wrong=wrong)


def test_worker_stopped_while_awarding(site, scene):
    username = scene.learner()
    scene.credentials_fault("hold")
    scene.complete(username)
    scene.wait_until_held()
    before = site.count_in_log("worker", "Warm shutdown")
    site.worker.popen.send_signal(signal.SIGTERM)
    wait_for(lambda: site.count_in_log("worker", "Warm shutdown") > before, "the worker to begin to stop")
    site.credentials.clear()
    site.end_worker(signal.SIGTERM)
    site.start_worker()

    scene.finish("worker told to stop while awarding", "SIGTERM", lost=0)


def test_receiver_raises(site, scene):
    username = scene.learner()
    site.end_worker(signal.SIGTERM)
    site.start_worker(TESTBED_RECEIVER_RAISES="1")
    before = site.count_in_log("worker", f"Failed to send {AWARDED}")
    scene.complete(username)
    scene.settle()
    assert site.count_in_log("worker", f"Failed to send {AWARDED}") == before + 1
    site.end_worker(signal.SIGTERM)
    site.start_worker()

    scene.finish("a receiver in the LMS raises", "receiver connected", lost=0)


def test_two_workers_award_at_once(site, scene):
    username = scene.learner()
    first = site.worker
    second = site.start_worker(name="second-worker")
    site.worker = first
    scene.credentials_fault("hold_before", times=3)
    scene.complete(username)
    site.do("award_again", username=username)
    site.do("award_again", username=username)
    scene.wait_until_held(3)
    site.credentials.clear()
    site.wait_for_tasks()
    second.popen.terminate()
    second.popen.wait()
    site.processes.forget(second)

    scene.finish("two workers process the same learner at once", "three tasks held at the POST", lost=0, duplicates=2)


# The broker


def test_broker_restarted(site, scene):
    held, waiting = scene.learners(2)
    scene.credentials_fault("hold")
    scene.complete(held)
    scene.wait_until_held()
    site.broker.stop()
    site.broker.start()
    scene.complete(waiting)
    wait_for(lambda: scene.outcome(waiting) == "succeeded", "the task that was published after the restart")
    site.credentials.clear()

    scene.finish("Celery broker restarted", "stopped, started, while awarding", lost=0)


def test_broker_down(site, scene):
    username = scene.learner()
    site.broker.stop()
    scene.complete(username)
    site.broker.start()

    fault = "Celery broker down when the course certificate is issued"
    scene.finish(fault, "stopped", lost=1, task="never published", wrong=1)


# Credentials


@dataclass(frozen=True)
class Answer:
    """A row: what Credentials answers to a change, and how many events and certificates that costs."""

    fault: str
    injected: str
    options: dict  # of the stand-in's fault, for each change
    changes: tuple = ("award",)
    lost: int = 1
    wrong: int = 1
    task: str = "succeeded"
    note: str = ""
    requests: tuple = ()  # that the award makes, if they are checked


BOTH = ("award", "revoke")
REFUSALS = {str(status): {"kind": "status", "status": status} for status in (400, 403, 404, 500, 503)}
BUSY = {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}, "times": 2}
MOVED, KEPT = ({"kind": "status", "status": status, "headers": TO_ITSELF} for status in (301, 308))
AGAIN = "succeeded after 1 retry"
AFTER_504 = "a gateway answers 504, and Credentials has stored the change"
EACH = "an award and a revocation"
ANSWERS = {
    **{status: Answer(f"Credentials answers {status}", "once", fault) for status, fault in REFUSALS.items()},
    "503_to_revoke": Answer("Credentials answers 503 to a revocation", "once", REFUSALS["503"], ("revoke",)),
    "504": Answer(AFTER_504, EACH, {"kind": "status_after", "status": 504}, BOTH, lost=2, wrong=0),
    "429": Answer("Credentials answers 429", "twice", BUSY, lost=0, wrong=0, task="succeeded after 2 retries"),
    "closes": Answer(
        "Credentials closes the connection", "before it answers", {"kind": "close"}, lost=0, wrong=0, task=AGAIN
    ),
    "loses_answer": Answer(
        "Credentials accepts the POST and loses the response",
        EACH,
        {"kind": "lose_response"},
        BOTH,
        lost=2,
        wrong=0,
        task=AGAIN,
        note="the retry finds the certificate there",
    ),
    "301": Answer(
        "Credentials redirects by 301", "once: the POST becomes a GET", MOVED, requests=("POST 301", "GET 200")
    ),
    "308": Answer("Credentials redirects by 308", f"{EACH}, which stay POSTs", KEPT, BOTH, lost=0, wrong=0),
    "page": Answer("a gateway answers 200 with a page", "once", PAGE, requests=("POST 200",)),
    "page_to_revoke": Answer("a gateway answers 200 with a page to a revocation", "once", PAGE, ("revoke",)),
    "slow": Answer("Credentials answers slowly", "after 3 s", {"kind": "delay", "seconds": 3}, lost=0, wrong=0),
}


@pytest.mark.parametrize("row", ANSWERS.values(), ids=ANSWERS)
def test_credentials(site, scene, row):
    learners = {change: scene.learner("awarded" if change == "revoke" else None) for change in row.changes}
    before, logged = len(site.credentials.requests()), site.count_in_log("worker", UNEXPECTED)
    for change, username in learners.items():
        scene.credentials_fault(**row.options)
        (scene.complete if change == "award" else scene.revoke)(username)
        scene.settle()
        assert scene.applied() == row.options.get("times", 1)
    if row.requests:
        came = [request for request in site.credentials.requests()[before:] if request["type"] != "course-run"]
        # Before it awards, the task asks what is awarded already.
        assert [f"{request['method']} {request['status']}" for request in came] == ["GET 200", *row.requests]
    not_created = row.options.get("status") in (200, 301)
    assert site.count_in_log("worker", UNEXPECTED) - logged == not_created

    repair = scene.notify_in_vain if row.options["kind"] == "status_after" else None
    scene.finish(row.fault, row.injected, row.lost, row.task, row.wrong, repair, note=row.note)


def test_revocation_of_a_hidden_certificate(site, scene):
    username = scene.learner("awarded")
    site.do("set_available_date", course_run=scene.first_run, mode="verified", date="2100-01-01T00:00:00Z")
    scene.settle()
    scene.revoke(username)

    fault = "Credentials hides the certificate when it has to be revoked"
    scene.finish(fault, "the date of a course run lies ahead", lost=1, wrong=1, repair=scene.revoke_in_credentials)


@pytest.mark.representative
def test_award_answered_late(site, scene):
    username = scene.learner()
    scene.credentials_fault("hold")
    scene.complete(username)
    scene.wait_until_held()
    scene.revoke(username)
    wait_for(lambda: scene.known() == {username: "revoked"}, "the revocation")
    site.credentials.clear()
    scene.settle()
    assert [STATUS[event["type"]] for event in scene.events()] == ["revoked", "awarded"]
    assert scene.known() == {username: "revoked"}

    injected = "answer held until the revocation was published"
    scene.finish("Credentials stores an award and answers late", injected, lost=0, note="right before any repair")


# The learner


def test_learner_without_profile(scene):
    scene.complete(scene.learner(profile=False))
    scene.settle()
    [event] = scene.events()
    assert event["data"]["program_certificate"]["user"]["pii"]["name"] == ""

    scene.finish("learner without a profile row", "none created", lost=0)
