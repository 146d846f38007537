"""Tests of the benchmarks: rounds, and that pages show what was measured."""
