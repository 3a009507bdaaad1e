"""From the records of runs to tables and figures; trains nothing."""
