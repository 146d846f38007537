"""Tests that the stand-ins answer as the real services do."""
