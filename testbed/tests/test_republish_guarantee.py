"""
The guarantee of ``republish_program_certificate_events``, as a property: after one complete run whose events arrived,
a consumer that keeps the event with the latest time has what Credentials has.

A small world is played on a clock of its own: awards and revocations go through the LMS or happen in Credentials
itself, live events arrive, come late, come twice or are lost, and the command runs now and then. The emitter and the
command are real; Credentials, the bus and the clocks are played.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from unittest import mock

from hypothesis import event, given, settings
from hypothesis import strategies as st
from opaque_keys.edx.locator import CourseLocator

from lms.djangoapps.certificates.models import GeneratedCertificate
from openedx.core.djangoapps.programs.events import emit_program_certificate_awarded, emit_program_certificate_revoked
from testbed.tests.test_republish_properties import PROGRAMS, READER, SETTINGS, Event, RepublishTestCase

EMITTERS = {"awarded": emit_program_certificate_awarded, "revoked": emit_program_certificate_revoked}
SELECTION = "openedx.core.djangoapps.programs.republish_selection"
HOUR = timedelta(hours=1)
NOTHING = timedelta(0)


@dataclass
class Record:
    """A program certificate in Credentials."""

    status: str
    created: datetime
    modified: datetime


class World:
    """
    Credentials, a bus, a consumer, and the clocks of all.

    Args:
        case (RepublishTestCase): sends the events.
        credentials_ahead (timedelta): how far Credentials' clock is ahead of the LMS's.
        worker_ahead (timedelta): how far the workers' clocks are ahead of the host on which the command runs.
        page_size (int): of Credentials' lists.
    """

    def __init__(self, case, credentials_ahead=NOTHING, worker_ahead=NOTHING, page_size=20):
        self.case, self.page_size = case, page_size
        self.credentials_ahead, self.worker_ahead = credentials_ahead, worker_ahead
        self.now = datetime(2026, 11, 25, 12, tzinfo=UTC)
        self.records = {}  # (user id, program) -> Record
        self.known = {}  # (user id, program) -> the event that the consumer keeps
        self.users = {user.id: user for user in case.learners}

    def tick(self, time=timedelta(microseconds=1)):
        """Let time pass, and return the new one. No two things happen at once."""
        self.now += time
        return self.now

    # Credentials

    def store(self, key, status, moves_modified=True):
        """Store a certificate in Credentials."""
        now = self.tick() + self.credentials_ahead
        record = self.records.setdefault(key, Record(status, now, now))
        record.status = status
        if moves_modified:
            record.modified = now

    def answer(self, api, learner=None):
        """Prepare Credentials' answers, with the certificates of all or of one learner (by id)."""
        items = [
            {
                "username": self.users[user_id].username,
                "credential": {"type": "program", "program_uuid": program},
                "status": record.status,
                "uuid": f"583f360c-0000-4000-8000-{number:012}",
                "created": f"{record.created:%Y-%m-%dT%H:%M:%SZ}",
                "modified": f"{record.modified:%Y-%m-%dT%H:%M:%SZ}",
            }
            for number, ((user_id, program), record) in enumerate(self.records.items())
            if learner in (None, user_id)
        ]
        query = "type=program" + (f"&username={self.users[learner].username}" if learner else "")
        for start in range(0, max(len(items), 1), self.page_size):
            number, end = start // self.page_size + 1, start + self.page_size
            link = f"?page={number + 1}" if end < len(items) else None
            page = {"count": len(items), "next": link, "previous": None, "results": items[start:end]}
            api.get(f"{self.case.url}?{query}&page={number}", json=page)

    # Events

    def live_event(self, key, status):
        """Send the event of a task whose request has been answered, and return it."""
        user_id, program = key
        self.case.events.clear()
        time = self.tick() + self.worker_ahead
        assert EMITTERS[status](self.users[user_id], program, time=time)
        [sent] = self.case.events
        return sent

    def republish(self):
        """Run the command for everything, and return its events."""
        with mock.patch(f"{READER}.now", side_effect=self.tick):
            error, *_ = self.case.run_command(self.answer, all=True)
        assert (error is None) == bool(self.records)
        return list(self.case.events)

    def deliver(self, *events):
        """Have the consumer receive events: it keeps the latest, and of two with the same time the last."""
        for received in events:
            kept = self.known.get(received.key)
            if kept is None or received.time >= kept.time:
                self.known[received.key] = received

    def right(self):
        """bool: whether the consumer knows each certificate as Credentials has it."""
        return {key: kept.status for key, kept in self.known.items()} == {
            key: record.status for key, record in self.records.items()
        }


