"""Measures what publishing the events costs, for ``make benchmark``: its sites, its rounds, and the report."""
