"""How much of a fitness is noise: candidates x batches under one set of weights."""
