"""How the change edits the platform's own files: one module for each file or task, and what they share."""
