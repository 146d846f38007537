# The slice: written for this repository, in place of the platform's file of this path.
"""Settings whose values are computed from other settings."""

import sys


class Derived:
    """Marks a setting as derived."""

    def __init__(self, calculate_value):
        self.calculate_value = calculate_value


def derive_settings(module_name):
    """Replace each ``Derived`` in a settings module by its value."""
    module = sys.modules[module_name]
    for name, value in list(vars(module).items()):
        if isinstance(value, Derived):
            setattr(module, name, value.calculate_value(module))
