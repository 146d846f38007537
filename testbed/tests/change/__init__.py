"""Tests of what the change promises, on a whole site."""
