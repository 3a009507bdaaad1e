"""Says what a mixed cell is, and which edges leave each of its states.

Dims: E edges of the cell, C channels, k of partial channels.
"""

from typing import NamedTuple

from egnas_jax.nn.primitive import EdgeKernel
from egnas_jax.nn.primitives import kernel_of
from egnas_jax.space import Space


class CellSpec(NamedTuple):
    """What a mixed cell is, apart from its channels and its arrays.

    Attributes:
      space: the space, which has the nodes, edges and primitives.
      kind: the key into a mixing, such as "normal".
      partial_channels: k; C / k channels go through the primitives.
      pool_bn: whether poolings are followed by a norm.
      live: of each edge, the positions of the primitives that it has, ascending; None:
        every edge has all.
      halves: whether the cell halves the image; None: as `reduce` cells of DARTS do.
    """

    space: Space
    kind: str
    partial_channels: int
    pool_bn: bool
    live: tuple[tuple[int, ...], ...] | None = None
    halves: bool | None = None

    @property
    def reduction(self) -> bool:
        """Whether the cell halves the image."""
        return self.kind == "reduce" if self.halves is None else self.halves

    @property
    def primitives(self) -> dict[str, EdgeKernel]:
        """The primitives of an edge, by name and in the order of the space."""
        return {name: kernel_of(name, self.pool_bn) for name in self.space.primitives}


class OutEdges(NamedTuple):
    """The edges that leave one state of a cell.

    Attributes:
      edges: their positions on the E axis of a mixing.
      targets: the node that each edge adds to, counted from the first intermediate one.
      stride: 2 where a reduction cell reads its inputs, else 1.
    """

    edges: tuple[int, ...]
    targets: tuple[int, ...]
    stride: int


def out_edges(space: Space, reduction: bool) -> tuple[OutEdges, ...]:
    """The out-edges of every state except the last, in the order of the states."""
    by_source = [[] for _ in range(space.num_inputs + space.num_nodes - 1)]
    for edge, (source, target) in enumerate(space.edges):
        by_source[source].append((edge, target - space.num_inputs))
    return tuple(
        OutEdges(
            edges=tuple(edge for edge, _ in pairs),
            targets=tuple(target for _, target in pairs),
            stride=_stride(space, source, reduction),
        )
        for source, pairs in enumerate(by_source)
    )


def _stride(space: Space, source: int, reduction: bool) -> int:
    return 2 if reduction and source < space.num_inputs else 1


def live_positions(spec: CellSpec, outgoing: OutEdges) -> dict[str, tuple[int, ...]]:
    """Returns name of a primitive -> which of the edges that leave a state have it.

    Primitives that none of them has are left out.
    """
    edges = range(len(outgoing.edges))
    if not edges:
        return {}
    if spec.live is None:
        return dict.fromkeys(spec.space.primitives, tuple(edges))
    names = spec.space.primitives
    positions = {
        name: tuple(i for i in edges if k in spec.live[outgoing.edges[i]])
        for k, name in enumerate(names)
    }
    return {name: where for name, where in positions.items() if where}
