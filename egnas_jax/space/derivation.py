"""Derives genotypes from mixings.

Dims: E edges of a cell, K primitives of an edge.
"""

from typing import TYPE_CHECKING

import numpy as np

from egnas_jax.lookup import defined_at
from egnas_jax.space.all_edges import derive_all_edges
from egnas_jax.space.base import Space
from egnas_jax.space.genotype import PAIRS_PER_NODE, Genotype
from egnas_jax.space.membership import check_member
from egnas_jax.space.mixing_arrays import (
    checked_arrays,
    derivable_mask,
    live_mask,
    strongest_primitives,
)
from egnas_jax.space.paths import check_path
from egnas_jax.space.topology import Topology

if TYPE_CHECKING:  # importing JAX takes a second, and spaces need none of it
    from egnas_jax.types import Mixing


def derive(space: Space, mixing: "Mixing") -> Genotype | Topology:
    """The genotype of the strongest edges and primitives of a mixing.

    `space.derive` is the rule. By "darts", each node keeps its two strongest edges, in
    descending order. The strength of an edge is the weight of its strongest primitive
    times its edge weight; `none` never counts. By "argmax", every edge keeps its
    strongest primitive, which may be `none`, and edge weights have no effect: the
    result is a `Topology` where there is one kind of cell, else a `Genotype` that keeps
    all edges (see `derive_all_edges`). Ties go to the lower edge and to the earlier
    primitive. Primitives that an edge lacks are never chosen.

    By "argmax" a cell may be `none` on every edge, as some cells of NAS-Bench-201 are.
    It is a genotype, but no network can be made of it.

    A function (space, mixing) is called as it is. Its result is checked: a `Genotype`
    for normal and reduction cells, else a `Topology`, with nodes, edges and primitives
    that the space has, and a path through each cell.

    Args:
      space: names the primitives.
      mixing: per kind, weights of primitives [E, K] and of edges [E], which are
        compared in float32. Weights of different edges must be comparable: pass the
        softmax of the alphas, as the supernet sees it, not the alphas.

    Raises:
      ValueError: a kind is missing, or an array has another shape or a value that is
        not finite; or the result of a function is no genotype of the space.

    Source: `genotype()` of DARTS; edge weights as in PC-DARTS (Xu et al., ICLR 2020);
    topologies as in `genotype()` of NAS-Bench-201 (Dong & Yang, ICLR 2020).
    """
    if callable(space.derive):
        return _by_function(space, mixing)
    if space.derive == "darts":
        return _two_edges_a_node(space, mixing)
    if space.kinds == Genotype.kinds:
        return derive_all_edges(space, mixing)
    (kind,) = space.kinds
    primitives, _ = checked_arrays(space, mixing, kind)
    return Topology.of_choices(
        strongest_primitives(space, kind, primitives).tolist(), space
    )


def check_derivation(space: Space) -> None:
    """Refuses a space whose own function cannot derive a cell at the start of a search.

    It is tried on a mixing that is almost even, as methods begin with: each edge has a
    slightly other order of its primitives. Rules by name pass.

    Args:
      space: of the cells.

    Raises:
      ValueError: what the function returns is no genotype of the space.
    """
    if not callable(space.derive):
        return
    from egnas_jax.types import Mixing

    numbers = np.random.default_rng(0)
    rows = {}
    for kind in space.kinds:
        mask = live_mask(space, kind)
        weights = mask * (1 + 1e-3 * numbers.normal(size=mask.shape))
        rows[kind] = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    edges = dict.fromkeys(space.kinds, np.ones(space.num_edges, np.float32))
    derive(space, Mixing(rows, edges))


def check_rule(space: Space, hint: str) -> None:
    """Refuses a space whose cells are derived by a function instead of a rule.

    What scores a cell as one-hot rows takes it for the cell of those rows. A function
    may derive another one from them.

    Args:
      space: of the cells.
      hint: what to do instead, a sentence.

    Raises:
      ValueError: the space's derivation is a function.
    """
    if callable(space.derive):
        raise ValueError(
            f"The space {space.name} derives cells by a function "
            f"({defined_at(space.derive)}), which may find another cell than the one "
            f"that is scored. {hint}"
        )


def _by_function(space, mixing) -> Genotype | Topology:
    """The genotype that the space's own function derives, checked."""
    for kind in space.kinds:
        checked_arrays(space, mixing, kind)
    wanted = Genotype if space.kinds == Genotype.kinds else Topology
    try:
        genotype = space.derive(space, mixing)
        if not isinstance(genotype, wanted):
            raise ValueError(
                f"it returned {str(genotype)[:80]!r}, but must return a "
                f"{wanted.__name__}."
            )
        check_member(space, genotype)
        for kind in space.kinds:
            check_path(genotype, kind)
    except Exception as error:  # whatever a user's function raises is named with it
        raise ValueError(
            f"The derivation of the space {space.name} ({defined_at(space.derive)}): "
            f"{error if isinstance(error, ValueError) else repr(error)}"
        ) from error
    return genotype


def _two_edges_a_node(space, mixing) -> Genotype:
    """The genotype of DARTS's rule."""
    cells = {}
    for kind in space.kinds:
        primitives, edges = checked_arrays(space, mixing, kind)
        weights = primitives * edges[:, None]
        weights = np.where(derivable_mask(space, kind), weights, -np.inf)
        cells[kind] = tuple(
            pair
            for target in space.nodes
            for pair in _strongest(space, weights, target)
        )
    nodes = space.output_nodes
    return Genotype(cells["normal"], nodes, cells["reduce"], nodes)


def _strongest(space, weights, target):
    """The two strongest pairs (primitive, source) of one node, in descending order.

    `weights` [E, K] is -inf where a primitive must not be chosen.
    """
    rows = space.in_edges(target)
    scores = weights[list(rows)].max(axis=1)
    strongest = np.argsort(-scores, kind="stable")[:PAIRS_PER_NODE]
    return [
        (space.primitives[int(weights[edge].argmax())], space.edges[edge][0])
        for edge in (rows[position] for position in strongest)
    ]
