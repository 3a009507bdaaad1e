"""Defines search spaces as plain data.

The first nodes of a cell are its inputs. Every later node has one edge from each node
before it, and each edge offers the same primitives.

Dims: E edges of a cell, K primitives of an edge.
"""

from typing import NamedTuple

# All primitives that a network of the DARTS family may hold. A space offers some of
# them; the published cells (NASNet-A, AmoebaNet-A) use all of them.
PRIMITIVES = (
    "none",
    "avg_pool_3x3",
    "max_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_7x1_1x7",
)


class Space(NamedTuple):
    """A search space of cells.

    Attributes:
      name: its key in `SPACES`.
      primitives: the K primitives, in the order of the mixing's last axis.
      kinds: the kinds of cells, in the order in which flat vectors hold them.
      num_nodes: intermediate nodes of a cell.
      num_inputs: nodes that are inputs of a cell.
      family: "darts" if a node keeps its two strongest edges and the output of a cell
        concatenates its nodes; "topology" if every edge keeps one primitive and the
        last node is the output.
    """

    name: str
    primitives: tuple[str, ...]
    kinds: tuple[str, ...] = ("normal", "reduce")
    num_nodes: int = 4
    num_inputs: int = 2
    family: str = "darts"

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(source, target) of every edge, in the order of the mixing's edge axis.

        Edges are sorted by target, then by source. Nodes are numbered from the inputs.
        """
        targets = range(self.num_inputs, self.num_inputs + self.num_nodes)
        return tuple((source, target) for target in targets for source in range(target))

    @property
    def num_edges(self) -> int:
        """E, the number of edges of one cell."""
        return len(self.edges)

    @property
    def dim(self) -> int:
        """D, the length of a flat vector with the alphas of all kinds of cells."""
        return len(self.kinds) * self.num_edges * len(self.primitives)
