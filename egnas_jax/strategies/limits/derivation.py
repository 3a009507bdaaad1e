"""Derives the best cell that keeps the limits of a search.

Without a limit, the derivation of DARTS finds the cell with the largest sum of weights
over its edges: two edges of each node, each with one primitive that is not `none`. The
derivation of NAS-Bench-201 does so with one primitive on every edge. Under limits the
cell is the one with the largest sum among those that keep them. It is found exactly, as
an integer program (HiGHS, by scipy).

Dims: G kinds of cells, E edges, K primitives.
"""

from collections.abc import Mapping

import jax
import numpy as np
from scipy import optimize, sparse

from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.strategy import Strategy
from egnas_jax.space import SPACES, Genotype, Space, Topology, derive
from egnas_jax.space.mixing_arrays import derivable_masks
from egnas_jax.strategies.limits.config import NANOSECONDS, Limit
from egnas_jax.strategies.limits.costs import LimitedCost, limited_costs
from egnas_jax.strategies.limits.derived import (
    derived_mixing,
    in_edges,
)
from egnas_jax.types import Mixing

# The solver keeps constraints and integers to 1e-6 only. Where its cell is over a limit
# by that little, the limit is tightened by these shares of itself.
MARGINS = (0.0, 2e-6, 1e-5, 1e-4, 1e-3)
SCALE = 1e4  # of the objective: the solver stops at an absolute gap of 1e-6

Costs = Mapping[str, LimitedCost]


def with_limit(strategy: Strategy, net: Supernet, limit: Limit) -> Strategy:
    """Returns a method whose genotypes keep the limits.

    Args:
      strategy: without a derivation of its own.
      net: the supernet.
      limit: the limits; without any, the result is the method itself.

    Raises:
      ValueError: no cell keeps the limits.
    """
    if not limit.is_set:
        return strategy
    space = SPACES[net.config.space]
    tables = limited_costs(space, net.config.num_classes, limit)
    check_limits(space, tables)
    return strategy._replace(
        derive=lambda mixing: derive_limited(space, mixing, tables)
    )


def derive_limited(space: Space, mixing: Mixing, tables: Costs) -> Genotype | Topology:
    """Derives the cell with the largest sum of weights that keeps the limits.

    Where the cell that `derive` finds keeps them, it is the result.

    Args:
      space: of the cells.
      mixing: weights of primitives [E, K] and of edges [E] of each kind.
      tables: costs with their limits.

    Raises:
      ValueError: no cell keeps the limits, or `derive` refuses the mixing.
    """
    mixing = jax.tree.map(np.asarray, mixing)
    genotype = derive(space, mixing)
    chosen = _as_choices(space, jax.tree.map(np.asarray, derived_mixing(space, mixing)))
    if _keeps(chosen, tables):
        return genotype
    weights = _weights(space, mixing)
    chosen = _best(space, weights, tables)
    if chosen is None:
        check_limits(space, tables)
        raise ValueError("No cell was found that keeps all limits. Raise one of them.")
    # Only what is chosen has a weight, and the order of the weights stays.
    kept = np.where(chosen, 1.0 + weights - weights.min(), 0.0)
    primitives = dict(zip(space.kinds, kept, strict=True))
    edges = dict.fromkeys(space.kinds, np.ones(space.num_edges))
    return derive(space, Mixing(primitives, edges))


def check_limits(space: Space, tables: Costs) -> None:
    """Refuses limits that no cell keeps.

    Raises:
      ValueError: names the smallest cost that is possible.
    """
    for name, table in tables.items():
        least = least_cost(space, table)
        if least > table.limit:
            raise ValueError(
                f"strategy.limit.{name} is {_shown(name, table.limit)}, but the least "
                f"that a cell of the space {space.name} can have in this network is "
                f"{_shown(name, least)}. Raise the limit, or choose a smaller network "
                f"by strategy.limit.channels and strategy.limit.layers."
            )
    no_weights = np.zeros((len(space.kinds), space.num_edges, len(space.primitives)))
    if len(tables) > 1 and _best(space, no_weights, tables) is None:
        given = ", ".join(f"{n}={_shown(n, t.limit)}" for n, t in tables.items())
        raise ValueError(
            f"Each of the limits {given} can be kept alone, but no cell of the space "
            f"{space.name} keeps all of them. Raise one of them."
        )


