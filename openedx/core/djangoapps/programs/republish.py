"""
Sends the events of one learner's program certificates again. The task ``republish_program_certificates`` uses it.
"""

import logging
from datetime import datetime, timedelta
from functools import partial
from threading import Thread
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User  # pylint: disable=imported-auth-user
from django.utils.timezone import now
from openedx_events.event_bus import get_producer
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from openedx.core.djangoapps.credentials.models import CredentialsApiConfig
from openedx.core.djangoapps.credentials.utils import get_credentials_api_base_url, get_credentials_api_client
from openedx.core.djangoapps.programs.events import EVENTS, emit_program_certificate
from openedx.core.lib.edx_api_utils import get_api_data

LOGGER = logging.getLogger(__name__)

COUNTS = ("awarded", "revoked", "skipped", "failed")
MAX_PAGES = 10  # of 20 certificates each
TIMEOUT = (5, 30)  # seconds to connect, and to read; the platform's client has none
RETRIES = Retry(  # two, with one second of pauses in all; Retry-After is ignored
    2, connect=0, read=0, status_forcelist=[429, 502, 503, 504], backoff_factor=0.5, respect_retry_after_header=False
)
MAX_AGE_GAP = timedelta(days=1)  # the clocks of Credentials and of the LMS may differ


def republish(user: User, named: bool) -> dict[str, int]:
    """
    Read a learner's program certificates from Credentials, and send an event for each.

    Args:
        user: The learner, fetched with ``select_related("profile")``.
        named: Include certificates that are more than a day older than the learner's account. Usually they belong to
            somebody else who had the username before.

    Returns:
        How many certificates are ``awarded``, ``revoked``, ``skipped`` (older than the account) and ``failed``.

    Raises:
        Exception: Credentials could not be read. It is safe to call this again.
    """
    counts = dict.fromkeys(COUNTS, 0)
    time = now()
    service_user = User.objects.get(username=settings.CREDENTIALS_SERVICE_USERNAME)
    with get_credentials_api_client(service_user) as client:
        client.request = partial(client.request, timeout=TIMEOUT)
        client.mount("http://", HTTPAdapter(max_retries=RETRIES))
        client.mount("https://", HTTPAdapter(max_retries=RETRIES))
        config, base_url = CredentialsApiConfig.current(), get_credentials_api_base_url()
        read = partial(get_api_data, config, "credentials", client, base_url)
        for number in range(1, MAX_PAGES + 1):
            query = {"type": "program", "username": user.username, "page": number}
            page = read(querystring=query, traverse_pagination=False, raise_on_error=True)
            if not (isinstance(page, dict) and isinstance(page.get("results"), list)):
                raise ValueError("The answer of Credentials is not a page of certificates")
            names = {str(record.get("username")).lower() for record in page["results"] if isinstance(record, dict)}
            if not names <= {user.username.lower()}:
                LOGGER.error(f"Credentials answered with certificates of other learners than user {user.id}")
                break
            for record in page["results"]:
                counts[_publish(user, named, time, record)] += 1
            if not page.get("next"):
                return counts
        else:
            LOGGER.error(f"Credentials has more than {MAX_PAGES} pages of program certificates of user {user.id}")
    counts["failed"] += 1
    return counts


def _publish(user: User, named: bool, time: datetime, record: dict) -> str:
    """Send the event of one certificate, and return what it counts as."""
    try:
        uuid, program_uuid, status = UUID(record["uuid"]), UUID(record["credential"]["program_uuid"]), record["status"]
        too_old = user.date_joined - datetime.fromisoformat(record["created"]) > MAX_AGE_GAP
        EVENTS[status]  # pylint: disable=pointless-statement
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        LOGGER.error(f"A program certificate of user {user.id} is malformed ({type(exc).__name__})")
        return "failed"
    if too_old and not named:
        LOGGER.warning(f"Program certificate {uuid} is older than the account of user {user.id}: skipped")
        return "skipped"
    return status if emit_program_certificate(user, program_uuid, status, time) else "failed"


def wait_for_producer(seconds: float | None = None) -> bool:
    """Wait for a producer that sends in the background, as Kafka's does. Return whether it has sent everything."""
    flush, flushed = getattr(get_producer(), "prepare_for_shutdown", lambda: None), []
    thread = Thread(target=lambda: flushed.append(flush()), daemon=True)
    thread.start()
    thread.join(seconds)
    if not flushed:
        LOGGER.error("The event bus has not confirmed all republished program certificate events")
    return bool(flushed)
