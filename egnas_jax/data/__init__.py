"""Loads, splits, augments and batches images."""
