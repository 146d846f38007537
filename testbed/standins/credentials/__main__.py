"""
The local stand-in of Credentials.

``python -m testbed.standins.credentials --database FILE --programs FILE [--port 0]`` starts it.

The environment has to have ``CREDENTIALS_JWT_SECRET_KEY``, ``CREDENTIALS_JWT_ISSUER`` and ``CREDENTIALS_JWT_AUDIENCE``.
The database is created if it is not there, and kept: a stand-in that is started again knows its certificates.
``CREDENTIALS_CFG`` (optional) names a YAML file of settings, those of the event bus above all.
"""

import argparse
import os

import django
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import connection

from testbed.standins import serving


def main() -> None:
    serving.end_on_signals()
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
    django.setup()
    from testbed.standins.credentials import settings  # it needs the environment, and the models the settings
    from testbed.standins.credentials.models import User

    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode=WAL")  # readers do not wait for a writer; the file remembers it
    call_command("migrate", run_syncdb=True, verbosity=0)
    superuser = {"is_staff": True, "is_superuser": True}
    User.objects.get_or_create(username=settings.SERVICE_USERNAME, defaults=superuser)
    if options.consume:
        from testbed.standins.credentials.consumer import consume

        consume(options.consume)
        return
    serving.serve(get_wsgi_application(), options.port)


if __name__ == "__main__":
    main()
