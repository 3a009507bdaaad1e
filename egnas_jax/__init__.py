"""EG-NAS in JAX: neural architecture search on the DARTS cell space."""

from egnas_jax import evolution, interop
from egnas_jax.nn import linen
from egnas_jax.nn.cost import count_params, multiply_adds
from egnas_jax.nn.network import Network, make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.supernet import Supernet, SupernetConfig, make_supernet
from egnas_jax.runs.finished_network import load_network
from egnas_jax.runs.finished_search import load_search
from egnas_jax.runs.genotype_source import read_genotype
from egnas_jax.runs.retrain import RetrainResult, run_retraining
from egnas_jax.runs.retrain_config import RetrainConfig, retrain_config
from egnas_jax.runs.search import SearchResult, run_search
from egnas_jax.runs.search_config import SearchConfig, search_config
from egnas_jax.search.evaluate import evaluate_population
from egnas_jax.search.relax import softmax_mixing
from egnas_jax.search.strategy import EpochSchedule, Strategy, Trainee
from egnas_jax.space import SPACES, Genotype, Topology, derive, draw_svg, zoo
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.evaluation import (
    EvaluatedPopulation,
    egnas_step_direction,
    evaluate_fitness,
)
from egnas_jax.types import Batch, Evaluation, Mixing

__version__ = "0.1.0"

__all__ = [
    "SPACES",
    "STRATEGIES",
    "Batch",
    "EGNASConfig",
    "EpochSchedule",
    "EvaluatedPopulation",
    "Evaluation",
    "Genotype",
    "Mixing",
    "Network",
    "NetworkConfig",
    "RetrainConfig",
    "RetrainResult",
    "SearchConfig",
    "SearchResult",
    "Strategy",
    "Supernet",
    "SupernetConfig",
    "Topology",
    "Trainee",
    "count_params",
    "derive",
    "draw_svg",
    "egnas_step_direction",
    "evaluate_fitness",
    "evaluate_population",
    "evolution",
    "interop",
    "linen",
    "load_network",
    "load_search",
    "make_network",
    "make_supernet",
    "multiply_adds",
    "read_genotype",
    "retrain_config",
    "run_retraining",
    "run_search",
    "search_config",
    "softmax_mixing",
    "zoo",
]
