"""Entry of a table by name: the one error message of all registries."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def lookup(table: Mapping[str, T], name: str, what: str) -> T:
    """Entry of a registry, or an error that helps.

    Args:
      table: name -> entry.
      name: what was asked for.
      what: what the entries are, as the message calls them ("preset").

    Raises:
      ValueError: no such entry; the message lists close matches and all names.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    close = difflib.get_close_matches(str(name), table, n=3)
    hint = f"Did you mean {', '.join(close)}? " if close else ""
    raise ValueError(
        f"Unknown {what} {name!r}. {hint}Known: {', '.join(sorted(table))}. "
        f"See `python -m egnas_jax list`."
    )
