"""
What the platform asks of every change before its tests run, and how it runs them: here, for the files of the change.
"""
