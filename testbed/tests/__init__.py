"""Tests of what is in ``testbed``, room by room, and of the change on a whole site."""
