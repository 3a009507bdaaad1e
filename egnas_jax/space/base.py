"""What can be built: a space is plain data.

A cell has nodes; the first ones are its inputs. Every later node takes one edge from
each node before it, and each edge offers the same primitives.

Dims: E edges of a cell, K primitives of an edge.
"""

from typing import NamedTuple

# Every primitive that a network of the DARTS family may hold. Spaces offer a part of
# them; published cells (NASNet-A, AmoebaNet-A) use all.
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
    """A space of cells.

    Attributes:
      name: its key in `SPACES`.
      primitives: the K primitives in the order of the mixing's last axis.
      kinds: the kinds of cells, in the order of flat vectors.
      num_nodes: intermediate nodes of a cell.
      num_inputs: nodes that are inputs of a cell.
      family: "darts", where a node keeps its two strongest edges and a cell's output
        concatenates its nodes, or "topology", where every edge keeps one primitive and
        the last node is the output.
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

        Targets ascend, and sources within a target; nodes count from the inputs.
        """
        targets = range(self.num_inputs, self.num_inputs + self.num_nodes)
        return tuple((source, target) for target in targets for source in range(target))

    @property
    def num_edges(self) -> int:
        """E, the edges of one cell."""
        return len(self.edges)

    @property
    def dim(self) -> int:
        """Length of a flat vector that holds every alpha of every kind."""
        return len(self.kinds) * self.num_edges * len(self.primitives)
