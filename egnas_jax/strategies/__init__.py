"""Search methods: one file each, and the table of them."""

from types import MappingProxyType

from egnas_jax.strategies.darts import DARTSConfig, darts
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.strategy import egnas
from egnas_jax.strategies.random_search import RandomSearchConfig, random_search

# name -> its configuration, and (supernet, configuration) -> Strategy
STRATEGIES = {
    "egnas": (EGNASConfig, egnas),
    "random_search": (RandomSearchConfig, random_search),
    "darts": (DARTSConfig, darts),
}
OWN = MappingProxyType(dict(STRATEGIES))  # before any script adds or replaces one
