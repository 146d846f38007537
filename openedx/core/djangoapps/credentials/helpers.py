# The slice: written for this repository, in place of the platform's file of this path.
"""Whether learners' records go to Credentials."""

from edx_toggles.toggles import SettingToggle

from openedx.core.djangoapps.site_configuration import helpers as configuration_helpers

# .. toggle_name: ENABLE_LEARNER_RECORDS
# .. toggle_implementation: SettingToggle
# .. toggle_default: True
# .. toggle_description: Learners' course certificates are sent to Credentials.
# .. toggle_use_cases: open_edx
# .. toggle_creation_date: 2022-04-21
ENABLE_LEARNER_RECORDS = SettingToggle("ENABLE_LEARNER_RECORDS", default=True, module_name=__name__)


def is_learner_records_enabled_for_org(org):
    """Tell whether the records of an organisation's learners go to Credentials."""
    return configuration_helpers.get_value_for_org(org, "ENABLE_LEARNER_RECORDS", ENABLE_LEARNER_RECORDS.is_enabled())
