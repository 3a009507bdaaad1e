"""What a picture of a genotype shows of each cell, whatever its family.

Nodes are numbered, inputs first; edges lead from lower to higher numbers.
"""

from typing import NamedTuple

from egnas_jax.space.genotype import NUM_INPUTS, PAIRS_PER_NODE, Genotype
from egnas_jax.space.nasbench201 import NASBENCH201
from egnas_jax.space.topology import Topology


class Sketch(NamedTuple):
    """One cell.

    Attributes:
      heading: above it.
      names: of its nodes.
      num_inputs: nodes that no edge leads to.
      edges: (primitive, source, target), by ascending target.
      outputs: nodes that are concatenated; empty where the last node is the output.
    """

    heading: str
    names: tuple[str, ...]
    num_inputs: int
    edges: tuple[tuple[str, int, int], ...]
    outputs: tuple[int, ...]


def sketch(genotype: Genotype | Topology) -> tuple[str, tuple[Sketch, ...]]:
    """The title of a picture and its cells, from top to bottom."""
    if isinstance(genotype, Topology):
        return "A cell of NAS-Bench-201", (_topology(genotype),)
    cells = (
        _darts(genotype, "normal", "Normal cell"),
        _darts(genotype, "reduce", "Reduction cell"),
    )
    return "A normal cell and a reduction cell", cells


def _darts(genotype, kind, heading):
    edges = tuple(
        (primitive, source, NUM_INPUTS + index // PAIRS_PER_NODE)
        for index, (primitive, source) in enumerate(getattr(genotype, kind))
    )
    numbers = map(str, range(len(edges) // PAIRS_PER_NODE))
    names = ("c_{k-2}", "c_{k-1}", *numbers)
    return Sketch(heading, names, NUM_INPUTS, edges, genotype.concat(kind))


def _topology(genotype):
    edges = tuple(
        (primitive, source, target)
        for primitive, (source, target) in zip(
            genotype.primitives, NASBENCH201.edges, strict=True
        )
    )
    return Sketch("Cell", ("input", "1", "2", "output"), 1, edges, ())
