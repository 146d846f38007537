# The slice: written for this repository, in place of the platform's file of this path.
"""A learner's progress in programs."""

from collections import defaultdict

from common.djangoapps.course_modes.models import CourseMode
from common.djangoapps.student.models import CourseEnrollment
from lms.djangoapps.certificates import api as certificate_api
from lms.djangoapps.certificates.data import CertificateStatuses
from openedx.core.djangoapps.catalog.utils import get_programs


class ProgramProgressMeter:
    """Measures a learner's progress in the programs of a site."""

    def __init__(self, site, user):
        self.user = user
        self.programs = get_programs(site)

    def invert_programs(self):
        """Find the programs of each course run that the learner is enrolled in."""
        enrolled = {str(enrollment.course_id) for enrollment in CourseEnrollment.enrollments_for_user(self.user)}
        inverted = defaultdict(list)
        for program in sorted(self.programs, key=lambda program: program["title"]):
            keys = {run["key"] for course in program["courses"] for run in course["course_runs"]}
            for key in keys & enrolled:
                inverted[key].append(program)
        return inverted

    @property
    def completed_programs_with_available_dates(self):
        """Find the programs that the learner has completed."""
        certificates = {
            str(certificate.course_id): certificate
            for certificate in certificate_api.get_eligible_and_available_certificates(self.user)
        }
        dates = {program["uuid"]: self._available_date(program, certificates) for program in self.programs}
        return {uuid: date for uuid, date in dates.items() if date}

    @staticmethod
    def _available_date(program, certificates):
        """Take the latest of the courses' dates, each the earliest of its runs'; None if a course is incomplete."""
        course_dates = []
        for course in program["courses"]:
            run_dates = [
                certificate.modified_date
                for run in course["course_runs"]
                if (certificate := certificates.get(run["key"])) and _counts(certificate, run)
            ]
            if not run_dates:
                return None
            course_dates.append(min(run_dates))
        return max(course_dates, default=None)


def _counts(certificate, run):
    """Tell whether a certificate is passing, and of the mode that the program asks for."""
    wanted = CourseMode.VERIFIED if run["type"] == CourseMode.CREDIT_MODE else run["type"]
    held = CourseMode.PROFESSIONAL if certificate.mode == CourseMode.NO_ID_PROFESSIONAL_MODE else certificate.mode
    return held == wanted and CertificateStatuses.is_passing_status(certificate.status)
