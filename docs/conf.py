"""
Renders the change's pages as the platform does: `make docs`, nitpicky, warnings as errors.
"""

project = "Program certificate events"
# Any of the pages may come first: the platform includes each in a tree of its own.
root_doc = "how_tos/publish-program-certificate-events"
suppress_warnings = ["toc.not_included"]
nitpicky = True
html_theme = "alabaster"
