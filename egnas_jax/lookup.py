"""Looks up entries of registries by name, with one error message for all of them."""

import difflib
import functools
import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

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
        self._first_loaders = dict(loaders)
        self._first_entries: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            loader = self._loaders[name]
            self._entries[name] = loader()
            if loader is self._first_loaders.get(name):
                self._first_entries.setdefault(name, self._entries[name])
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

    def is_original(self, name: str) -> bool:
        """Whether an entry is the one that the table was made with."""
        loader = self._loaders.get(name)
        if loader is not None and loader is self._first_loaders.get(name):
            return True
        entry = self._entries.get(name)
        return entry is not None and entry is self._first_entries.get(name)

    def snapshot(self) -> dict[str, Callable[[], T]]:
        """The functions that make the entries now, by name; imports no entry."""
        return dict(self._loaders)

    def restore(self, snapshot: Mapping[str, Callable[[], T]]) -> None:
        """Brings the entries of a snapshot back, and removes all others."""
        for name in [n for n in self if self._loaders[n] is not snapshot.get(n)]:
            del self[name]
        self._loaders.update(snapshot)


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
      table, name, what: see `lookup`.

    Raises:
      ValueError: there is no such entry; the message lists close matches and all names.
    """
    if isinstance(name, str) and name in table:
        return
    close = difflib.get_close_matches(str(name), table, n=3)
    hint = f"Did you mean {', '.join(close)}? " if close else ""
    raise ValueError(
        f"Unknown {what} {name!r}. {hint}Known: {', '.join(sorted(table))}."
    )


def listed(names: Iterable[Any]) -> str:
    """Returns the first five of some names, for a message that may have many."""
    texts = list(map(str, names))
    return ", ".join(texts[:5]) + (", ..." if len(texts) > 5 else "")


def defined_at(value: Any) -> str:
    """Where a function or a class is written, for messages: "my_file.py:12".

    Args:
      value: a function, a class, a wrapped or partly applied function, or an object
        that can be called. Of anything else the name of its module or type is
        returned.
    """
    code, value = code_of(value), _unwrapped(value)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    try:
        file = inspect.getsourcefile(value)
        return f"{file}:{max(1, inspect.getsourcelines(value)[1])}"
    except (TypeError, OSError):
        return getattr(value, "__module__", None) or type(value).__name__


def named_at(function: Any) -> str:
    """A function's name and where it is written: "my_rule (my_file.py:12)".

    Args:
      function: see `defined_at`.
    """
    inner = _unwrapped(function)
    name = getattr(inner, "__name__", type(inner).__name__)
    return f"{name} ({defined_at(function)})"


def code_of(function: Any) -> types.CodeType | None:
    """The code of a function behind partials and decorators; None: there is none.

    Args:
      function: see `defined_at`; a class has no code.
    """
    function = _unwrapped(function)
    if callable(function) and not (
        hasattr(function, "__code__") or inspect.isclass(function)
    ):  # an object with `__call__`
        function = inspect.unwrap(type(function).__call__)
    return getattr(function, "__code__", None)


def _unwrapped(function):
    """What is behind decorators and partial applications."""
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    return function
