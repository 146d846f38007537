"""The tests of the edits: tables of files in the shapes that releases have, and what becomes of them or why not."""
