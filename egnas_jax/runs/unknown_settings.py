"""Refuses stored configurations with settings that this version does not know.

A setting of a later version may change what a run computes, so it cannot be ignored.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.runs.retrain_config import REMOVED
from egnas_jax.runs.search_config import SearchConfig, with_current_names
from egnas_jax.strategies import STRATEGIES


def check_known(stored: Any, path: pathlib.Path) -> None:
    """Refuses the content of a config.json that holds unknown settings.

    Content that is no configuration at all is left to its reader, which refuses it.

    Args:
      stored: the content.
      path: of the file, for the message.

    Raises:
      ValueError: it holds unknown settings; names them all.
    """
    if unknown := unknown_settings(stored):
        raise ValueError(
            f"{path} holds settings that this version does not know: "
            f"{', '.join(unknown)}. A later version of egnas_jax wrote the run, or the "
            f"file was altered. Use the version of the run; environment.json names its "
            f"commit."
        )


def unknown_settings(stored: Any) -> list[str]:
    """Dotted paths of the settings that no search or retraining of this version has.

    Args:
      stored: the content of a config.json. The settings of a strategy that is not in
        `STRATEGIES` are not looked at.
    """
    if not isinstance(stored, Mapping):
        return []
    if isinstance(stored.get("supernet"), Mapping):
        return _unknown_of_search(stored)
    if isinstance(stored.get("network"), Mapping):
        return [path for path in _unknown(RetrainConfig, stored) if path not in REMOVED]
    return []


def _unknown_of_search(stored: Mapping) -> list[str]:
    name, strategy = stored.get("strategy_name"), stored.get("strategy")
    if not isinstance(strategy, Mapping):
        return _unknown(SearchConfig, stored)
    stored = with_current_names(dict(stored))
    unknown = _unknown(SearchConfig, stored)
    if isinstance(name, str) and name in STRATEGIES:
        unknown += _unknown(STRATEGIES[name][0], stored["strategy"], "strategy.")
    return unknown


def _unknown(kind: type, stored: Mapping, prefix: str = "") -> list[str]:
    """Unknown settings of a dataclass, and of those that are its fields."""
    kinds = {field.name: field.type for field in dataclasses.fields(kind)}
    unknown = []
    for name, value in stored.items():
        if name not in kinds:
            unknown.append(prefix + name)
        elif dataclasses.is_dataclass(kinds[name]) and isinstance(value, Mapping):
            unknown += _unknown(kinds[name], value, f"{prefix}{name}.")
    return unknown
