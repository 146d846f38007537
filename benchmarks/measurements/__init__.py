"""What is measured: a module for each part, which measures, judges its result by the targets, and tabulates it."""
