"""
Start the local stand-in of Discovery: ``python -m testbed.standins.discovery --programs FILE [--port 0]``.

The environment has to have ``DISCOVERY_JWT_SECRET_KEY``, ``DISCOVERY_JWT_ISSUER`` and ``DISCOVERY_JWT_AUDIENCE``.
"""

import os

import django
from django.core.wsgi import get_wsgi_application

from testbed.standins import serving


def main() -> None:
    """Read the options and serve."""
    serving.end_on_signals()
    options = serving.option_parser(__doc__).parse_args()
    os.environ.update(  # not setdefault: the caller's DJANGO_SETTINGS_MODULE is the LMS's
        DJANGO_SETTINGS_MODULE="testbed.standins.discovery.settings",
        DISCOVERY_STANDIN_PROGRAMS=options.programs,
    )
    django.setup()
    serving.serve(get_wsgi_application(), options.port)


if __name__ == "__main__":
    main()
