# The slice: written for this repository, in place of the platform's file of this path.
"""Whether learners' records go to Credentials."""

from openedx.core.djangoapps.site_configuration import helpers as configuration_helpers


def is_learner_records_enabled_for_org(org):
    """Tell whether the records of an organisation's learners go to Credentials, as they do by default."""
    return configuration_helpers.get_value_for_org(org, "ENABLE_LEARNER_RECORDS", True)
