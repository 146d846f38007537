"""``make run``: what acts for a person who wants to see a certificate become an event."""
