"""EG-NAS in JAX: neural architecture search on the DARTS cell space."""

from egnas_jax import evolution, interop
from egnas_jax.nn import linen
from egnas_jax.nn.cost import count_params, multiply_adds
from egnas_jax.nn.network import Network, make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.supernet import Supernet, SupernetConfig, make_supernet
from egnas_jax.search.evaluate import evaluate_population
from egnas_jax.search.relax import softmax_mixing
from egnas_jax.space import SPACES, Genotype, Topology, derive, draw_svg, zoo
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.evaluation import EvaluatedPopulation, evaluate_fitness
from egnas_jax.types import Batch, Evaluation, Mixing

__version__ = "0.1.0"

__all__ = [
    "SPACES",
    "Batch",
    "EGNASConfig",
    "Evaluation",
    "Genotype",
    "Mixing",
    "Network",
    "NetworkConfig",
    "EvaluatedPopulation",
    "Supernet",
    "SupernetConfig",
    "Topology",
    "count_params",
    "derive",
    "draw_svg",
    "evaluate_fitness",
    "evaluate_population",
    "evolution",
    "interop",
    "linen",
    "make_network",
    "make_supernet",
    "multiply_adds",
    "softmax_mixing",
    "zoo",
]
