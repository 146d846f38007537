"""
Tests of two producers of the same events on one bus, Credentials and the LMS: how a site moves from one to the other
and back, and a Credentials that takes certificates from the events. `make test` runs the first, `make test-change` all.
"""

import pytest

from testbed.servers.processes import Processes, wait_for
from testbed.servers.valkey import connect
from testbed.site.programs import runs_of
from testbed.site.site import TOPIC
from testbed.tests.change.cutover import HISTORIES, HOUR, PROGRAMS, CutoverSite, Story

pytestmark = [pytest.mark.e2e, pytest.mark.cutover]

LMS, CREDENTIALS = "openedx/lms/web", "openedx/SERVICE_NAME_UNSET/web"


@pytest.fixture(scope="module")
def site(shared_processes: Processes) -> CutoverSite:
    return CutoverSite(shared_processes)


@pytest.fixture
def story(site: CutoverSite) -> Story:
    return Story(site)


@pytest.mark.representative
def test_cut_over(site: CutoverSite, story: Story) -> None:
    # Before: Credentials alone publishes, to another stream than the consumers read, as its default has it.
    site.set_up(credentials=True, lms=False, prefix="dev")
    story.award("unheard")
    assert story.events() == []
    with connect(site.bus_url) as client:
        assert client.xlen(f"dev-{TOPIC}") == 1

    # 1. The same prefix everywhere.
    site.switch_credentials(True)
    story.change("A")
    assert story.missing() == {"unheard"}
    assert story.sources() == {CREDENTIALS}

    # 3. The LMS's events on. What changes while its workers restart waits in the broker.
    site.worker.stop()
    story.award("waited")
    site.switch_lms(True)
    story.change("B")
    assert story.missing() == {"unheard"}
    told_twice = 2 * len(["B", "BB", "BC", "AB", "BB"]) + len(["waited"])
    assert story.duplicates() == told_twice

    # 4. Those of Credentials off.
    before = len(story.events())
    site.switch_credentials(False)
    story.change("C")
    # What Credentials has said lately looks later than what the LMS says now, if its clock is ahead.
    overtaken = {"AC-ahead", "BC-ahead"}
    assert story.missing() == {"unheard"} | overtaken
    assert story.sources(before) == {LMS}

    # 5. Too early, it says what the consumers do not take.
    site.republish()
    assert story.missing() == overtaken

    # 5. Once Credentials' clock, as it was, would say what the LMS's says.
    site.republish(ahead=HOUR)
    assert story.missing() == set()
    assert story.wrong() == set()
    assert len(story.owed) == 2 * len(HISTORIES) + 2
    assert story.duplicates() == told_twice + 2 * len(story.owed) - len(["unheard"])


def test_credentials_off_too_early(site: CutoverSite, story: Story) -> None:
    site.set_up(credentials=True, lms=False)
    story.award("kept")
    story.award("lost")
    site.switch_credentials(False)
    # Nobody says so.
    story.award("unheard")
    story.revoke("lost")
    site.switch_lms(True)
    story.award("heard")
    assert story.missing() == {"unheard", "lost"}

    site.republish()
    assert story.missing() == set()
    assert story.wrong() == set()


def test_way_back(site: CutoverSite, story: Story) -> None:
    site.set_up(credentials=False, lms=True)
    story.change("A")

    assert story.sources() == {LMS}

    # 1. Credentials' events on.
    site.switch_credentials(True)

    # 2. The last chance to say again what was lost before.
    site.republish()
    story.change("B")
    site.credentials.set_clock(-HOUR)
    story.award("waiting")
    story.award("hurried")
    assert story.missing() == set()

    # 3. All workers of the LMS stop, before the first one starts again with the events off.
    site.worker.stop()
    before = len(story.events())
    story.revoke("waiting")

    # 4. Meanwhile a clock that is behind comes to where the LMS's was. To have an hour pass on it is to set it.
    site.credentials.set_clock(0)
    site.switch_lms(False)
    story.change("C", behind=0)
    assert story.missing() == set()
    assert story.wrong() == set()
    assert story.sources(before) == {CREDENTIALS}

    # Had nobody waited, what Credentials says would look older than what the LMS has said.
    site.credentials.set_clock(-HOUR)
    story.revoke("hurried")
    story.award("later")
    assert story.missing() == {"hurried"}

    # To republish puts that right, and makes it so for all certificates, for as long again.
    site.republish()
    assert story.missing() == set()
    story.revoke("later")
    assert story.missing() == {"later"}


