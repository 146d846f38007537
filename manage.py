#!/usr/bin/env python
# The slice: written for this repository, in place of the platform's file of this path.
"""
Runs a Django command in the LMS or in Studio: ``./manage.py {lms|cms} [--settings NAME] COMMAND ...``.

``--settings NAME`` picks ``<lms|cms>/envs/NAME.py``. Without it and ``DJANGO_SETTINGS_MODULE``, it is
``devstack``, which the LMS alone has here.
"""

import argparse
import os
import sys


def main(argv):
    """Choose the settings, then hand over to Django."""
    parser = argparse.ArgumentParser(prog="manage.py", add_help=False, allow_abbrev=False)
    parser.add_argument("variant", choices=["lms", "cms"])
    parser.add_argument("--settings")
    options, django_arguments = parser.parse_known_args(argv)

    if options.settings:
        os.environ["DJANGO_SETTINGS_MODULE"] = f"{options.variant}.envs.{options.settings}"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", f"{options.variant}.envs.devstack")

    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", *django_arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
