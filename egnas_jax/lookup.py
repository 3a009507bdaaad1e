"""Looks up entries of registries by name, with one error message for all of them."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def lookup(table: Mapping[str, T], name: str, what: str) -> T:
    """The entry of a registry with this name.

    Args:
      table: name -> entry.
      name: of the entry.
      what: what the entries are, as the error message calls them ("preset").

    Raises:
      ValueError: there is no such entry; the message lists close matches and all names.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    close = difflib.get_close_matches(str(name), table, n=3)
    hint = f"Did you mean {', '.join(close)}? " if close else ""
    raise ValueError(
        f"Unknown {what} {name!r}. {hint}Known: {', '.join(sorted(table))}. "
        f"See `python -m egnas_jax list`."
    )
