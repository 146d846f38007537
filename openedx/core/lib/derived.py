# The slice: written for this repository, in place of the platform's file of this path.
"""Settings whose values are computed from other settings."""

import sys


class Derived:
    """Marks a setting as derived."""

    def __init__(self, calculate_value):
        self.calculate_value = calculate_value


def derive_settings(module_name):
    """Replace each ``Derived`` in a settings module by its value, inside of dicts and sequences too."""
    module = sys.modules[module_name]
    for name in [name for name in vars(module) if name.isupper()]:
        setattr(module, name, _resolve(getattr(module, name), module))


def _resolve(value, settings):
    if isinstance(value, Derived):
        return value.calculate_value(settings)
    if isinstance(value, dict):
        for key in value:
            value[key] = _resolve(value[key], settings)
        return value
    if isinstance(value, list):
        value[:] = [_resolve(item, settings) for item in value]
        return value
    if isinstance(value, (tuple, frozenset)):
        return type(value)(_resolve(item, settings) for item in value)
    return value
