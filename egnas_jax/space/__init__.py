"""Defines search spaces and genotypes; derives, reads and draws genotypes."""

from egnas_jax.space.base import DARTS_PRIMITIVES, Space
from egnas_jax.space.derivation import derive
from egnas_jax.space.drawing.draw import draw_svg
from egnas_jax.space.genotype import Genotype
from egnas_jax.space.reading import genotype_from_json, parse_genotype
from egnas_jax.space.registry import SPACES, register_space
from egnas_jax.space.stages import Stage
from egnas_jax.space.topology import Topology
from egnas_jax.space.zoo import ZooEntry, zoo

__all__ = [
    "DARTS_PRIMITIVES",
    "SPACES",
    "Genotype",
    "Space",
    "Stage",
    "Topology",
    "ZooEntry",
    "derive",
    "draw_svg",
    "genotype_from_json",
    "parse_genotype",
    "register_space",
    "zoo",
]
