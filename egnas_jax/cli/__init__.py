"""The commands of `egnas`, a file for each subject; cli.py puts them together."""
