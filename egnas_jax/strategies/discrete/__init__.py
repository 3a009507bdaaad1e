"""Searches over discrete cells under shared weights: evolution, swarms, controllers."""