def test_events_suffice_for_credentials(site: CutoverSite, story: Story) -> None:
    hidden = PROGRAMS[-1]
    site.set_up(credentials=False, lms=True, consumer=False)
    begun = len(site.stream())
    story.award("never-looked", known=False)
    story.award("awarded", "revoked", "returned", "renamed", "renamed-revoked", "revocation-lost", "renamed-lost")
    # Until that date, Credentials hides the certificate from the LMS, which awards it again each time.
    site.do("set_available_date", course_run=runs_of(hidden)[0], mode="verified", date="2100-01-01T00:00:00Z")
    site.work()
    story.award("repeated", program=hidden)
    story.revoke("revoked", "returned")
    story.award("returned")
    for _repeat in range(2):
        site.do("award_again", username=story.usernames["repeated"])
        site.work()
    # Asked for the new name, Credentials knows no certificate, and is asked to award another one.
    old_names = [story.rename(learner) for learner in ("renamed", "renamed-revoked")]
    story.award("renamed", "renamed-revoked")
    story.revoke("renamed-revoked")

    site.bus.stop()
    story.award("award-lost", "both-lost")
    story.revoke("revocation-lost")
    old_names.append(story.rename("renamed-lost"))
    story.award("renamed-lost")
    story.revoke("both-lost")
    site.bus.start()

    def certificates(database: str) -> dict[tuple[str, str], str]:
        programs = (story.program["uuid"], hidden["uuid"])
        return {key: status for key, status in site.certificates(database).items() if key[1] in programs}

    posted = certificates("credentials")
    assert [posted.pop((name, story.program["uuid"])) for name in old_names] == ["awarded"] * 3
    assert {name: status for (name, _program), status in posted.items()} == {
        story.usernames[learner]: status for learner, status in story.owed.items()
    }
    assert max(item["posts"] for item in site.credentials.credentials() if item["program_uuid"] == hidden["uuid"]) == 3

    # From nothing but the stream.
    with site.second_credentials("second") as second:
        site.wait_for_group("second", second)
        different = {name for (name, _program), _status in posted.items() ^ certificates("second").items()}
        lost = [story.usernames[name] for name in ("award-lost", "both-lost", "revocation-lost", "renamed-lost")]
        assert different == {*lost, old_names[-1]}
        before = len(site.stream())
        site.republish()
        site.wait_for_group("second", second)
        assert certificates("second") == posted
        # One for each name that the LMS knows: the consumer has published nothing itself.
        assert len(site.stream()) - before == len(site.certificates("credentials")) - len(old_names)

        # Everything once more, late and in the wrong order.
        with connect(site.bus_url) as client:
            for _id, entry in reversed(site.stream()[begun:]):
                client.xadd(site.stream_key, entry)
        site.wait_for_group("second", second)
        assert certificates("second") == posted


def test_credentials_must_not_publish_what_it_consumes(site: CutoverSite, story: Story) -> None:
    site.set_up(credentials=False, lms=True, consumer=False)
    with connect(site.bus_url) as client:
        client.xgroup_create(site.stream_key, "loop", id="$", mkstream=True)
    before = len(site.stream())
    with site.second_credentials("loop", publishing=True) as process:
        story.award("one")
        wait_for(lambda: len(site.stream()) > before + 20, "answers to one event, and to the answers", alive=[process])
    sources = [entry[b"source"].decode() for _id, entry in site.stream()[before:]]
    assert (sources[0], set(sources[1:])) == (LMS, {CREDENTIALS})
