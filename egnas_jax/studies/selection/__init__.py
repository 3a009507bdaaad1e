"""Selects cells from a searched supernet by other rules than the search's own."""
