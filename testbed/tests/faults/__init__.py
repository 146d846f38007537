"""The fault suites: one thing at a time is broken while certificates are awarded, or events republished."""
