"""Trains a derived network from scratch and evaluates it on the test set."""
