"""Refuses settings that another setting leaves without an effect."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Idle(NamedTuple):
    """When a field of a configuration has no effect.

    Attributes:
      switch: the field that decides it.
      off: values of the switch under which the field has none.
      usual: values, besides the default, that are accepted although they have no
        effect.
    """

    switch: str
    off: tuple[Any, ...]
    usual: tuple[Any, ...] = ()


def check_idle(config: Any, prefix: str = "") -> None:
    """Refuses a chosen value of a field that has no effect.

    Args:
      config: a configuration dataclass whose class has `idle`, name -> `Idle`.
      prefix: of the field names in the message, "strategy." for example.

    Raises:
      ValueError: a field without an effect has neither its default nor a usual value.
    """
    fields = {
        each.name: getattr(config, each.name) for each in dataclasses.fields(config)
    }
    for name in _chosen_idle(type(config), fields):
        switch = config.idle[name].switch
        raise ValueError(
            f"{prefix}{name} is {fields[name]}, but {prefix}{switch} is "
            f"{_in_words(fields[switch])}, so that it has no effect. Leave "
            f"{prefix}{name} out, or set {prefix}{switch} to another value."
        )


def without_idle(config_class: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a stored configuration, less those that `check_idle` refuses.

    Earlier versions accepted them, and they changed nothing.

    Args:
      config_class: the class of the configuration; one without `idle` has no field that
        is ever without effect.
      stored: name -> value; what is missing has its default.
    """
    idle = set(_chosen_idle(config_class, stored))
    return {name: value for name, value in stored.items() if name not in idle}


def _chosen_idle(config_class: type, values: Mapping[str, Any]) -> Iterator[str]:
    """Names of the fields that have no effect, and a value that somebody chose."""
    for name, (switch, off, usual) in getattr(config_class, "idle", {}).items():
        default = getattr(config_class, name)
        is_off = values.get(switch, getattr(config_class, switch)) in off
        if is_off and values.get(name, default) not in (default, *usual):
            yield name


def _in_words(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
