# The slice: written for this repository, in place of the platform's file of this path.
"""Values shared by course settings and their readers."""

from enum import Enum


class CertificatesDisplayBehaviors(str, Enum):
    """When a course shows its certificates. A ``str``, so that it equals what the database holds."""

    END = "end"
    END_WITH_DATE = "end_with_date"
    EARLY_NO_INFO = "early_no_info"
