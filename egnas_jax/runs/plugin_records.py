"""Records in a run directory which plug-ins a run needs, and loads them again.

plugins.json holds the name, the file and the digests of each. The file itself is not
copied, and a run directory never holds code: whoever reads a run that others sent
needs their plug-ins, too.
"""

import contextlib
import contextvars
import json
import logging
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from egnas_jax.runs.plugin_sources import Source, add_to_path, find_source, root_of
from egnas_jax.runs.plugins import Plugin, load_plugin, loaded_plugins
from egnas_jax.settings import as_dict
from egnas_jax.space import SPACES
from egnas_jax.storage import records

FILE = "plugins.json"
_FIELDS = {"name": str, "file": str, "is_module": bool, "sha256": str, "imports": dict}


class Command(NamedTuple):
    """What a command says of plug-ins.

    Attributes:
      files: files of the plug-ins that it names; every run that it writes records
        them.
      allow_changed: whether it reads runs whose plug-ins have changed.
    """

    files: frozenset[pathlib.Path] = frozenset()
    allow_changed: bool = False


_NOTES: set[str] = set()  # that this process has logged
_COMMAND = contextvars.ContextVar("command", default=Command())  # noqa: B039


@contextlib.contextmanager
def command(files: Iterable[pathlib.Path], *, allow_changed: bool) -> Iterator[None]:
    """Context in which a command names plug-ins.

    Args:
      files: of the plug-ins.
      allow_changed: whether runs may be read whose plug-ins have changed.
    """
    token = _COMMAND.set(Command(frozenset(files), allow_changed))
    try:
        yield
    finally:
        _COMMAND.reset(token)


@contextlib.contextmanager
def needing(plugins: Iterable[Plugin]) -> Iterator[None]:
    """Context in which every run that is written depends on plug-ins.

    Args:
      plugins: plug-ins on which the runs depend, besides those that the command names.
    """
    token = _COMMAND.set(_COMMAND.get())
    try:
        also_needed(plugins)
        yield
    finally:
        _COMMAND.reset(token)


def also_needed(plugins: Iterable[Plugin]) -> None:
    """Adds to the plug-ins that the command names, until its context ends.

    Args:
      plugins: plug-ins on which every run of the command depends.
    """
    named = _COMMAND.get()
    files = named.files | {plugin.file for plugin in plugins}
    _COMMAND.set(named._replace(files=files))


def load_recorded(folder: str | os.PathLike) -> tuple[Plugin, ...]:
    """Loads the plug-ins that a run was written with.

    One that this process has loaded from another place counts if its contents are the
    same.

    Args:
      folder: run directory.

    Raises:
      ValueError: a plug-in is missing or has changed, or plugins.json was altered.
    """
    folder = pathlib.Path(folder)
    return tuple(_load_again(record, folder) for record in _read(folder))


def write_plugins(
    folder: pathlib.Path, config: Any, also: Iterable[Plugin] = ()
) -> None:
    """Writes plugins.json; nothing where a run needs no plug-in.

    Those count that the command names, that register something which the configuration
    names, or that register nothing, so that what they do is not known.

    Args:
      folder: run directory.
      config: of the run, or what its config.json holds.
      also: further plug-ins that the run depends on.

    Raises:
      OSError: the file cannot be written.
    """
    stored = _read(folder)
    needed = [*load_recorded(folder), *also, *_needed(config)]
    entries = [_record(plugin, stored) for plugin in dict.fromkeys(needed)]
    if entries and entries != stored:
        records.write_json(folder / FILE, {"plugins": entries})


def _needed(config: Any) -> list[Plugin]:
    """The loaded plug-ins that a configuration depends on."""
    files, words = _COMMAND.get().files, _words(config)
    return [
        plugin
        for plugin in loaded_plugins()
        if plugin.file in files
        or not plugin.registered
        or any(words & set(names) for names in plugin.names.values())
    ]


def _words(config: Any) -> set[str]:
    """All names in a configuration, those of its space's primitives included."""
    stored = config if isinstance(config, Mapping) else as_dict(config)
    space = stored.get("supernet", {}).get("space")
    return set(re.findall(r"[\w.-]+", f"{json.dumps(stored)} {SPACES.get(space)!r}"))