STATUSES = st.sampled_from(sorted(EMITTERS))
KEYS = st.tuples(st.integers(0, 1), st.sampled_from(PROGRAMS))
PAUSES = st.sampled_from([NOTHING, timedelta(microseconds=1), timedelta(seconds=1)]) | st.timedeltas(NOTHING, HOUR)
FATES = st.sampled_from(["arrives", "late", "lost"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("through the LMS"), PAUSES, KEYS, STATUSES, FATES),
        st.tuples(st.just("in Credentials"), PAUSES, KEYS, STATUSES, st.booleans()),
        st.tuples(st.just("run"), PAUSES, FATES),
        st.tuples(st.just("late ones arrive"), PAUSES),
        st.tuples(st.just("a repeat"), PAUSES, st.integers(0, 99)),
    ),
    max_size=12,
)
OFFSETS = st.sampled_from([-HOUR, NOTHING, HOUR]) | st.timedeltas(-HOUR, HOUR)


class GuaranteeTests(RepublishTestCase):
    """What a consumer knows that keeps, for each learner and program, the event with the latest time."""

    def play(self, world, steps):
        """
        Play some steps.

        Returns:
            tuple: the events that are still under way, and all that were sent.
        """
        late, sent = [], []
        ids = sorted(world.users)
        for kind, pause, *details in steps:
            world.tick(pause)
            new, fate = [], "arrives"
            if kind == "through the LMS":
                (place, program), status, fate = details
                key = ids[place], program
                world.store(key, status)
                new = [world.live_event(key, status)]
            elif kind == "in Credentials":
                (place, program), status, moves_modified = details
                # Credentials cannot change what it does not have.
                if (key := (ids[place], program)) in world.records:
                    world.store(key, status, moves_modified)
            elif kind == "run":
                new, [fate] = world.republish(), details
            elif kind == "late ones arrive":
                world.deliver(*late)
                late.clear()
            elif sent:
                new = [sent[details[0] % len(sent)]]
            sent += new
            if fate == "arrives":
                world.deliver(*new)
            elif fate == "late":
                late += new
        return late, sent

    @settings(SETTINGS, max_examples=200)
    @given(
        steps=STEPS,
        credentials_ahead=OFFSETS,
        worker_behind=st.timedeltas(NOTHING, HOUR) | st.just(NOTHING),
        page_size=st.integers(1, 3),
        data=st.data(),
    )
    def test_one_run_brings_a_consumer_to_the_truth(self, steps, credentials_ahead, worker_behind, page_size, data):
        world = World(self, credentials_ahead, -worker_behind, page_size)
        late, sent = self.play(world, steps)
        event(f"consumer was {'right' if world.right() else 'wrong'} before the run")

        republished = world.republish()
        # Whatever was under way, or comes again, may come before, between and after the events of the run.
        others = late + (data.draw(st.lists(st.sampled_from(sent)), "repeats") if sent else [])
        world.deliver(*data.draw(st.permutations(republished + others), "order"))

        assert world.right()

    @settings(SETTINGS, max_examples=100)
    @given(steps=STEPS, ahead=st.timedeltas(timedelta(microseconds=1), HOUR), credentials_ahead=OFFSETS)
    def test_clocks_that_are_ahead_need_a_run_that_much_later(self, steps, ahead, credentials_ahead):
        world = World(self, credentials_ahead, ahead)
        late, _sent = self.play(world, steps)

        world.tick(ahead)
        world.deliver(*world.republish(), *late)

        assert world.right()

    @settings(SETTINGS, max_examples=50)
    @given(steps=STEPS, credentials_ahead=OFFSETS, key=KEYS, status=STATUSES)
    def test_the_next_run_heals_an_event_that_was_under_way(self, steps, credentials_ahead, key, status):
        world = World(self, credentials_ahead)
        self.play(world, steps)
        key = sorted(world.users)[key[0]], key[1]
        other = {"awarded": "revoked", "revoked": "awarded"}[status]

        world.store(key, status)  # a task's request is stored, its event not sent yet
        world.store(key, other, moves_modified=False)  # when Credentials itself changes the certificate,
        republished = world.republish()  # and the command reads it.
        world.deliver(*republished, world.live_event(key, status))
        assert not world.right()

        world.deliver(*world.republish())
        assert world.right()

    # The other side: where the guarantee ends. Not wishes, but facts that the documentation states.

    def certificate(self):
        """Return whose certificate of which program the tests below are about."""
        return self.learners[0].id, PROGRAMS[0]

    def test_a_run_within_the_lead_of_a_worker_heals_nothing(self):
        world = World(self, worker_ahead=HOUR)
        key = self.certificate()
        world.store(key, "awarded")
        world.deliver(world.live_event(key, "awarded"))
        world.store(key, "revoked")  # its event is lost

        world.deliver(*world.republish())
        assert not world.right()

        world.tick(HOUR)
        world.deliver(*world.republish())
        assert world.right()

    def test_a_run_within_the_lead_of_credentials_does_not_heal_its_own_events(self):
        world = World(self, credentials_ahead=HOUR)
        key = self.certificate()
        world.store(key, "awarded")
        world.deliver(Event(world.now + world.credentials_ahead, key, "awarded"))  # sent by Credentials
        world.store(key, "revoked")

        world.deliver(*world.republish())
        assert not world.right()

        world.tick(HOUR)
        world.deliver(*world.republish())
        assert world.right()

    def test_what_was_deleted_in_credentials_is_not_taken_back(self):
        world = World(self)
        key, other = self.certificate(), (self.learners[1].id, PROGRAMS[0])
        for each in (key, other):
            world.store(each, "awarded")
            world.deliver(world.live_event(each, "awarded"))
        del world.records[key]

        world.deliver(*world.republish())

        assert world.known[key].status == "awarded"


