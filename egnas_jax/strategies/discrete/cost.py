"""Computes the size of a cell's network in compiled code, from a table.

Weights and multiply-adds of a network add up over the edges of its cells: what an edge
costs depends on its primitive, the kind of its cell, and whether its source is an input
of the cell, which a reduction strides. The table is measured by `nn.cost`.

Dims: G kinds of cells, M nodes, A primitives that are allowed.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from egnas_jax.nn.edge_costs import CountedNetwork, counted_costs
from egnas_jax.nn.network_cost import published_network
from egnas_jax.space import Space
from egnas_jax.strategies.discrete.cells import edge_index, primitive_table
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
    sizes = {"num_classes": num_classes}
    network = published_network(space.macro, space.stages, **sizes)
    base, shares = counted_costs(space, CountedNetwork(network, 32, 3), cost)
    allowed = primitive_table(space)
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
