"""Measures what publishing the events costs: ``make benchmark``."""
