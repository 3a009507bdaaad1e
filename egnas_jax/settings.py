"""Sets, checks and compares configurations by dotted paths."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

LARGEST_INT = 2**31 - 1  # of an i32 on the device


LARGEST_FLOAT = 3.4e38  # of an f32


# given by arguments of their own
FIXED = ("strategy_name", "genotype", "init_from")


# the only settings that two parts of one run may differ in
FREE = ("keep_checkpoints", "tensorboard")


def apply_overrides(config: Any, overrides: list[str]) -> Any:
    """A configuration with "path=value" entries set, all at once."""
    tree: dict[str, Any] = {}
    known = paths(config)
    for entry in overrides:
        path, separator, text = entry.partition("=")
        if not separator:
            raise ValueError(f"--set takes PATH=VALUE, got {entry!r}.")
        if path.endswith(".num_classes"):
            raise ValueError(
                f"{path} is the number of classes of the data and cannot be set. Leave "
                f"it out."
            )
        if path not in known:
            close = difflib.get_close_matches(path, known, n=3)
            hint = f" Did you mean {', '.join(close)}?" if close else ""
            raise ValueError(f"Unknown path {path!r}.{hint} See all by --print-config.")
        *folder, name = path.split(".")
        place = tree
        for step in folder:
            place = place.setdefault(step, {})
        place[name] = _typed(path, text, known[path])
    return _replaced(config, tree)


def paths(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every dotted path that can be set, with its type."""
    found = {}
    for field in dataclasses.fields(config):
        value, path = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            found |= paths(value, f"{path}.")
        elif field.name not in FIXED:
            found[path] = field.type
    return found


def _replaced(config, tree):
    changes = {
        name: _replaced(getattr(config, name), value)
        if isinstance(value, dict)
        else value
        for name, value in tree.items()
    }
    return dataclasses.replace(config, **changes)


def _typed(path: str, text: str, kind: Any) -> Any:
    """A value of the field's type."""
    optional = isinstance(kind, types.UnionType)
    if optional and text.lower() in ("none", "null"):
        return None
    kind = typing.get_args(kind)[0] if optional else kind
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        value = kind(text)
    except (ValueError, KeyError):
        name = {"bool": "true or false", "int": "a whole number", "float": "a number"}
        raise ValueError(
            f"{path} takes {name.get(kind.__name__, kind.__name__)}, got {text!r}."
        ) from None
    high = {int: LARGEST_INT, float: LARGEST_FLOAT}.get(kind)
    if high is not None and abs(value) > high:
        raise ValueError(f"{path} is {text}, but must be within +-{high}.")
    return value


def as_dict(config: Any) -> dict[str, Any]:
    """As config.json holds it."""
    return dataclasses.asdict(config)


def check_types(config: Any, stored: dict[str, Any]) -> None:
    """Compares a stored configuration with the types of its fields.

    Raises:
      TypeError: a value has another type.
    """
    settable = {path: value for path, value in flat(stored) if path not in FIXED}
    types_of = paths(config)
    for path, value in settable.items():
        allowed = types_of.get(path, ())  # () of a path that leads through a value
        fits = isinstance(value, allowed) or (allowed, type(value)) == (float, int)
        if not fits or (isinstance(value, bool) and allowed is not bool):
            raise TypeError(f"{path} is {value!r}")


def differences(old: Any, new: Any) -> list[str]:
    """What separates two configurations, a line each; free settings left out."""
    before, after = (dict(flat(as_dict(c))) for c in (old, new))
    return [
        f"{path}: {before.get(path)!r} -> {after.get(path)!r}"
        for path in sorted(before | after)
        if before.get(path) != after.get(path) and path not in FREE
    ]


def flat(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def check_ranges(
    config: Any, ranges: Mapping[str, tuple[float, float]], prefix: str = ""
) -> None:
    """Refuses a number outside its range; None passes, where a field may be None.

    Args:
      config: a configuration dataclass.
      ranges: field name -> (smallest, largest) allowed value, both inclusive.
      prefix: of the field names in the message, "strategy." for example.

    Raises:
      ValueError: a number is out of its range, or NaN.
    """
    for name, (least, most) in ranges.items():
        value = getattr(config, name)
        if value is not None and not least <= value <= most:
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
