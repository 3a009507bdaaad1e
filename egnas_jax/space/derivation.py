"""Derives genotypes from mixings.

Dims: E edges of a cell, K primitives of an edge.
"""

from typing import TYPE_CHECKING

import numpy as np

from egnas_jax.space.base import Space
from egnas_jax.space.genotype import PAIRS_PER_NODE, Genotype
from egnas_jax.space.topology import Topology

if TYPE_CHECKING:  # importing JAX takes a second, and spaces need none of it
    from egnas_jax.types import Mixing


def derive(space: Space, mixing: "Mixing") -> Genotype | Topology:
    """The genotype of the strongest edges and primitives of a mixing.

    In a space of the DARTS family, each node keeps its two strongest edges, in
    descending order. The strength of an edge is the weight of its strongest primitive
    times its edge weight; `none` never counts. In a topology space, every edge keeps
    its strongest primitive, which may be `none`, and edge weights have no effect. Ties
    go to the lower edge and to the earlier primitive.

    Args:
      space: names the primitives.
      mixing: per kind, weights of primitives [E, K] and of edges [E], which are
        compared in float32. Weights of different edges must be comparable: pass the
        softmax of the alphas, as the supernet sees it, not the alphas.

    Raises:
      ValueError: a kind is missing, or an array has another shape or a value that is
        not finite.

    Source: `genotype()` of DARTS; edge weights as in PC-DARTS (Xu et al., ICLR 2020);
    topologies as in `genotype()` of NAS-Bench-201 (Dong & Yang, ICLR 2020).
    """
    arrays = {kind: checked_arrays(space, mixing, kind) for kind in space.kinds}
    if space.family == "topology":
        ((primitives, _),) = arrays.values()
        return Topology.of_choices(primitives.argmax(axis=1).tolist())
    first, last = space.num_inputs, space.num_inputs + space.num_nodes
    cells = {}
    for kind, (primitives, edges) in arrays.items():
        weights = primitives * edges[:, None]
        cells[kind] = tuple(
            pair
            for target in range(first, last)
            for pair in _strongest(space, weights, target)
        )
    nodes = tuple(range(first, last))
    return Genotype(cells["normal"], nodes, cells["reduce"], nodes)


def checked_arrays(space: Space, mixing: "Mixing", kind: str) -> list[np.ndarray]:
    """Returns the weights of one kind of cell on the host, checked.

    Args:
      space: has the shapes.
      mixing: per kind, weights of primitives [E, K] and of edges [E].
      kind: of the cell.

    Returns:
      Weights of primitives f32[E, K] and of edges f32[E].

    Raises:
      ValueError: the kind is missing, or an array has another shape or a value that is
        not finite.
    """
    shapes = {
        "primitives": (space.num_edges, len(space.primitives)),
        "edges": (space.num_edges,),
    }
    arrays = []
    for field, shape in shapes.items():
        table = getattr(mixing, field)
        if kind not in table:
            raise ValueError(
                f"mixing.{field} lacks the kind {kind!r}; it holds {sorted(table)}."
            )
        array = np.asarray(table[kind], np.float32)
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(
                f"mixing.{field}[{kind!r}] of the space {space.name} must be finite "
                f"and of shape {shape}; got shape {array.shape}, "
                f"{int((~np.isfinite(array)).sum())} values not finite."
            )
        arrays.append(array)
    return arrays


def _strongest(space, weights, target):
    """The two strongest pairs (primitive, source) of one node, in descending order."""
    columns = [k for k, name in enumerate(space.primitives) if name != "none"]
    rows = [e for e, (_, node) in enumerate(space.edges) if node == target]
    allowed = weights[np.ix_(rows, columns)]
    scores = allowed.max(axis=1)
    strongest = np.argsort(-scores, kind="stable")[:PAIRS_PER_NODE]
    return [
        (space.primitives[columns[int(allowed[source].argmax())]], int(source))
        for source in strongest
    ]
