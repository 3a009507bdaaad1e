"""Pixels in, batches out: where images come from, how they are split and augmented."""
