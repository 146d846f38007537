"""Tests that what the operators' pages say is true."""
