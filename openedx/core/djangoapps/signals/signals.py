# The slice: written for this repository, in place of the platform's file of this path.
"""Signals between the platform's applications."""

from django.dispatch import Signal

# Sent with user, course_key, mode, status.
COURSE_CERT_CHANGED = Signal()
COURSE_CERT_AWARDED = Signal()
COURSE_CERT_REVOKED = Signal()

# Sent with course_key.
COURSE_CERT_DATE_CHANGE = Signal()
