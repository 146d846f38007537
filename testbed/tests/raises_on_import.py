"""
A module that cannot be imported, like a back end of the event bus whose settings are wrong.
"""

raise ValueError("invalid literal for int() with base 10: '10k'")
