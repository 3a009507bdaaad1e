"""Sets, checks and compares configurations by dotted paths."""

import dataclasses
import difflib
import numbers
import os
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LARGEST_INT = 2**31 - 1  # of an i32 on the device
LARGEST_FLOAT = 3.4e38  # of an f32
# fields that arguments of their own set, and no dotted path
FIXED = (
    *("strategy_name", "genotype", "init_from", "init_digest", "live", "latencies"),
)
# the only settings that may change when a run is resumed
FREE = ("keep_checkpoints", "tensorboard", "mlflow", "wandb")


def assignments(entries: Sequence[str]) -> dict[str, str]:
    """Splits "path=value" entries of `--set` into settings; the last of a path counts.

    Raises:
      ValueError: an entry has no "=".
    """
    settings = {}
    for entry in entries:
        path, separator, text = entry.partition("=")
        if not separator:
            raise ValueError(f"--set takes PATH=VALUE, got {entry!r}.")
        settings[path] = text
    return settings


def apply_overrides(config: Any, overrides: Sequence[str]) -> Any:
    """A configuration with "path=value" entries of `--set` applied, all at once."""
    return apply_settings(config, assignments(overrides))


def apply_settings(config: Any, settings: Mapping[str, Any]) -> Any:
    """A configuration with settings changed, all at once.

    Args:
      config: a configuration dataclass; its fields may be such dataclasses.
      settings: dotted path -> value. Text is read as `--set` reads it; any other value
        must have the type of the field.

    Raises:
      ValueError: an unknown path, or a value of the wrong type or out of range.
    """
    tree: dict[str, Any] = {}
    known = paths(config)
    for path, value in settings.items():
        _check_path(path, known)
        *folder, name = path.split(".")
        place = tree
        for step in folder:
            place = place.setdefault(step, {})
        place[name] = _typed(path, value, known[path])
    return _replaced(config, tree)


def _check_path(path: str, known: Mapping[str, Any]) -> None:
    if path.endswith(".num_classes"):
        raise ValueError(
            f"{path} is the number of classes of the data and cannot be set. Leave it "
            f"out."
        )
    if path not in known:
        name = path.rpartition(".")[2]
        same_name = [other for other in known if other.rpartition(".")[2] == name]
        close = same_name or difflib.get_close_matches(path, known, n=3)
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        raise ValueError(f"Unknown path {path!r}.{hint} See all by --print-config.")


def paths(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every dotted path that can be set, with its type."""
    types_by_path = {}
    for name, kind in field_types(config).items():
        value, path = getattr(config, name), prefix + name
        if dataclasses.is_dataclass(value):
            types_by_path |= paths(value, f"{path}.")
        elif name not in FIXED:
            types_by_path[path] = kind
    return types_by_path


def field_types(config: Any) -> dict[str, Any]:
    """Field name -> type of a configuration dataclass, or of an instance.

    Types that are written as text are resolved: all of them are under
    `from __future__ import annotations`.

    Raises:
      NameError: the module of the class has no such type.
    """
    config_class = config if isinstance(config, type) else type(config)
    resolved = typing.get_type_hints(config_class)
    return {field.name: resolved[field.name] for field in dataclasses.fields(config)}


def _replaced(config, tree):
    changes = {
        name: _replaced(getattr(config, name), value)
        if isinstance(value, dict)
        else value
        for name, value in tree.items()
    }
    return dataclasses.replace(config, **changes)


# types of a field that can be set -> what messages call them
_NAMED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "none",
}
# of numbers, the types that are as good
_WIDER = {int: numbers.Integral, float: numbers.Real}


def _typed(path: str, value: Any, kind: Any) -> Any:
    """A value, or the text of one, as the field's type."""
    kinds = _members(kind)
    if type(None) in kinds and (
        value is None or str(value).lower() in ("none", "null")
    ):
        return None
    kind, in_words = kinds[0], _NAMED
    if str in kinds[1:] and not _reads_as_whole(value):
        kind, in_words = str, {str: "a whole number or a word"}
    try:
        typed = _parsed(value, kind) if isinstance(value, str) else _cast(value, kind)
    except (ValueError, KeyError, TypeError):
        what = in_words.get(kind, kind.__name__)
        raise ValueError(f"{path} takes {what}, got {value!r}.") from None
    high = {int: LARGEST_INT, float: LARGEST_FLOAT}.get(kind)
    if high is not None and abs(typed) > high:
        raise ValueError(f"{path} is {value}, but must be within +-{high}.")
    return typed


def _members(kind: Any) -> tuple[Any, ...]:
    """The types that a field's type allows: those of a union, or itself."""
    is_union = typing.get_origin(kind) in (types.UnionType, typing.Union)
    return typing.get_args(kind) if is_union else (kind,)


def _reads_as_whole(value: Any) -> bool:
    """Whether a value, or its text, is a whole number."""
    try:
        return int(value) == float(value)
    except (ValueError, TypeError, OverflowError):
        return False


def _parsed(text: str, kind: type) -> Any:
    if kind is not str and not text.isascii():  # int() reads digits of all scripts
        raise ValueError
    return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)


