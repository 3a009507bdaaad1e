"""Adds presets of searches and of retrainings from outside the package."""

from collections.abc import Mapping
from typing import Any

from egnas_jax.lookup import lookup
from egnas_jax.runs.plugins import owner_of
from egnas_jax.runs.presets import PRESETS, RECIPES
from egnas_jax.space.primitive_names import check_word
from egnas_jax.strategies import STRATEGIES

COMMANDS = {"search": PRESETS, "retrain": RECIPES}


def register_preset(
    name: str,
    settings: Mapping[str, Any],
    *,
    base: str = "digits",
    command: str = "search",
) -> None:
    """Adds a preset, which `--preset` then knows by its name.

    >>> import egnas_jax as eg
    >>> settings = {"epochs": 5, "supernet.channels": 4, "random_search.candidates": 8}
    >>> eg.register_preset("five_epochs", settings)
    >>> config = eg.search_config("five_epochs", strategy="random_search")
    >>> config.epochs, config.strategy.candidates, config.batch_size
    (5, 8, 32)

    Args:
      name: of the preset.
      settings: dotted path -> value, as in `--set`. Settings of a method begin with the
        method's name instead of "strategy", and `supernet.space` names the space.
      base: the preset that has all other settings.
      command: "search" or "retrain": two tables, which may hold the same name.

    Raises:
      ValueError: the name is taken or cannot be one, there is no such base, an unknown
        path, or a value of the wrong type or range.
    """
    table = lookup(COMMANDS, command, "command with presets")
    check_word(name, "a preset", "my_preset", hyphens=True)
    if name in table:
        kind = "preset" if command == "search" else "recipe"
        owner = owner_of(kind, name, table[name])
        by = f", registered by {owner.file}" if owner else ""
        raise ValueError(
            f"There is a preset {name!r} of egnas {command} already{by}. Choose "
            f"another name than {', '.join(table)}."
        )
    parts = dict(lookup(table, base, "preset"))
    table[name] = _with_settings(parts, settings, command)
    try:
        _check(name, settings, command)
    except BaseException:
        del table[name]
        raise


def _with_settings(parts: dict, settings: Mapping[str, Any], command: str) -> dict:
    """The parts of a preset with other settings, as `search_config` reads them."""
    others = dict(parts.get("settings", {}))
    for path, value in settings.items():
        group, _, rest = path.partition(".")
        if group == "strategy":
            raise ValueError(
                f"The preset sets {path}, but a preset serves several methods. Write "
                f"the name of the method instead: random_search.{rest}."
            )
        if path == "supernet.space" and command == "search":
            parts["space"] = value
        else:
            others[path] = value
    return {**parts, "settings": others}


def _check(name: str, settings: Mapping[str, Any], command: str) -> None:
    """Builds the configurations that a preset stands for."""
    if command == "retrain":
        from egnas_jax.runs.retrain_config import retrain_config

        retrain_config(name)
        return
    from egnas_jax.runs.search_config import search_config

    groups = {path.partition(".")[0] for path in settings}
    for strategy in sorted(groups & set(STRATEGIES)) or ["egnas"]:
        search_config(name, strategy=strategy)
