# The slice: written for this repository, in place of the platform's file of this path.
"""
Management command ``backpopulate_program_credentials``: brings lost award tasks back.
"""

import logging

from django.contrib.sites.models import Site
from django.core.management.base import BaseCommand

from common.djangoapps.course_modes.models import CourseMode
from lms.djangoapps.certificates.data import CertificateStatuses
from lms.djangoapps.certificates.models import GeneratedCertificate
from openedx.core.djangoapps.catalog.utils import get_programs
from openedx.core.djangoapps.programs.tasks import award_program_certificates

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    """Starts the award task of each learner with a certificate that counts towards a program."""

    help = "Award the program certificates that are missing. Without --commit, only tell how many learners there are."

    def add_arguments(self, parser):
        """Declare the options."""
        parser.add_argument("-c", "--commit", action="store_true", help="Start the tasks.")
        parser.add_argument("--usernames", nargs="+", metavar="NAME", help="Only for these learners.")

    def handle(self, *args, **options):
        """Find the learners, and start their tasks."""
        runs = {
            (run["key"], run["type"])
            for site in Site.objects.all()
            for program in get_programs(site)
            for course in program["courses"]
            for run in course["course_runs"]
        }
        certificates = GeneratedCertificate.eligible_available_certificates.filter(
            status__in=CertificateStatuses.PASSED_STATUSES
        ).select_related("user")
        if options["usernames"]:
            certificates = certificates.filter(user__username__in=options["usernames"])
        learners = {certificate.user for certificate in certificates if self._counts(certificate, runs)}
        logger.info(f"{len(learners)} learners have certificates that count towards a program.")
        if options["commit"]:
            for learner in learners:
                award_program_certificates.delay(learner.username)

    @staticmethod
    def _counts(certificate, runs):
        professional = certificate.mode == CourseMode.NO_ID_PROFESSIONAL_MODE
        modes = {certificate.mode, CourseMode.PROFESSIONAL} if professional else {certificate.mode}
        return any((str(certificate.course_id), mode) in runs for mode in modes)
