"""Says what the programs of a search are made of, for the cache of programs."""

import copy
from typing import Any

import jax

from egnas_jax import evolution
from egnas_jax.evolution import EVOLUTIONS
from egnas_jax.nn import kernels, primitives
from egnas_jax.nn.lowering import choice, rules
from egnas_jax.nn.primitives import PRIMITIVES
from egnas_jax.runs.plugins import is_of_plugin, plugin_identity
from egnas_jax.runs.search_config import SearchConfig, compiled_in
from egnas_jax.space import SPACES, Space
from egnas_jax.strategies import STRATEGIES


def _is_known_code(strategy: str, space: Space) -> bool:
    """Whether all that programs are made of is in this package or in a plug-in."""
    method = STRATEGIES.is_original(strategy) or is_of_plugin(
        "strategy", strategy, STRATEGIES[strategy]
    )
    used = (
        ("primitive", PRIMITIVES, primitives.BUILT_IN, space.primitives),
        ("evolution", EVOLUTIONS, evolution.BUILT_IN, EVOLUTIONS),
    )
    return method and all(
        table[name] is built_in.get(name) or is_of_plugin(kind, name, table[name])
        for kind, table, built_in, names in used
        for name in names
    )


def program_identity(config: SearchConfig, hyperparams: Any) -> dict | None:
    """What the programs are made of, for `training.program_cache`.

    None where an entry of a table takes part that a script has added or replaced: its
    source is not part of the cache's key. That of plug-ins is.
    """
    space = SPACES[config.supernet.space]
    if not _is_known_code(config.strategy_name, space):
        return None
    names = [path[0].name for path, _ in jax.tree.leaves_with_path(hyperparams)]
    return {
        "settings": compiled_in(config, names),
        "space": space.layout(),
        "lowering": copy.deepcopy(  # as the tables are now
            [
                choice.TABLE,
                kernels.CHOICES,
                choice.MOST_FOLDED_CHANNELS,
                choice.MOST_MATRIX_PIXELS,
                rules.RULES,
            ]
        ),
        "plugins": plugin_identity(),
    }
