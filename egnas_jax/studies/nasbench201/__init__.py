"""Searches NAS-Bench-201's table of results, thousands of runs at once."""
