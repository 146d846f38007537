"""
Where the time of an event goes.
"""

import re

CLIENT = "Redis client (redis-py, walrus)"
# What a function belongs to, by its file; what is in none of them belongs to its caller.
PLACES = {
    "the emitter (programs/events.py)": r"programs/events\.py",
    "turning it into Avro (openedx-events, fastavro)": r"openedx_events/event_bus/avro/|fastavro/",
    "signal, validation, metadata (openedx-events, Django)": r"openedx_events/|django/dispatch/",
    "log lines (logging)": r"logging/__init__\.py",
    CLIENT: r"/redis/|walrus/",
    "back end (edx-event-bus-redis)": r"edx_event_bus_redis/",
}
# Calls in which redis-py waits for the server.
WAITING = re.compile(r"\b(recv|recv_into|sendall|select|poll|can_read)\b")
SERVER = "sending to Redis, and waiting for it"
REST = "the rest"


def _place(frame):
    """Return what a frame belongs to, or None."""
    path = frame.file_path or ""
    return next((name for name, pattern in PLACES.items() if re.search(pattern, path)), None)


def shares(session):
    """
    Divide the time of a profile.

    Args:
        session (pyinstrument.session.Session): the profile.

    Returns:
        dict[str, float]: the share of each place; together 1.
    """
    times = {}

    def walk(frame, place):
        place = _place(frame) or place
        if WAITING.search(frame.function) and place == CLIENT:
            place = SERVER
        children = sum(child.time for child in frame.children)
        times[place] = times.get(place, 0) + max(frame.time - children, 0)
        for child in frame.children:
            walk(child, place)

    walk(session.root_frame(), REST)
    whole = sum(times.values())
    return {place: time / whole for place, time in sorted(times.items(), key=lambda item: -item[1])}
