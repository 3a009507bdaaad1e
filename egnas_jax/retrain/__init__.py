"""A derived network trained from scratch and judged on the test set."""
