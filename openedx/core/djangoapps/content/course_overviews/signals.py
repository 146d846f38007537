# The slice: written for this repository, in place of the platform's file of this path.
"""Signals about changed course runs."""

from django.dispatch import Signal

# Sent with updated_course_overview, previous_self_paced.
COURSE_PACING_CHANGED = Signal()
