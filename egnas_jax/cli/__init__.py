"""Implements the commands of `egnas`; main.py parses the command line."""
