"""From a mixing to the genotype that it stands for.

Dims: E edges of a cell, K primitives of an edge.
"""

import numpy as np

from egnas_jax.space.base import Space
from egnas_jax.space.genotype import PAIRS_PER_NODE, Genotype
from egnas_jax.space.topology import Topology
from egnas_jax.types import Mixing


def derive(space: Space, mixing: Mixing) -> Genotype | Topology:
    """The genotype that a mixing stands for.

    In a space of the DARTS family the two strongest edges of each node are kept, in
    descending order; an edge is as strong as its strongest primitive times its edge
    weight. `none` never counts. In a topology space every edge keeps its strongest
    primitive, `none` included, and edge weights change nothing. Ties go to the lower
    edge and to the earlier primitive.

    Args:
      space: names the primitives.
      mixing: weights of primitives [E, K] and of edges [E], per kind. Scored in
        float32: they are compared across rows, so alphas do not do, only what the
        supernet was given (their softmax).

    Raises:
      ValueError: a kind is missing, an array has another shape or holds NaN.

    Source: `genotype()` of DARTS; edge weights as in PC-DARTS (Xu et al., ICLR 2020);
    topologies as `genotype()` of NAS-Bench-201's search networks (Dong & Yang, 2020).
    """
    arrays = {kind: _arrays(space, mixing, kind) for kind in space.kinds}
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


def _arrays(space, mixing, kind):
    """Weights of primitives f32[E, K] and of edges f32[E], on the host."""
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
    """The kept pairs (primitive, source) of one node, by descending score."""
    columns = [k for k, name in enumerate(space.primitives) if name != "none"]
    rows = [e for e, (_, node) in enumerate(space.edges) if node == target]
    allowed = weights[np.ix_(rows, columns)]
    scores = allowed.max(axis=1)
    kept = np.argsort(-scores, kind="stable")[:PAIRS_PER_NODE]
    return [
        (space.primitives[columns[int(allowed[source].argmax())]], int(source))
        for source in kept
    ]
