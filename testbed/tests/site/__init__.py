"""Tests that the slice behaves as the platform does."""
