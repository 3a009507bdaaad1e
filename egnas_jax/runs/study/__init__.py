"""Studies that many workers run: a plan, its units, and the workers."""
