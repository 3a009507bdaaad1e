"""What can be built: spaces, genotypes, published cells and their pictures."""

from egnas_jax.space.base import PRIMITIVES, Space
from egnas_jax.space.darts import DARTS7, DARTS8
from egnas_jax.space.draw import draw_svg
from egnas_jax.space.genotype import Genotype, derive
from egnas_jax.space.zoo import ZooEntry, zoo

SPACES = {"darts7": DARTS7, "darts8": DARTS8}

__all__ = [
    "PRIMITIVES",
    "SPACES",
    "Genotype",
    "Space",
    "ZooEntry",
    "derive",
    "draw_svg",
    "zoo",
]
