"""Searches neural architectures in JAX, by EG-NAS or one of ten other methods."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # at run time `__getattr__` imports a name when it is first used
    from egnas_jax import evolution, interop, proxies
    from egnas_jax.nn import linen
    from egnas_jax.nn.costs import Cost, cost
    from egnas_jax.nn.network import Network, make_network
    from egnas_jax.nn.network_config import NetworkConfig
    from egnas_jax.nn.network_cost import count_params, multiply_adds
    from egnas_jax.nn.primitive import Primitive
    from egnas_jax.nn.primitive_linen import primitive_from_linen
    from egnas_jax.nn.primitives import register_primitive
    from egnas_jax.nn.supernet import Supernet, SupernetConfig, make_supernet
    from egnas_jax.runs.finished_network import load_network
    from egnas_jax.runs.finished_search import load_search
    from egnas_jax.runs.genotype_source import read_genotype
    from egnas_jax.runs.plugins import load_plugin
    from egnas_jax.runs.preset_registration import register_preset
    from egnas_jax.runs.retrain import run_retraining
    from egnas_jax.runs.retrain_config import RetrainConfig, retrain_config
    from egnas_jax.runs.retrain_result import RetrainResult
    from egnas_jax.runs.retrainings import RetrainingsResult, run_retrainings
    from egnas_jax.runs.search import run_search
    from egnas_jax.runs.search_config import SearchConfig, search_config
    from egnas_jax.runs.search_functions import make_search
    from egnas_jax.runs.search_result import SearchResult
    from egnas_jax.runs.search_setup import search_data
    from egnas_jax.runs.searches import SearchesResult, run_searches
    from egnas_jax.runs.study.worker import run_worker
    from egnas_jax.runs.study.write import write_study
    from egnas_jax.search.cost import Passes
    from egnas_jax.search.epoch_schedule import EpochSchedule
    from egnas_jax.search.evaluate import evaluate_population
    from egnas_jax.search.functions import (
        EpochResult,
        KeyedState,
        ScheduledHyperparams,
        SearchFunctions,
    )
    from egnas_jax.search.relax import (
        flatten,
        initial_alpha,
        softmax_mixing,
        unflatten,
    )
    from egnas_jax.search.state import SearchData, SearchState
    from egnas_jax.search.strategy import Strategy, Trainee
    from egnas_jax.space import (
        SPACES,
        Genotype,
        Space,
        Stage,
        Topology,
        derive,
        draw_svg,
        register_space,
        zoo,
    )
    from egnas_jax.strategies import STRATEGIES
    from egnas_jax.strategies.egnas.config import EGNASConfig
    from egnas_jax.strategies.egnas.evaluation import (
        EvaluatedPopulation,
        evaluate_fitness,
    )
    from egnas_jax.strategies.egnas.state import EGNASState
    from egnas_jax.strategies.egnas.step import egnas_step_direction
    from egnas_jax.strategies.registration import register_strategy
    from egnas_jax.studies.selection.options import SelectionOptions
    from egnas_jax.studies.selection.study import SelectionStudy, select
    from egnas_jax.training.latency import latency
    from egnas_jax.types import Batch, Evaluation, Mixing

__version__ = "0.2.0"

__all__ = [
    "SPACES",
    "STRATEGIES",
    "Batch",
    "Cost",
    "EGNASConfig",
    "EGNASState",
    "EpochResult",
    "EpochSchedule",
    "EvaluatedPopulation",
    "Evaluation",
    "Genotype",
    "KeyedState",
    "Mixing",
    "Network",
    "NetworkConfig",
    "Passes",
    "Primitive",
    "RetrainConfig",
    "RetrainResult",
    "RetrainingsResult",
    "ScheduledHyperparams",
    "SearchConfig",
    "SearchData",
    "SearchFunctions",
    "SearchResult",
    "SearchState",
    "SearchesResult",
    "SelectionOptions",
    "SelectionStudy",
    "Space",
    "Stage",
    "Strategy",
    "Supernet",
    "SupernetConfig",
    "Topology",
    "Trainee",
    "cost",
    "count_params",
    "derive",
    "draw_svg",
    "egnas_step_direction",
    "evaluate_fitness",
    "evaluate_population",
    "evolution",
    "flatten",
    "initial_alpha",
    "interop",
    "latency",
    "linen",
    "load_network",
    "load_plugin",
    "load_search",
    "make_network",
    "make_search",
    "make_supernet",
    "multiply_adds",
    "primitive_from_linen",
    "proxies",
    "read_genotype",
    "register_primitive",
    "register_space",
    "register_preset",
    "register_strategy",
    "retrain_config",
    "run_retraining",
    "run_retrainings",
    "run_search",
    "run_searches",
    "run_worker",
    "search_config",
    "search_data",
    "select",
    "softmax_mixing",
    "unflatten",
    "write_study",
    "zoo",
]

# module -> the public names that it defines
_NAMES = {
    "egnas_jax": "evolution interop proxies",
    "egnas_jax.nn": "linen",
    "egnas_jax.nn.network_cost": "count_params multiply_adds",
    "egnas_jax.nn.costs": "Cost cost",
    "egnas_jax.nn.network": "Network make_network",
    "egnas_jax.nn.network_config": "NetworkConfig",
    "egnas_jax.nn.primitive": "Primitive",
    "egnas_jax.nn.primitive_linen": "primitive_from_linen",
    "egnas_jax.nn.primitives": "register_primitive",
    "egnas_jax.nn.supernet": "Supernet SupernetConfig make_supernet",
    "egnas_jax.runs.finished_network": "load_network",
    "egnas_jax.runs.finished_search": "load_search",
    "egnas_jax.runs.genotype_source": "read_genotype",
    "egnas_jax.runs.plugins": "load_plugin",
    "egnas_jax.runs.preset_registration": "register_preset",
    "egnas_jax.runs.retrain": "run_retraining",
    "egnas_jax.runs.retrain_config": "RetrainConfig retrain_config",
    "egnas_jax.runs.retrain_result": "RetrainResult",
    "egnas_jax.runs.retrainings": "RetrainingsResult run_retrainings",
    "egnas_jax.runs.search": "run_search",
    "egnas_jax.runs.search_result": "SearchResult",
    "egnas_jax.runs.search_config": "SearchConfig search_config",
    "egnas_jax.runs.search_functions": "make_search",
    "egnas_jax.runs.search_setup": "search_data",
    "egnas_jax.runs.searches": "SearchesResult run_searches",
    "egnas_jax.runs.study.worker": "run_worker",
    "egnas_jax.runs.study.write": "write_study",
    "egnas_jax.search.cost": "Passes",
    "egnas_jax.search.epoch_schedule": "EpochSchedule",
    "egnas_jax.search.evaluate": "evaluate_population",
    "egnas_jax.search.functions": (
        "EpochResult KeyedState ScheduledHyperparams SearchFunctions"
    ),
    "egnas_jax.search.relax": "flatten initial_alpha softmax_mixing unflatten",
    "egnas_jax.search.state": "SearchData SearchState",
    "egnas_jax.search.strategy": "Strategy Trainee",
    "egnas_jax.space": (
        "SPACES Genotype Space Stage Topology derive draw_svg register_space zoo"
    ),
    "egnas_jax.strategies": "STRATEGIES",
    "egnas_jax.strategies.egnas.config": "EGNASConfig",
    "egnas_jax.strategies.egnas.evaluation": "EvaluatedPopulation evaluate_fitness",
    "egnas_jax.strategies.egnas.state": "EGNASState",
    "egnas_jax.strategies.egnas.step": "egnas_step_direction",
    "egnas_jax.strategies.registration": "register_strategy",
    "egnas_jax.studies.selection.options": "SelectionOptions",
    "egnas_jax.studies.selection.study": "SelectionStudy select",
    "egnas_jax.training.latency": "latency",
    "egnas_jax.types": "Batch Evaluation Mixing",
}
_MODULE_OF = {name: module for module, text in _NAMES.items() for name in text.split()}


def __getattr__(name: str) -> Any:
    """Imports a public name; `egnas --help` would wait for JAX otherwise."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULE_OF[name]
    if module in (__name__, f"{__name__}.nn"):  # these names are modules
        value = importlib.import_module(f"{module}.{name}")
    else:
        value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
