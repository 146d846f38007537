"""
The fault suite: breaks one thing at a time while real processes award and revoke program certificates.

To add a fault, add a ``Fault`` to ``FAULTS``. Its ``play`` is a function that breaks something, with the methods of
``Scene`` and ``FaultSite``. If it yields, learners' certificates are awarded and revoked there; if not, it has to do
that: ``for change in scene.changes: change()``. Afterwards ``site.heal()`` starts what has stopped. Whatever else a
play has changed, the play restores. The test fails the first time, and prints the row that ``docs/faults.md`` has to
have, with an empty cell for what is injected.
"""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import pytest

from testbed.pages.blocks import named_block
from testbed.run.inputs import AWARDED
from testbed.servers.processes import wait_for
from testbed.servers.valkey import connect
from testbed.site.events import STATUS
from testbed.site.site import GROUP
from testbed.tests.faults.scene import Fault, Scene, parametrize, worker_killed

pytestmark = [pytest.mark.e2e, pytest.mark.fault]

# In the log of a task whose answer was not a 201.
UNEXPECTED = "CREDENTIALS_INTERNAL_SERVICE_URL"

# The event bus and its consumer


def bus_refuses(scene: Scene) -> Iterator[None]:
    scene.site.bus.stop()
    yield


def bus_silent(scene: Scene) -> Iterator[None]:
    before = scene.site.count_in_log("worker", "Timeout reading from")
    scene.site.bus.process.popen.send_signal(signal.SIGSTOP)
    yield
    scene.site.wait_for_tasks()
    assert scene.site.count_in_log("worker", "Timeout reading from") > before
    # Once it goes on, it may carry out what it has received and not read: the event is lost or late.
    assert scene.lost() == 1


def bus_restarted(scene: Scene) -> None:
    first, second = scene.changes
    first()
    scene.settle()
    scene.site.bus.stop()
    scene.site.bus.start()
    second()


def stream_trimmed(scene: Scene) -> Iterator[None]:
    scene.site.consumer.kill()
    yield
    scene.site.wait_for_tasks()
    connect(scene.site.bus_url).xtrim(scene.site.stream_key, maxlen=0, approximate=False)


def pending_entry_trimmed(scene: Scene) -> None:
    site = scene.site
    [options] = re.findall(r"--extra '(.+)'", named_block("redis-consumer"))
    site.consumer.kill()
    for change in scene.changes:
        change()
        site.wait_for_tasks()
    with connect(site.bus_url) as client:
        # What a consumer that was killed had read.
        client.xreadgroup(GROUP, "testbed", {site.stream_key: ">"}, count=2)
        client.xtrim(site.stream_key, maxlen=2, approximate=False)
    site.start_consumer(claim_msgs_older_than=json.loads(options)["claim_msgs_older_than"])
    scene.settle()
    assert set(scene.names) - set(scene.known()) == {scene.names[0]}


def consumer_killed(scene: Scene) -> Iterator[None]:
    site = scene.site
    reading = site.directory / "reading"
    site.consumer.kill()
    with mock.patch.dict(os.environ, TESTBED_CONSUMER_HANGS=str(reading)):
        site.start_consumer()
    yield
    wait_for(reading.exists, "the consumer to read the event")
    assert connect(site.bus_url).xpending(site.stream_key, GROUP)["pending"] == 1
    site.consumer.kill()  # it has recorded the event


def consumer_gave_up(scene: Scene) -> Iterator[None]:
    scene.site.consumer.popen.send_signal(signal.SIGSTOP)
    with connect(scene.site.bus_url) as client:
        wait_for(lambda: client.info("clients")["blocked_clients"] == 0, "the consumer's last look to be over")
        yield
        scene.site.wait_for_tasks()
        assert client.xreadgroup(GROUP, "testbed", {scene.site.stream_key: ">"})


# The worker and its broker


def worker_stopped(scene: Scene) -> Iterator[None]:
    scene.credentials_fault("hold")
    yield
    scene.wait_until_held()
    scene.site.stop_with_tasks(scene.site.worker)


def receiver_raises(scene: Scene) -> Iterator[None]:
    scene.site.worker.stop()
    scene.site.start_worker(TESTBED_RECEIVER_RAISES="1")
    before = scene.site.count_in_log("worker", f"Failed to send {AWARDED}")
    yield
    scene.settle()
    assert scene.site.count_in_log("worker", f"Failed to send {AWARDED}") == before + 1
    scene.site.worker.stop()


def two_workers(scene: Scene) -> Iterator[None]:
    site, [username] = scene.site, scene.names
    first = site.worker
    site.start_worker(name="second-worker")
    site.worker = first
    scene.credentials_fault("hold_before", times=3)
    yield
    site.do("award_again", username=username)
    site.do("award_again", username=username)
    scene.wait_until_held(3)


def broker_restarted(scene: Scene) -> None:
    first, second = scene.changes
    scene.credentials_fault("hold")
    first()
    scene.wait_until_held()
    scene.site.broker.stop()
    scene.site.broker.start()
    second()
    wait_for(lambda: scene.outcome(scene.names[1]) == "succeeded", "the task that was published after the restart")


