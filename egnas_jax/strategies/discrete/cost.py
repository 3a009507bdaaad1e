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
from egnas_jax.strategies.discrete.cells import allowed_primitives
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
    if space.family == "topology":
        return _topology_cost(space, num_classes, cost)
    return _darts_cost(space, num_classes, cost)


def _topology_cost(space, num_classes, cost):
    count = {"params": topology_params, "multiply_adds": topology_multiply_adds}[cost]

    def total(choice):
        return count(Topology.of_choices([choice] * space.num_edges), num_classes)

    # All edges cost alike, so a sixth of a cell of six equal edges is one edge's share.
    shares = [total(k) / space.num_edges for k in range(len(space.primitives))]
    table = jnp.asarray(shares, jnp.float32) / MILLION
    largest = max(shares) * space.num_edges / MILLION
    return lambda cell: jnp.sum(table[cell]), largest


def _darts_cost(space, num_classes, cost):
    count = {"params": count_params, "multiply_adds": multiply_adds}[cost]
    config = NetworkConfig(num_classes=num_classes)
    names = [space.primitives[index] for index in allowed_primitives(space)]
    plain = [(names[0], slot) for _ in range(space.num_nodes) for slot in range(2)]
    outputs = tuple(range(space.num_inputs, space.num_inputs + space.num_nodes))

    def total(kind, place, pair):
        pairs = {each: list(plain) for each in space.kinds}
        if kind is not None:
            pairs[kind][place] = pair
        cells = pairs["normal"], outputs, pairs["reduce"], outputs
        return count(Genotype(*cells), config)

    base = total(None, None, None)
    # [kind, whether the source is a node, primitive]: what the edge costs more than the
    # first primitive from an input. The last pair belongs to the last node.
    last = len(plain) - 1
    sources = (1, space.num_inputs) if space.num_nodes > 1 else (1, 1)
    added = np.asarray(
        [
            [[total(kind, last, (n, s)) - base for n in names] for s in sources]
            for kind in space.kinds
        ]
    )
    table = jnp.asarray(added / MILLION, jnp.float32)
    num_edges = 2 * space.num_nodes
    largest = (base + num_edges * added.max(axis=(1, 2)).sum()) / MILLION
    kinds = jnp.arange(len(space.kinds))[:, None, None]

    def cost_of(cell: Array) -> Array:
        is_node = (cell[..., 0] >= space.num_inputs).astype(jnp.int32)
        return base / MILLION + jnp.sum(table[kinds, is_node, cell[..., 1]])

    return cost_of, float(largest)
