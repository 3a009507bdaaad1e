"""Looks up entries of registries by name, with one error message for all of them."""

import difflib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TypeVar

T = TypeVar("T")


class LazyTable(MutableMapping[str, T]):
    """A registry whose names are known before the modules of its entries are imported.

    Commands that only list or check names need not wait for JAX. An entry of one's own
    is added by assignment, as to a dictionary.
    """

    def __init__(self, loaders: Mapping[str, Callable[[], T]]):
        """Takes a function per name that imports and returns the entry."""
        self._loaders = dict(loaders)
        self._entries: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            self._entries[name] = self._loaders[name]()
        return self._entries[name]

    def __setitem__(self, name: str, entry: T) -> None:
        self._loaders[name] = lambda: entry
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._loaders[name]
        self._entries.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._loaders

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)


def lookup(table: Mapping[str, T], name: str, what: str) -> T:
    """The entry of a registry with this name.

    Args:
      table: name -> entry.
      name: of the entry.
      what: what the entries are, as the error message calls them ("preset").

    Raises:
      ValueError: there is no such entry; the message lists close matches and all names.
    """
    check_known(table, name, what)
    return table[name]


def check_known(table: Mapping[str, T], name: str, what: str) -> None:
    """Refuses a name that a registry does not have; imports no entry.

    Args:
      table, name, what: as of `lookup`.

    Raises:
      ValueError: as of `lookup`.
    """
    if isinstance(name, str) and name in table:
        return
    close = difflib.get_close_matches(str(name), table, n=3)
    hint = f"Did you mean {', '.join(close)}? " if close else ""
    raise ValueError(
        f"Unknown {what} {name!r}. {hint}Known: {', '.join(sorted(table))}. "
        f"See `python -m egnas_jax list`."
    )