class HourlyWorld(World):
    """A world in which program certificates follow course certificates, and the command runs every hour."""

    WINDOW, MARGIN = 2 * HOUR, 2 * HOUR
    # Between the change of a course certificate and the request that follows from it: Celery's retries.
    LATEST = timedelta(minutes=66)

    def change(self, learner, course, moment):
        """Have a learner's course certificate changed at a moment; ``modified_date`` has the last change alone."""
        fields = {"user_id": learner, "course_id": CourseLocator("edX", "DemoX", str(course))}
        certificates = GeneratedCertificate.objects.filter(**fields)
        if not certificates:
            GeneratedCertificate.objects.bulk_create([GeneratedCertificate(**fields)])  # without signals
        certificates.update(modified_date=moment)

    def answer(self, api, learner=None):
        """Prepare Credentials' answers: a list for each learner."""
        for each in self.users:
            super().answer(api, each)

    def republish(self):
        """Run the command as cron does, and return its events."""
        with (
            mock.patch(f"{READER}.now", side_effect=self.tick),
            mock.patch(f"{SELECTION}.now", side_effect=self.tick),
        ):
            error, *_ = self.case.run_command(self.answer, recently_modified=True, start_date="2h")
        assert error is None
        return list(self.case.events)


class HourlyTests(RepublishTestCase):
    """What a consumer knows if the command runs every hour, whatever else happens to the events."""

    @settings(SETTINGS, max_examples=30)
    @given(
        changes=st.lists(
            st.tuples(
                st.timedeltas(NOTHING, 3 * HOUR),
                KEYS,
                st.integers(0, 1),
                st.timedeltas(NOTHING, HourlyWorld.LATEST) | st.just(NOTHING) | st.just(HourlyWorld.LATEST),
                STATUSES,
            ),
            max_size=6,
        ),
        bus_is_up=st.lists(st.booleans(), min_size=8, max_size=8),
        credentials_ahead=st.sampled_from([-HOUR, NOTHING, HOUR]),
        page_size=st.integers(1, 2),
    )
    def test_what_is_lost_comes_with_a_run_of_the_next_hours(self, changes, bus_is_up, credentials_ahead, page_size):
        world = HourlyWorld(self, credentials_ahead, page_size=page_size)
        GeneratedCertificate.objects.all().delete()
        begin, ids = world.now, sorted(world.users)
        todo = []
        for ago, (place, program), course, late, status in changes:
            key = ids[place], program
            todo.append((begin + ago, "change", key, course, status))
            todo.append((begin + ago + late, "request", key, begin + ago, status))
        # A quarter past each hour.
        todo += [(begin + HOUR * hour + HOUR / 4, "run", bus_is_up[hour], None, None) for hour in range(8)]
        last, owed = {}, {}  # key -> when the course certificate changed that its last request follows; and if owed
        for moment, kind, what, detail, status in sorted(todo, key=lambda step: step[:2]):
            world.now = max(world.now, moment)
            if kind == "change":
                world.change(what[0], detail, world.now)
            elif kind == "request":
                world.store(what, status)
                world.live_event(what, status)  # lost
                last[what], owed[what] = detail, True
            else:
                events = world.republish()
                if what:
                    world.deliver(*events)
                    for key, changed in last.items():
                        if world.now - changed <= world.WINDOW + world.MARGIN - HOUR:  # a clock may be an hour off
                            owed[key] = False
                            assert world.known[key].status == world.records[key].status
        event(f"{len(owed)} certificates changed, {sum(owed.values())} are still owed")
        for key, is_owed in owed.items():
            assert is_owed or world.known[key].status == world.records[key].status

    def test_an_outage_longer_than_window_and_margin_needs_a_run_from_its_start(self):
        world = HourlyWorld(self)
        key = self.learners[0].id, PROGRAMS[0]
        world.change(key[0], 0, world.now)
        world.store(key, "awarded")  # its event is lost

        world.tick(world.WINDOW + world.MARGIN + timedelta(minutes=1))
        world.deliver(*world.republish())
        assert not world.right()

        world.tick(-timedelta(minutes=2))
        world.deliver(*world.republish())
        assert world.right()