def least_cost(space: Space, table: LimitedCost) -> int:
    """Returns the smallest cost that a cell of the space can have."""
    costs = np.where(derivable_masks(space), table.costs.edges, np.iinfo(np.int64).max)
    least = costs.min(axis=2)  # [G, E]
    if space.keeps_two_edges:
        nodes = [np.sort(least[:, rows], axis=1)[:, :2] for rows in in_edges(space)]
        return table.costs.base + int(sum(node.sum() for node in nodes))
    return table.costs.base + int(least.sum())


def _shown(name: str, value: int) -> str:
    """A cost as a setting has it."""
    return f"{value / NANOSECONDS:g}" if name == "latency_ms" else f"{value:,}"


def _weights(space: Space, mixing: Mixing) -> np.ndarray:
    """The weights that the derivation of the space compares, f64[G, E, K]."""
    rows = [np.asarray(mixing.primitives[kind], np.float32) for kind in space.kinds]
    if space.keeps_two_edges:
        rows = [
            row * np.asarray(mixing.edges[kind], np.float32)[:, None]
            for row, kind in zip(rows, space.kinds, strict=True)
        ]
    return np.stack(rows).astype(float)


def _as_choices(space: Space, mixing: Mixing) -> np.ndarray:
    """Which primitives a one-hot mixing has, bool[G, E, K]."""
    rows = [mixing.primitives[k] * mixing.edges[k][:, None] for k in space.kinds]
    return np.stack(rows) > 0


def _keeps(chosen: np.ndarray, tables: Costs) -> bool:
    return all(t.costs.of_choices(chosen) <= t.limit for t in tables.values())


def _best(space: Space, weights: np.ndarray, tables: Costs) -> np.ndarray | None:
    """The choices of the largest sum of weights within the limits, or None."""
    spread = np.ptp(weights) or 1.0
    for margin in MARGINS:
        result = optimize.milp(
            -SCALE * ((weights - weights.min()) / spread).ravel(),
            integrality=np.ones(weights.size),
            bounds=optimize.Bounds(0, derivable_masks(space).ravel().astype(float)),
            constraints=[*_graph(space), *_limits(tables, margin)],
            options={"mip_rel_gap": 0.0},
        )
        if result.x is None:
            return None
        chosen = result.x.reshape(weights.shape) > 0.5
        if _keeps(chosen, tables):
            return chosen
    return None


def _limits(tables: Costs, margin: float) -> list[optimize.LinearConstraint]:
    """Costs are divided by their limits, so that the solver's tolerances fit."""
    return [
        optimize.LinearConstraint(
            table.costs.edges.reshape(1, -1) / table.limit,
            ub=(table.limit - table.costs.base) / table.limit - margin,
        )
        for table in tables.values()
    ]


def _graph(space: Space) -> list[optimize.LinearConstraint]:
    """One primitive on every edge, or two edges of each node with one each."""
    num_rows = len(space.kinds) * space.num_edges
    of_edge = sparse.kron(sparse.eye(num_rows), np.ones((1, len(space.primitives))))
    if not space.keeps_two_edges:
        return [optimize.LinearConstraint(of_edge, 1, 1)]
    of_node = np.zeros((space.num_nodes, space.num_edges))
    for node, rows in enumerate(in_edges(space)):
        of_node[node, rows] = 1.0
    of_node = sparse.kron(sparse.eye(len(space.kinds)), of_node)
    return [
        optimize.LinearConstraint(of_edge, 0, 1),
        optimize.LinearConstraint(of_node @ of_edge, 2, 2),
    ]