def _record(plugin: Plugin, stored: list[dict]) -> dict[str, Any]:
    """The entry of a plug-in, with the digests that earlier epochs were computed by."""
    entry = {
        "name": plugin.name,
        "file": str(plugin.file),
        "is_module": plugin.source.is_module,
        "sha256": plugin.sha256,
        "imports": plugin.source.digests,
        "registers": plugin.names,
    }
    earlier = []
    for record in stored:
        if _replaces(plugin, record):
            changed = not _is_same(record, plugin.source)
            earlier = record.get("earlier", []) + [record["sha256"]] * changed
    return entry | ({"earlier": earlier} if earlier else {})


def _read(folder: pathlib.Path) -> list[dict]:
    """The entries of plugins.json; none where there is no such file."""
    path = folder / FILE
    if not path.exists():
        return []
    hint = "The file was altered; restore it."
    entries = records.read_object(path, hint).get("plugins")
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise ValueError(f"{path} does not list plug-ins as this version does. {hint}")
    return entries


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(entry.get(name), kind) for name, kind in _FIELDS.items()
    )


def _load_again(record: dict, folder: pathlib.Path) -> Plugin:
    loaded = loaded_plugins()
    for plugin in loaded:
        if _is_same(record, plugin.source):
            return plugin
    for plugin in loaded:
        if _replaces(plugin, record):
            _check_same(record, plugin.source, folder, plugin.allow_changed)
            return plugin
    source = _find_again(record, folder)
    _check_same(record, source, folder, allow_changed=False)
    return load_plugin(source.name if source.is_module else source.file)


def _replaces(plugin: Plugin, record: dict) -> bool:
    """Whether a plug-in is a later version of a recorded one, under any name."""
    names = plugin.names
    return (
        plugin.name == record["name"]
        or bool(names)
        and names == record.get("registers")
    )


def _find_again(record: dict, folder: pathlib.Path) -> Source:
    """The files of a recorded plug-in, where they were or where its name leads."""
    name, file = record["name"], pathlib.Path(record["file"])
    if not file.is_absolute() or file.is_relative_to(folder.resolve()):
        raise ValueError(
            f"{folder / FILE} names the plug-in {str(file)!r}, which is no absolute "
            f"path outside of the run directory, so it is not run. Name the plug-in by "
            f"--plugin FILE (in Python: eg.load_plugin(FILE))."
        )
    if record["is_module"]:
        with contextlib.suppress(ValueError):
            return find_source(name)
        if file.is_file():
            add_to_path(root_of(file, name))
            return find_source(name)
    elif file.is_file():
        return find_source(file)
    what = f"module {name} ({file})" if record["is_module"] else str(file)
    raise ValueError(
        f"{folder} needs the plug-in {what}, which is not there any more. Name the "
        f"place where it is now by --plugin FILE (in Python: eg.load_plugin(FILE)); "
        f"its sha256 is {record['sha256']}."
    )


def _is_same(record: dict, source: Source) -> bool:
    return (record["sha256"], record["imports"]) == (source.sha256, source.digests)


def _check_same(
    record: dict, source: Source, folder: pathlib.Path, allow_changed: bool
) -> None:
    """Refuses other contents than the recorded ones, unless they are allowed."""
    if _is_same(record, source):
        return
    changed = _changed_file(record, source)
    text = (
        f"{folder} was written with the plug-in {record['name']} as it was before "
        f"{changed} changed (sha256 {record['sha256'][:12]} then, "
        f"{source.sha256[:12]} now)."
    )
    if allow_changed or _COMMAND.get().allow_changed:
        if text not in _NOTES:
            logging.getLogger("egnas_jax").warning(f"{text} It is used as it is now.")
        _NOTES.add(text)
        return
    raise ValueError(
        f"{text} Restore it, or use it as it is now by --allow-changed-plugin (in "
        f"Python: eg.load_plugin({str(source.file)!r}, allow_changed=True))."
    )


def _changed_file(record: dict, source: Source) -> str:
    """The file of a plug-in that has changed: its own, or those that it imports."""
    if record["sha256"] != source.sha256:
        return str(source.file)
    before, now = record["imports"], source.digests
    paths = [path for path in before | now if before.get(path) != now.get(path)]
    return ", ".join(str(source.root / path) for path in paths)
