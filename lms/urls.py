# The slice: written for this repository, in place of the platform's file of this path.
"""The LMS's URLs. Nothing on the way from a course certificate to an event serves a page."""

urlpatterns = []
