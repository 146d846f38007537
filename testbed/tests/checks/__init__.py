"""Tests of ``testbed.checks``, and of the layout of the repository; ``make quality`` runs them."""
