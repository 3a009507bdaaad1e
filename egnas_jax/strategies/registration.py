"""Adds search methods from outside the package to the table of strategies."""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from egnas_jax.lookup import defined_at
from egnas_jax.settings import field_types
from egnas_jax.space.primitive_names import check_word
from egnas_jax.strategies import STRATEGIES

if TYPE_CHECKING:
    from egnas_jax.nn.supernet import Supernet
    from egnas_jax.search.strategy import Strategy, StrategyConfig

# Attributes of a configuration that the search loop reads, see `StrategyConfig`.
READ = ("valid_batch_size", "warmup", "individuals")
# Groups of settings in a preset, beside those of each strategy.
_GROUPS = ("data", "supernet", "network", "run", "settings", "space", "schedule")
RESERVED = (*_GROUPS, "strategy", "watch")
_KINDS = (bool, int, float, str)  # that `--set` reads and config.json holds


def register_strategy(
    name: str,
    config_class: "type[StrategyConfig]",
    make: "Callable[[Supernet, StrategyConfig], Strategy]",
) -> None:
    """Adds a search method, which every command then knows by its name.

    Args:
      name: for `--strategy`, and for settings in presets.
      config_class: a frozen dataclass whose fields all have defaults and are bool,
        int, float, str, or one of these or None: `--set strategy.FIELD` sets them. It
        has what `search.strategy.StrategyConfig` lists.
      make: a function (supernet, configuration) -> Strategy.

    Raises:
      ValueError: the name is taken or cannot be one, the class is no such dataclass, or
        `make` does not take two arguments.
    """
    _check_name(name)
    _check_config_class(name, config_class)
    _check_make(name, make)
    STRATEGIES[name] = config_class, _checked(name, make)


def _check_name(name: Any) -> None:
    check_word(name, "a strategy", "my_method", hyphens=True)
    if name in RESERVED:
        raise ValueError(
            f"{name!r} cannot be the name of a strategy, because it is a group of "
            f"settings. Choose another name than {', '.join(RESERVED)}."
        )
    if name in STRATEGIES:
        own = STRATEGIES.is_original(name)
        owner = "egnas_jax itself" if own else defined_at(STRATEGIES[name][1])
        raise ValueError(
            f"The strategy {name!r} is defined already, by {owner}. Choose another "
            f"name."
        )


def _check_config_class(name: str, config_class: Any) -> None:
    if not isinstance(config_class, type) or not dataclasses.is_dataclass(config_class):
        raise _wrong_class(name, config_class, "is no dataclass")
    if not config_class.__dataclass_params__.frozen:
        raise _wrong_class(name, config_class, "is not frozen")
    types_of = _types_of(name, config_class)
    for field in dataclasses.fields(config_class):
        if not _can_be_set(types_of[field.name]):
            kind = getattr(types_of[field.name], "__name__", types_of[field.name])
            what = f"has the field {field.name} of type {kind!r}"
            raise _wrong_class(name, config_class, what)
        missing = dataclasses.MISSING
        if field.default is missing and field.default_factory is missing:
            what = f"has the field {field.name} without a default"
            raise _wrong_class(name, config_class, what)
    absent = [read for read in READ if not hasattr(config_class, read)]
    if absent:
        raise _wrong_class(name, config_class, f"has no {', '.join(absent)}")


def _types_of(name: str, config_class: type) -> dict[str, Any]:
    try:
        return field_types(config_class)
    except NameError as error:
        what = f"has a type that is not known ({error})"
        raise _wrong_class(name, config_class, what) from None


def _can_be_set(kind: Any) -> bool:
    if isinstance(kind, types.UnionType):
        kinds = typing.get_args(kind)
        return len(kinds) == 2 and kinds[0] in _KINDS and kinds[1] is type(None)
    return kind in _KINDS


def _wrong_class(name: str, config_class: Any, what: str) -> ValueError:
    shown = getattr(config_class, "__name__", repr(config_class))
    return ValueError(
        f"The configuration {shown} of the strategy {name!r} {what}. Give a "
        f"@dataclasses.dataclass(frozen=True) whose fields are bool, int, float or str "
        f"(or one of them | None) with defaults, and which has {', '.join(READ)} as "
        f"fields, properties or ClassVars."
    )


def _check_make(name: str, make: Any) -> None:
    if not callable(make):
        raise ValueError(
            f"The strategy {name!r} is made by {make!r}, which is no function. Give a "
            f"function (net, config) -> eg.Strategy."
        )
    try:
        inspect.signature(make).bind(None, None)
    except TypeError:
        raise ValueError(
            f"The strategy {name!r} is made by the function at {defined_at(make)}, "
            f"which takes {inspect.signature(make)}. It must take two arguments, the "
            f"supernet and the configuration: (net, config)."
        ) from None


def _checked(name: str, make: Callable) -> Callable:
    """The function, which refuses to return anything but a strategy."""

    @functools.wraps(make)
    def make_checked(net: "Supernet", config: "StrategyConfig") -> "Strategy":
        from egnas_jax.search.strategy import Strategy

        strategy = make(net, config)
        if not isinstance(strategy, Strategy):
            raise ValueError(
                f"The function at {defined_at(make)} makes the strategy {name!r}, but "
                f"returned {type(strategy).__name__}. It must return an eg.Strategy."
            )
        return strategy

    return make_checked
