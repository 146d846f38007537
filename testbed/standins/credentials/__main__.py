"""
The local stand-in of Credentials.

``python -m testbed.standins.credentials --database FILE --programs FILE [--port 0]`` starts it.

The environment has to have ``CREDENTIALS_JWT_SECRET_KEY``, ``CREDENTIALS_JWT_ISSUER`` and ``CREDENTIALS_JWT_AUDIENCE``.
The database is created if it is not there, and kept: a stand-in that is started again knows its certificates.
``CREDENTIALS_CFG`` (optional) names a YAML file of settings, those of the event bus above all.
"""

import argparse
import logging
import os

import django
from django.core.management import call_command

from testbed.standins import serving


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True, metavar="FILE", help="programs JSON")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--database", required=True, metavar="FILE", help="SQLite file")
    parser.add_argument("--consume", metavar="GROUP", help="do not serve: take certificates from events, as this group")
    options = parser.parse_args()
    os.environ.update(  # not setdefault: the caller's DJANGO_SETTINGS_MODULE is the LMS's
        DJANGO_SETTINGS_MODULE="testbed.standins.credentials.settings",
        CREDENTIALS_STANDIN_DATABASE=options.database,
        CREDENTIALS_STANDIN_PROGRAMS=options.programs,
    )
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("testbed").setLevel("INFO")
    logging.getLogger("django.request").setLevel("ERROR")  # every answer has its line already; these are the tracebacks
    django.setup()
    from testbed.standins.credentials.models import User  # it needs the settings, and these the environment

    call_command("migrate", run_syncdb=True, verbosity=0)
    # The user that the LMS speaks as, whom an operator has made a superuser here.
    User.objects.get_or_create(username="credentials_service_user", defaults={"is_staff": True, "is_superuser": True})
    if options.consume:
        from testbed.standins.credentials.consumer import consume

        consume(options.consume)
    else:
        serving.serve(options.port)


if __name__ == "__main__":
    main()
