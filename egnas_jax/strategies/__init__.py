"""Lists the search methods, a file or a folder each."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from egnas_jax.lookup import LazyTable

if TYPE_CHECKING:
    from egnas_jax.search.strategy import Strategy, StrategyConfig

    Method = tuple[type[StrategyConfig], Callable[..., Strategy]]


def _egnas() -> "Method":
    from egnas_jax.strategies.egnas.config import EGNASConfig
    from egnas_jax.strategies.egnas.strategy import egnas

    return EGNASConfig, egnas


def _random_search() -> "Method":
    from egnas_jax.strategies.random_search import RandomSearchConfig, random_search

    return RandomSearchConfig, random_search


def _darts() -> "Method":
    from egnas_jax.strategies.darts import DARTSConfig, darts

    return DARTSConfig, darts


def _pc_darts() -> "Method":
    from egnas_jax.strategies.pc_darts import PCDARTSConfig, pc_darts

    return PCDARTSConfig, pc_darts


def _p_darts() -> "Method":
    from egnas_jax.strategies.p_darts.config import PDARTSConfig
    from egnas_jax.strategies.p_darts.strategy import p_darts

    return PDARTSConfig, p_darts


def _snas() -> "Method":
    from egnas_jax.strategies.snas.config import SNASConfig
    from egnas_jax.strategies.snas.strategy import snas

    return SNASConfig, snas


def _ageing_evolution() -> "Method":
    from egnas_jax.strategies.discrete.ageing import (
        AgeingEvolutionConfig,
        ageing_evolution,
    )

    return AgeingEvolutionConfig, ageing_evolution


def _nsga2() -> "Method":
    from egnas_jax.strategies.discrete.nsga2 import NSGA2Config, nsga2

    return NSGA2Config, nsga2


def _epcnas_pso() -> "Method":
    from egnas_jax.strategies.discrete.swarm import EPCNASConfig, epcnas_pso

    return EPCNASConfig, epcnas_pso


def _enas() -> "Method":
    from egnas_jax.strategies.controller.config import ENASConfig
    from egnas_jax.strategies.controller.strategy import enas

    return ENASConfig, enas


def _nasnet_ppo() -> "Method":
    from egnas_jax.strategies.controller.config import PPOConfig
    from egnas_jax.strategies.controller.strategy import nasnet_ppo

    return PPOConfig, nasnet_ppo


# name -> its configuration, and a function (supernet, configuration) -> Strategy
STRATEGIES: "LazyTable[Method]" = LazyTable(
    {
        "egnas": _egnas,
        "random_search": _random_search,
        "darts": _darts,
        "pc_darts": _pc_darts,
        "p_darts": _p_darts,
        "snas": _snas,
        "enas": _enas,
        "nasnet_ppo": _nasnet_ppo,
        "ageing_evolution": _ageing_evolution,
        "nsga2": _nsga2,
        "epcnas_pso": _epcnas_pso,
    }
)
