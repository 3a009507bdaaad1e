"""Searches over discrete cells under shared weights: evolution and swarms."""
