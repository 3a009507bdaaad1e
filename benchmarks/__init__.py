"""Speed beside a torch loop of the same arithmetic, compile time and memory."""
