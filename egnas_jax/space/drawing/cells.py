"""Describes the cells of a genotype of either family as graphs, for drawing.

Nodes are numbered, inputs first. Edges lead from lower to higher numbers.
"""

from typing import NamedTuple

from egnas_jax.space.genotype import NUM_INPUTS, PAIRS_PER_NODE, Genotype
from egnas_jax.space.nasbench201 import NASBENCH201
from egnas_jax.space.topology import Topology


class CellGraph(NamedTuple):
    """One cell.

    Attributes:
      heading: text above the cell.
      names: of the nodes.
      num_inputs: number of nodes without incoming edges.
      edges: (primitive, source, target), by ascending target.
      outputs: nodes that are concatenated; empty if the last node is the output.
    """

    heading: str
    names: tuple[str, ...]
    num_inputs: int
    edges: tuple[tuple[str, int, int], ...]
    outputs: tuple[int, ...]


def cell_graphs(genotype: Genotype | Topology) -> tuple[str, tuple[CellGraph, ...]]:
    """The title of a drawing and its cells, from top to bottom."""
    if genotype.kinds == Topology.kinds:
        is_benchmark = genotype.edges == NASBENCH201.edges
        title = "A cell of NAS-Bench-201" if is_benchmark else "A cell"
        return title, (_topology_cell(genotype),)
    cells = (
        _darts_cell(genotype, "normal", "Normal cell"),
        _darts_cell(genotype, "reduce", "Reduction cell"),
    )
    return "A normal cell and a reduction cell", cells


def _darts_cell(genotype, kind, heading):
    edges = genotype.edges_of(kind)
    blocks = map(str, range(len(edges) // PAIRS_PER_NODE))
    names = ("c_{k-2}", "c_{k-1}", *blocks)
    return CellGraph(heading, names, NUM_INPUTS, edges, genotype.concat(kind))


def _topology_cell(genotype):
    (last,) = genotype.concat()
    names = ("input", *map(str, range(1, last)), "output")
    return CellGraph("Cell", names, 1, genotype.edges_of(), ())
