# The slice: written for this repository, in place of the platform's file of this path.
