"""Turns the records of finished runs into tables and figures; trains nothing."""
