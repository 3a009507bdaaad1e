"""Searches in a table of results: no network is trained, so thousands run at once."""
