"""Writes a cost that adds up over the edges of a cell as a table.

Weights, multiply-adds and (about) the latency of a network are such costs. What an edge
costs depends on its primitive, the kind of its cell, and whether its source is an input
of the cell, which a reduction strides.

A cost is a whole number: weights, multiply-adds, or nanoseconds. Compiled code has no
integers of 64 bits, so it keeps them in two parts, and is exact all the same.

Dims: G kinds of cells, E edges, K primitives.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from egnas_jax.nn.costs import cost
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.space import Genotype, Space, Topology
from egnas_jax.types import Array, Mixing

PART = 2**20  # the lower part of a cost is below it


class EdgeCosts(NamedTuple):
    """A cost that adds up over edges.

    Attributes:
      base: cost of a network whose edges cost nothing.
      edges: what each primitive of each edge adds, i64[G, E, K].
    """

    base: int
    edges: np.ndarray

    def of_choices(self, chosen: np.ndarray) -> int:
        """Returns the exact cost of a cell, on the host.

        Args:
          chosen: which primitives the cell has on which edges, bool[G, E, K].
        """
        return self.base + int(self.edges[chosen].sum())

    def expected(self, space: Space, mixing: Mixing) -> float:
        """Returns the mean cost of cells drawn edge by edge with the mixing's weights.

        Args:
          space: of the mixing.
          mixing: rows of `primitives` add up to one; `edges` are probabilities.
        """
        weights = [
            np.asarray(mixing.primitives[kind], float)
            * np.asarray(mixing.edges[kind], float)[:, None]
            for kind in space.kinds
        ]
        return self.base + float((np.stack(weights) * self.edges).sum())

    def over(self, space: Space, mixing: Mixing, limit: int) -> Array:
        """Returns by how much a cell costs more than a limit, in compiled code.

        Args:
          space: of the mixing.
          mixing: one-hot rows of the edges that the cell has.
          limit: the largest cost that is allowed.

        Returns:
          The cost less the limit, f32[]; rounded, but its sign is exact.
        """
        chosen = jnp.stack(
            [
                mixing.primitives[kind] * mixing.edges[kind][:, None] > 0
                for kind in space.kinds
            ]
        )
        low, high = (
            jnp.sum(jnp.where(chosen, jnp.asarray(part, jnp.int32), 0))
            for part in (self.edges % PART, self.edges // PART)
        )
        rest = limit - self.base
        high = high + low // PART - rest // PART
        low = low % PART - rest % PART
        # The sum is zero only where it is exactly so, and its rounding keeps the sign.
        return high.astype(jnp.float32) * PART + low.astype(jnp.float32)


class CountedNetwork(NamedTuple):
    """The network that is counted, and its images.

    Attributes:
      config: the network around the cells.
      image_size: side of its images, pixels.
      image_channels: channels of its images.
    """

    config: NetworkConfig
    image_size: int
    image_channels: int


def counted_costs(space: Space, network: CountedNetwork, name: str) -> EdgeCosts:
    """Counts a cost of every edge of a space.

    Args:
      space: of the cells.
      network: the network that contains the cells.
      name: "params" or "multiply_adds".
    """

    def count(genotype: Genotype | Topology) -> int:
        counted = cost(
            genotype,
            network.config,
            image_size=network.image_size,
            image_channels=network.image_channels,
        )
        return getattr(counted, name)

    return edge_costs(space, count)


def edge_costs(space: Space, count: Callable[[Genotype | Topology], int]) -> EdgeCosts:
    """Reads the table of a cost off the costs of a few genotypes.

    Args:
      space: of the cells.
      count: the cost of the network of a genotype, which adds up over edges.
    """
    if space.macro == Genotype.macro:
        return _of_two_kinds(space, count)
    base = count(Topology(space.num_edges * ("none",), space.edges))
    # All edges cost alike, so one of E equal edges costs an E-th of what they add.
    added = [
        (count(Topology(space.num_edges * (name,), space.edges)) - base)
        // space.num_edges
        for name in space.primitives
    ]
    return EdgeCosts(
        base, np.tile(np.asarray(added, np.int64), (1, space.num_edges, 1))
    )


def _of_two_kinds(space, count) -> EdgeCosts:
    first, outputs = space.num_inputs, space.output_nodes
    empty = 2 * space.num_nodes * [("none", 0)]

    def total(kind=None, pair=None):
        # Any node may end an edge from any earlier one; the last has them all.
        pairs = {
            each: empty[:-1] + [pair if each == kind else empty[-1]]
            for each in space.kinds
        }
        return count(Genotype(pairs["normal"], outputs, pairs["reduce"], outputs))

    base = total()
    sources = {0, first} if space.num_nodes > 1 else {0}
    added = {
        (kind, source > 0, name): total(kind, (name, source)) - base
        for kind in space.kinds
        for source in sources
        for name in space.primitives
    }
    table = [
        [
            [added[kind, source >= space.num_inputs, name] for name in space.primitives]
            for source, _ in space.edges
        ]
        for kind in space.kinds
    ]
    return EdgeCosts(base, np.asarray(table, np.int64))
