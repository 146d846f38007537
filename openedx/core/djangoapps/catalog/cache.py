# The slice: written for this repository, in place of the platform's file of this path.
"""Keys under which ``cache_programs`` leaves programs for the rest of the LMS."""

# A program's data.
PROGRAM_CACHE_KEY_TPL = "program-{uuid}"

# The uuids of a site's programs.
SITE_PROGRAM_UUIDS_CACHE_KEY_TPL = "program-uuids-{domain}"
