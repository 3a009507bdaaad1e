"""Implements evolution with ask and tell, and selection, over vectors or choices."""

from egnas_jax.evolution.ageing import (
    Ageing,
    AgeingState,
    ageing_evolution,
    ageing_evolution_of,
)
from egnas_jax.evolution.base import Evolution
from egnas_jax.evolution.cma import CMAState, cma_constants, cma_es
from egnas_jax.evolution.genes import Genes, vector_genes
from egnas_jax.evolution.open_es import OpenESState, open_es
from egnas_jax.evolution.sep_cma import SepCMAState, sep_cma_constants, sep_cma_es

EVOLUTIONS = {"cma_es": cma_es, "sep_cma_es": sep_cma_es, "open_es": open_es}
BUILT_IN = dict(EVOLUTIONS)  # before a script or a plug-in adds or replaces an entry

__all__ = [
    "BUILT_IN",
    "EVOLUTIONS",
    "Ageing",
    "AgeingState",
    "CMAState",
    "Evolution",
    "Genes",
    "OpenESState",
    "SepCMAState",
    "ageing_evolution",
    "ageing_evolution_of",
    "cma_constants",
    "cma_es",
    "open_es",
    "sep_cma_constants",
    "sep_cma_es",
    "vector_genes",
]
