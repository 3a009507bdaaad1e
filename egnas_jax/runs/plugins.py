"""Loads plug-ins, which add primitives, spaces, methods and presets from outside.

A plug-in is a Python file or module, which calls `register_primitive`,
`register_space`, `register_strategy` and `register_preset` when it is imported. It is
loaded once in a process, whatever way it is named, and what it adds to the tables is
remembered as its own.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import pathlib
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from egnas_jax.lookup import LazyTable
from egnas_jax.runs.plugin_sources import (
    Source,
    add_to_path,
    find_source,
    modules_elsewhere,
    wrong_modules,
)
from egnas_jax.runs.presets import PRESETS, RECIPES
from egnas_jax.space import SPACES, Space
from egnas_jax.space.primitive_names import FAMILIES
from egnas_jax.strategies import STRATEGIES

GROUP = "egnas_jax.plugins"  # of entry points; each names a module


@dataclasses.dataclass(frozen=True, eq=False)
class Plugin:
    """A plug-in that this process has loaded.

    Attributes:
      source: its files, as they were when they were loaded.
      registered: kind -> name -> entry, what it added to the tables.
      allow_changed: whether runs may be read with it that were written by other
        contents of its files.
      elsewhere: file -> sha256 of modules that it imports from other places, which
        runs do not record.
    """

    source: Source = dataclasses.field(repr=False)
    registered: Mapping[str, Mapping[str, Any]]
    allow_changed: bool = False
    elsewhere: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """Dotted name of the module, or stem of the file."""
        return self.source.name

    @property
    def file(self) -> pathlib.Path:
        """Its absolute path."""
        return self.source.file

    @property
    def sha256(self) -> str:
        """Of the file."""
        return self.source.sha256

    @property
    def names(self) -> dict[str, list[str]]:
        """Kind -> the names that it registered."""
        names: dict[str, set[str]] = {}
        for kind, entries in self.registered.items():
            # a primitive stands in the table of its functions and in that of its family
            names.setdefault(kind.removesuffix(" family"), set()).update(entries)
        return {kind: sorted(of_kind) for kind, of_kind in names.items()}


_LOADED: dict[pathlib.Path, Plugin] = {}


def loaded_plugins() -> tuple[Plugin, ...]:
    """The plug-ins of this process, in the order in which they were loaded."""
    return tuple(_LOADED.values())


def load_plugin(
    plugin: str | os.PathLike,
    *,
    allow_changed: bool = False,
    log: Callable[[str], Any] | None = None,
) -> Plugin:
    """Loads a plug-in, unless this process has loaded it already.

    Args:
      plugin: path of a .py file, or the dotted name of a module.
      allow_changed: read runs with it that were written by other contents of its files.
      log: called with a note where it registers nothing; None: the logger "egnas_jax"
        gets it as a warning.

    Raises:
      ValueError: it does not exist, cannot be imported (with the file and line), or
        has changed since it was loaded.
    """
    source = find_source(plugin)
    previous = _LOADED.get(source.file)
    if previous is None:
        log = log or logging.getLogger("egnas_jax").warning
        registered = _run(source)
        if registered is not None and not registered:
            log(
                f"The plug-in {source.file} registers nothing. Call "
                f"eg.register_primitive, eg.register_space, eg.register_strategy or "
                f"eg.register_preset in it, outside of functions."
            )
        elsewhere = modules_elsewhere(source)
        if elsewhere:
            log(
                f"The plug-in {source.file} imports {', '.join(elsewhere)}, which is "
                f"not in its folder. Runs do not record such a file, so `egnas verify` "
                f"does not notice when it changes."
            )
        plugin = Plugin(source, registered or {}, allow_changed, elsewhere)
        _LOADED[source.file] = plugin
    elif _digest(previous.source) != _digest(source):
        raise ValueError(
            f"The plug-in {source.file} has changed since this process loaded it. "
            f"Start a new process (in a notebook: restart the kernel)."
        )
    elif allow_changed:
        changed = dataclasses.replace(previous, allow_changed=True)
        _LOADED[source.file] = changed
    return _LOADED[source.file]


def load_installed(log: Callable[[str], Any]) -> None:
    """Loads the modules that installed packages name in the entry-point group.

    One that cannot be loaded is left out, with a note: it may have nothing to do with
    the command.

    Args:
      log: called with the notes.
    """
    for point in importlib.metadata.entry_points(group=GROUP):
        try:
            load_plugin(point.module, log=log)
        except ValueError as error:
            package = point.dist.name if point.dist else "unknown"
            log(
                f"The installed plug-in {point.name} (package {package}) is left out. "
                f"{error}"
            )


def plugin_identity() -> list:
    """Names and digests of all files of the loaded plug-ins, for keys of caches."""
    return [
        [plugin.name, _digest(plugin.source), plugin.elsewhere]
        for plugin in loaded_plugins()
    ]


def identity_of_primitives(space: Space) -> list | None:
    """What primitives of plug-ins in a space are made of.

    Returns:
      Their names, with the digests of their plug-ins; None where all are built in, or
      one is of a script, whose code is not known.
    """
    from egnas_jax.nn.primitives import BUILT_IN, PRIMITIVES

    entries = {name: PRIMITIVES[name] for name in space.primitives}
    own = {n: entry for n, entry in entries.items() if entry is not BUILT_IN.get(n)}
    owners = {n: owner_of("primitive", n, entry) for n, entry in own.items()}
    if not own or None in owners.values():
        return None
    return [
        [name, _digest(owner.source), owner.elsewhere] for name, owner in owners.items()
    ]


def is_of_plugin(kind: str, name: str, entry: Any) -> bool:
    """Whether an entry of a table is what a plug-in has put there.

    Args:
      kind: of the table: "primitive", "space", "strategy", "preset" ...
      name: of the entry.
      entry: what the table holds now.
    """
    return owner_of(kind, name, entry) is not None


def owner_of(kind: str, name: str, entry: Any) -> Plugin | None:
    """The plug-in that has put an entry into a table; None: no plug-in has.

    Args:
      kind, name, entry: see `is_of_plugin`.
    """
    for plugin in loaded_plugins():
        entries = plugin.registered.get(kind, {})
        if name in entries and entries[name] is entry:
            return plugin
    return None


def plugin_place(error: BaseException) -> str | None:
    """The last line of a plug-in that an error passed: "my_file.py:12"; None: none."""
    files = {str(file) for p in loaded_plugins() for file in p.source.files}
    return _last_place(error, files)


def _digest(source: Source) -> list:
    return [source.sha256, source.digests]


def _run(source: Source) -> dict[str, dict[str, Any]] | None:
    """Imports a plug-in; the entries that it registers, by kind.

    None where a module was imported before, so that its entries are not known. After
    an error the tables are as they were before.
    """
    if source.is_module and source.name in sys.modules:
        return None
    tables = _tables()
    before = {kind: _snapshot(table) for kind, table in tables.items()}
    add_to_path(source.root)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout may be one JSON object
            _import(source)
        _check_own_modules(source)
    except (Exception, SystemExit) as error:
        for kind, table in tables.items():
            _restore(table, before[kind])
        _forget_modules(source)
        raise ValueError(_failure(source, error)) from error
    return {
        kind: entries
        for kind, table in tables.items()
        if (entries := _added(table, before[kind]))
    }


def _import(source: Source) -> None:
    if source.is_module:
        importlib.import_module(source.name)
        return
    name = module_name(source.file)
    spec = importlib.util.spec_from_file_location(name, source.file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickle look for it
    # not from a stored bytecode file, which an edit of the same second leaves valid
    exec(compile(source.content, str(source.file), "exec"), module.__dict__)


def _check_own_modules(source: Source) -> None:
    for name, file in wrong_modules(source).items():
        raise ValueError(
            f"The plug-in imports {name}, and a module of that name was taken from "
            f"{file} instead of the plug-in's folder. Modules of all plug-ins share "
            f"their names: rename one, or make a package of it."
        )


def _forget_modules(source: Source) -> None:
    """Removes the modules of a plug-in, so that it can be imported again."""
    files = {str(file) for file in source.files}
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) in files:
            del sys.modules[name]


def module_name(file: pathlib.Path) -> str:
    """The name in `sys.modules` of a plug-in that is loaded by its path.

    Args:
      file: absolute path; files of one name in two folders have two names.
    """
    place = hashlib.sha256(str(file).encode()).hexdigest()[:8]
    return f"egnas_plugin_{file.stem}_{place}"


def _tables() -> dict[str, MutableMapping]:
    """The tables that a plug-in may add to, by the kind of their entries."""
    from egnas_jax.evolution import EVOLUTIONS
    from egnas_jax.nn.primitives import PRIMITIVES

    return {
        "primitive": PRIMITIVES,
        "primitive family": FAMILIES,
        "space": SPACES,
        "strategy": STRATEGIES,
        "evolution": EVOLUTIONS,
        "preset": PRESETS,
        "recipe": RECIPES,
    }


def _snapshot(table: MutableMapping) -> dict[str, Any]:
    return table.snapshot() if isinstance(table, LazyTable) else dict(table)


def _restore(table: MutableMapping, before: dict[str, Any]) -> None:
    if isinstance(table, LazyTable):
        table.restore(before)
    else:
        table.clear()
        table.update(before)


def _added(table: MutableMapping, before: dict[str, Any]) -> dict[str, Any]:
    """Entries that are new or replaced."""
    return {
        name: table[name]
        for name, entry in _snapshot(table).items()
        if name not in before or before[name] is not entry
    }


def _failure(source: Source, error: BaseException) -> str:
    """What went wrong in a plug-in, after the file and line where it did."""
    files = {str(file) for file in source.files}
    place = _last_place(error, files) or str(source.file)
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    if not isinstance(error, ValueError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{place}: {text}"


def _last_place(error: BaseException, files: set[str]) -> str | None:
    if isinstance(error, SyntaxError) and error.filename in files:
        return f"{error.filename}:{error.lineno or 1}"
    frames = traceback.walk_tb(error.__traceback__)
    places = [
        f"{frame.f_code.co_filename}:{line}"
        for frame, line in frames
        if frame.f_code.co_filename in files
    ]
    return places[-1] if places else None
