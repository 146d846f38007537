"""What is measured: a module for each part, which measures, and tabulates its result."""
