"""Tests of ``make run``."""
