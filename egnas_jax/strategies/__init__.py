"""Lists the search methods, a file or a folder each."""

from egnas_jax.strategies.darts import DARTSConfig, darts
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.strategy import egnas
from egnas_jax.strategies.random_search import RandomSearchConfig, random_search

# name -> its configuration, and a function (supernet, configuration) -> Strategy
STRATEGIES = {
    "egnas": (EGNASConfig, egnas),
    "random_search": (RandomSearchConfig, random_search),
    "darts": (DARTSConfig, darts),
}
