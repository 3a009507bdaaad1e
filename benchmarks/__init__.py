"""Measures speed against a torch loop of the same arithmetic, and compile time."""
