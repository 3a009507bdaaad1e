"""Measures how much of a fitness is noise of the batch it is evaluated on."""
