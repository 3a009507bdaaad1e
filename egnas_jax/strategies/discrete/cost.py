"""Computes the size of a cell's network in compiled code, from a table.

Weights and multiply-adds of a network add up over the edges of its cells: what an edge
costs depends on its primitive, the kind of its cell, and whether its source is an input
of the cell, which a reduction strides. The table is measured by `nn.cost`.

Dims: G kinds of cells, M nodes, A primitives that are allowed.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from egnas_jax.nn.cost import count_params, multiply_adds
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.topology_cost import topology_multiply_adds, topology_params
from egnas_jax.space import Genotype, Space, Topology
from egnas_jax.strategies.discrete.cells import allowed_primitives, edge_index
from egnas_jax.types import Array

COSTS = ("params", "multiply_adds")
MILLION = 1e6


def make_cost(
    space: Space, num_classes: int, cost: str
) -> tuple[Callable[[Array], Array], float]:
    """A function from a cell to its cost in millions, and the largest cost.

    Args:
      space: of the cells.
      num_classes: of the network, which has the default width and depth.
      cost: "params" or "multiply_adds" (of an image of 32 pixels a side).
    """
    base, shares = SHARES[space.macro](space, num_classes, cost)
    allowed = allowed_primitives(space)
    kinds, edges = np.ogrid[: allowed.shape[0], : allowed.shape[1]]
    # [kind, edge, number]: what a number of an edge costs
    added = shares[kinds[..., None], edges[..., None], allowed]
    if not space.keeps_two_edges:
        flat = jnp.asarray(added, jnp.float32).reshape(-1, added.shape[-1]) / MILLION
        largest = base + added.max(axis=-1).sum()

        def cost_of_all_edges(cell: Array) -> Array:
            costs = jnp.take_along_axis(flat, cell[:, None], axis=1)[:, 0]
            return base / MILLION + jnp.sum(costs)

        return cost_of_all_edges, float(largest / MILLION)

    table = jnp.asarray(added / MILLION, jnp.float32)
    index, kinds = edge_index(space), jnp.arange(len(space.kinds))[:, None, None]
    nodes = jnp.arange(space.num_nodes)[:, None]

    def cost_of_two_edges(cell: Array) -> Array:
        places = index[nodes, cell[..., 0]]
        return base / MILLION + jnp.sum(table[kinds, places, cell[..., 1]])

    num_edges = 2 * space.num_nodes
    largest = base + num_edges * added.max(axis=(1, 2)).sum()
    return cost_of_two_edges, float(largest / MILLION)


def _shares_of_stages(space, num_classes, cost):
    """Costs of the rest of a network of stages, 0, and of its edges, f64[1, E, K].

    All edges cost alike, so an edge's share of a cell of E equal edges is an E-th.
    """
    count = {"params": topology_params, "multiply_adds": topology_multiply_adds}[cost]
    shares = [
        count(Topology((name,) * space.num_edges, space.edges), num_classes)
        / space.num_edges
        for name in space.primitives
    ]
    return 0.0, np.tile(shares, (1, space.num_edges, 1))


def _shares_of_darts(space, num_classes, cost):
    """Costs of a network without edges, and of its edges, f64[G, E, K].

    An edge of a reduction cell has a stride where its source is an input, so it costs
    another sum.
    """
    count = {"params": count_params, "multiply_adds": multiply_adds}[cost]
    config = NetworkConfig(num_classes=num_classes)
    plain = [("none", slot) for _ in range(space.num_nodes) for slot in range(2)]

    def total(kind, place, pair):
        pairs = {each: list(plain) for each in space.kinds}
        if kind is not None:
            pairs[kind][place] = pair
        outputs = space.output_nodes
        return count(
            Genotype(pairs["normal"], outputs, pairs["reduce"], outputs), config
        )

    base = total(None, None, None)
    last = (
        len(plain) - 1
    )  # the last pair belongs to the last node, which any can lead to
    sources = (1, space.num_inputs) if space.num_nodes > 1 else (1, 1)
    added = np.asarray(
        [
            [
                [total(kind, last, (n, s)) - base for n in space.primitives]
                for s in sources
            ]
            for kind in space.kinds
        ]
    )
    is_node = [int(source >= space.num_inputs) for source, _ in space.edges]
    return base, added[:, is_node]


# macro structure -> (space, number of classes, cost) -> cost of the rest, of the edges
SHARES = {"darts": _shares_of_darts, "nasbench201": _shares_of_stages}
