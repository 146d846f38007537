"""
A Django application that watches the LMS's processes from inside: what the consumer received, what became of tasks.

The environment of a process says what is watched in it; without these variables the application does nothing.
"""
