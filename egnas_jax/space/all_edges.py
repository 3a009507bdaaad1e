"""Derives genotypes that keep all edges of a cell, not two of each node.

A genotype has two pairs a node. A node with more edges is written as a chain: each link
adds one edge to the sum so far, which it takes by a `skip_connect` of stride 1, the
identity. Only the last link is an output of the cell, so the network computes the same
sum, with the same weights.

Dims: E edges of a cell, K primitives of an edge.
"""

from typing import TYPE_CHECKING

import numpy as np

from egnas_jax.space.base import Space
from egnas_jax.space.genotype import Genotype
from egnas_jax.space.mixing_arrays import checked_arrays, strongest_primitives
from egnas_jax.space.pairs import Pair

if TYPE_CHECKING:  # importing JAX takes a second, and spaces need none of it
    from egnas_jax.types import Mixing


def derive_all_edges(space: Space, mixing: "Mixing") -> Genotype:
    """Returns the genotype that keeps the strongest primitive of every edge.

    An edge whose strongest primitive is `none` is dropped. Edge weights have no effect.
    Ties go to the earlier primitive.

    Args:
      space: a space with normal and reduction cells of two inputs.
      mixing: per kind, weights of primitives [E, K] and of edges [E].

    Raises:
      ValueError: a kind is missing, or an array has another shape or a value that is
        not finite.

    Source: SNAS (Xie et al., ICLR 2019), which keeps all edges.
    """
    cells = {}
    for kind in space.kinds:
        primitives, _ = checked_arrays(space, mixing, kind)
        choices = strongest_primitives(space, kind, primitives)
        cells[kind] = _chained_cell(space, choices)
    (normal, normal_outputs), (reduce, reduce_outputs) = (
        cells["normal"],
        cells["reduce"],
    )
    return Genotype(normal, normal_outputs, reduce, reduce_outputs)


def _chained_cell(
    space: Space, choices: np.ndarray
) -> tuple[tuple[Pair, ...], tuple[int, ...]]:
    """The pairs of a cell and its output nodes.

    Args:
      space: names the primitives.
      choices: a primitive for every edge, i64[E].
    """
    number = list(range(space.num_inputs))  # of each node of the space, in the genotype
    cell: list[Pair] = []
    for target in space.nodes:
        pairs = [
            (space.primitives[choice], number[source])
            for choice, (source, node) in zip(choices, space.edges, strict=True)
            if node == target
        ]
        kept = [pair for pair in pairs if pair[0] != "none"]
        dropped = [pair for pair in pairs if pair[0] == "none"]
        if len(kept) < 2:  # a node has two pairs, also where the space gives it one
            kept = (kept + dropped + 2 * [("none", 0)])[:2]
        cell += kept[:2]
        for pair in kept[2:]:
            so_far = space.num_inputs + len(cell) // 2 - 1
            cell += [pair, ("skip_connect", so_far)]
        number.append(space.num_inputs + len(cell) // 2 - 1)
    return tuple(cell), tuple(number[node] for node in space.output_nodes)
