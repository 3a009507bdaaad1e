"""How a task says that it did not end as it should.

These classes have a module of their own: the module of the process runs under another
name, so a class in it would not be the one that tasks raise.
"""


class UnfinishedError(Exception):
    """A task ended before its work did, and can go on; the message says how far."""


class WrongError(RuntimeError):
    """A task's result was written, but is not what it must be; it would be so again."""