def _cast(value: Any, kind: type) -> Any:
    """A value that is no text: numbers of numpy and paths are allowed, too."""
    if not _fits(value, (os.PathLike if kind is str else kind,)):
        raise TypeError
    return kind(value)


def as_dict(config: Any) -> dict[str, Any]:
    """The configuration as config.json holds it."""
    return dataclasses.asdict(config)


def check_types(config: Any, stored: dict[str, Any]) -> None:
    """Compares a stored configuration with the types of its fields.

    Raises:
      TypeError: a value has another type.
    """
    settable = {
        path: value
        for path, value in flat(stored)
        if path.rpartition(".")[2] not in FIXED
    }
    types_of = paths(config)
    for path, value in settable.items():
        # a path that leads through a value is none of the configuration
        if path not in types_of or not _fits(value, _members(types_of[path])):
            raise TypeError(f"{path} is {value!r}")


def check_field_types(config: Any, prefix: str = "") -> None:
    """Refuses values of other types than their fields have.

    Fields of other types than bool, int, float, str and None are not looked at.

    Args:
      config: a configuration dataclass.
      prefix: of the field names in the message, "strategy." for example.

    Raises:
      ValueError: a value has another type. A number of NumPy counts as one of Python,
        and a whole number as a number.
    """
    for name, kind in field_types(config).items():
        value, kinds = getattr(config, name), _members(kind)
        if set(kinds) <= set(_NAMED) and not _fits(value, kinds):
            allowed = " or ".join(_NAMED[kind] for kind in kinds)
            raise ValueError(f"{prefix}{name} is {value!r}, but must be {allowed}.")


def _fits(value: Any, kinds: Sequence[type]) -> bool:
    """Whether a field of these types may have the value; a bool is no number."""
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, tuple(_WIDER.get(kind, kind) for kind in kinds))


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number of Python or NumPy; True is none."""
    return _fits(value, (int,))


def check_whole(name: str, value: Any, least: int) -> None:
    """Refuses a value that is no whole number, or is too small.

    Args:
      name: what messages call the value.
      value: an argument.
      least: the smallest that is allowed.

    Raises:
      ValueError: it is none, or is below `least`.
    """
    if not is_whole(value) or value < least:
        raise ValueError(
            f"{name} is {value!r}, but must be a whole number from {least}."
        )


def differences(old: Any, new: Any) -> list[str]:
    """The differences of two configurations, one line each, except in free settings."""
    before, after = (dict(flat(as_dict(c))) for c in (old, new))
    return [
        f"{path}: {before.get(path)!r} -> {after.get(path)!r}"
        for path in sorted(before | after)
        if before.get(path) != after.get(path) and path not in FREE
    ]


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and values of nested dictionaries."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def check_ranges(
    config: Any, ranges: Mapping[str, tuple[float, float]], prefix: str = ""
) -> None:
    """Refuses a number outside its range; None passes, where a field may be None.

    A field of type int takes whole numbers alone.

    Args:
      config: a configuration dataclass.
      ranges: field name -> (smallest, largest) allowed value, both inclusive.
      prefix: of the field names in the message, "strategy." for example.

    Raises:
      ValueError: a value is no such number, out of its range, or NaN.
    """
    types_of = field_types(config)
    for name, (least, most) in ranges.items():
        value, kinds = getattr(config, name), _members(types_of[name])
        if value is None and type(None) in kinds:
            continue
        kind = int if int in kinds else float
        if not _fits(value, (kind,)):
            raise ValueError(
                f"{prefix}{name} is {value!r}, but must be {_NAMED[kind]} from {least} "
                f"to {most}."
            )
        if not least <= value <= most:
            raise ValueError(
                f"{prefix}{name} is {value}, but must be from {least} to {most}."
            )


def check_choices(
    config: Any, choices: Mapping[str, Sequence[str]], prefix: str = ""
) -> None:
    """Refuses a word that is none of those a field allows.

    Args:
      config: a configuration dataclass.
      choices: field name -> allowed values.
      prefix: of the field names in the message, "strategy." for example.

    Raises:
      ValueError: a value is none of the choices.
    """
    for name, allowed in choices.items():
        value = getattr(config, name)
        if value not in allowed:
            raise ValueError(
                f"{prefix}{name} is {value!r}, but must be one of {', '.join(allowed)}."
            )