def broker_down(scene: Scene) -> Iterator[None]:
    scene.site.broker.stop()
    yield


# Credentials, and the learner


def answers(kind: str, requests: tuple[str, ...] = (), **options: Any) -> Callable[[Scene], None]:
    """Have Credentials answer each change once so; check the requests that the award makes, if any are given."""

    def play(scene: Scene) -> None:
        site = scene.site
        before, logged = len(site.credentials.requests()), site.count_in_log("worker", UNEXPECTED)
        for change in scene.changes:
            scene.credentials_fault(kind, **options)
            change()
            scene.settle()
            assert site.credentials.applied(scene.fault_id) == options.get("times", 1)
        if requests:
            came = [request for request in site.credentials.requests()[before:] if request["type"] != "course-run"]
            assert [f"{request['method']} {request['status']}" for request in came] == ["GET 200", *requests]
        assert site.count_in_log("worker", UNEXPECTED) - logged == (options.get("status") in (200, 301))

    return play


def hidden(scene: Scene) -> Iterator[None]:
    date = "2100-01-01T00:00:00Z"
    scene.site.do("set_available_date", course_run=scene.first_run, mode="verified", date=date)
    scene.settle()
    yield


def answered_late(scene: Scene) -> Iterator[None]:
    [username] = scene.names
    scene.credentials_fault("hold")
    yield
    scene.wait_until_held()
    scene.revoke(username)
    wait_for(lambda: scene.known() == {username: "revoked"}, "the revocation")
    scene.site.credentials.clear()
    scene.settle()
    assert [STATUS[event["type"]] for event in scene.events()] == ["revoked", "awarded"]
    assert scene.known() == {username: "revoked"}


def no_profile(scene: Scene) -> None:
    [username] = scene.learners(1, profile=False)
    scene.complete(username)
    scene.settle()
    [event] = scene.events()
    assert event["data"]["program_certificate"]["user"]["pii"]["name"] == ""


BOTH, TWO, REVOKE = ("award", "revoke"), ("award", "award"), ("revoke",)
status = partial(answers, "status")
TO_ITSELF = {"Location": "/api/v2/credentials/"}
REDIRECT = status(("POST 301", "GET 200"), status=301, headers=TO_ITSELF)
PAGE: dict[str, Any] = {"status": 200, "body": "<p>Back soon</p>"}
# Before it awards, the task asks what is awarded already.
KILLED_BEFORE = partial(worker_killed, kind="hold_before", method="GET")
HIDDEN = "Credentials hides the certificate when it has to be revoked"

FAULTS = [
    Fault("bus refuses connections", bus_refuses, BOTH),
    Fault("bus accepts and never answers", bus_silent),
    Fault("bus restarted between two awards", bus_restarted, TWO),
    Fault("stream trimmed below the consumer's position", stream_trimmed, TWO),
    Fault("first of two pending entries trimmed", pending_entry_trimmed, ("award",) * 3),
    Fault("consumer killed after reading, before acknowledging", consumer_killed),
    Fault("event delivered to a connection that the consumer has given up", consumer_gave_up),
    Fault("worker killed after Credentials accepted, before the event", worker_killed, representative=True),
    Fault("worker killed before Credentials stored anything", KILLED_BEFORE),
    Fault("worker told to stop while awarding", worker_stopped),
    Fault("a receiver in the LMS raises", receiver_raises),
    Fault("two workers process the same learner at once", two_workers),
    Fault("Celery broker restarted", broker_restarted, TWO),
    Fault("Celery broker down when the course certificate is issued", broker_down),
    *(Fault(f"Credentials answers {code}", status(status=code)) for code in (400, 403, 404, 500, 503)),
    Fault("Credentials answers 503 to a revocation", status(status=503), REVOKE),
    Fault("Credentials answers 429", status(status=429, headers={"Retry-After": "1"}, times=2)),
    Fault("Credentials closes the connection", answers("close")),
    Fault("Credentials answers slowly", answers("delay", seconds=3)),
    Fault("Credentials accepts the POST and loses the response", answers("lose_response"), BOTH),
    Fault(
        "a gateway answers 504, and Credentials has stored the change",
        answers("status_after", status=504),
        BOTH,
        repair=Scene.notify_in_vain,
    ),
    Fault("Credentials redirects by 301", REDIRECT),
    Fault("Credentials redirects by 308", status(status=308, headers=TO_ITSELF), BOTH),
    Fault("a gateway answers 200 with a page", status(("POST 200",), **PAGE)),
    Fault("a gateway answers 200 with a page to a revocation", status(**PAGE), REVOKE),
    Fault(HIDDEN, hidden, REVOKE, repair=Scene.revoke_in_credentials),
    Fault("Credentials stores an award and answers late", answered_late, representative=True),
    Fault("learner without a profile row", no_profile, changes=()),
]


@parametrize(FAULTS)
def test_fault(scene: Scene, fault: Fault) -> None:
    scene.run(fault)
