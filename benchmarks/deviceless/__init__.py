"""Compiles the programs of a search for a GPU, on a machine that has none."""
