"""Measures how far cells are over the limits of a search.

Dims: G kinds of cells, E edges, K primitives, n cells.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.lookup import named_at
from egnas_jax.nn.edge_costs import EdgeCosts, counted_costs
from egnas_jax.space import Space
from egnas_jax.strategies.limits.config import Limit
from egnas_jax.strategies.population_statistics import quantiles
from egnas_jax.types import Array, Mixing

# Fitness under limits is at most WORST_WITHIN for a cell that keeps them, and for other
# cells between OVER and WORST_OVER. All are below 1e9, which discrete searches reserve
# for cells without a fitness.
WORST_WITHIN, OVER, WORST_OVER = 1e8, 1.1e8, 9e8

# (mixing with one-hot rows) -> f32[]: 0 where the limits are kept, else above 0
ExcessFn = Callable[[Mixing], Array]


class LimitedCost(NamedTuple):
    """A cost with its limit.

    Attributes:
      costs: of every edge.
      limit: the largest cost that is allowed.
    """

    costs: EdgeCosts
    limit: int


def limited_costs(
    space: Space, num_classes: int, limit: Limit
) -> dict[str, LimitedCost]:
    """Returns name -> the costs that have a limit.

    Args:
      space: of the cells.
      num_classes: of the network.
      limit: the limits.

    Raises:
      ValueError: there is a limit of the latency and no table for it, or the space has
        a derivation under which costs do not add up over its edges.
    """
    rule = "darts" if space.macro == "darts" else "argmax"
    if space.derive != rule:
        is_function = callable(space.derive)
        given = named_at(space.derive) if is_function else repr(space.derive)
        raise ValueError(
            f"strategy.limit needs a space with macro={space.macro!r} to have "
            f"derive={rule!r}, whose cells can be found under limits, and the space "
            f"{space.name} has derive={given}. Leave the limits out."
        )
    network = limit.network(space, num_classes)
    tables = {}
    for name, largest in limit.largest.items():
        if name == "latency_ms":
            costs = latency_costs(space, limit)
        else:
            costs = counted_costs(space, network, name)
        tables[name] = LimitedCost(costs, largest)
    return tables


def latency_costs(space: Space, limit: Limit) -> EdgeCosts:
    """Returns the latencies that a limit holds, in nanoseconds.

    Raises:
      ValueError: it holds none, or those of another space.
    """
    shape = len(space.kinds), space.num_edges, len(space.primitives)
    if limit.latencies is None or len(limit.latencies) != 1 + np.prod(shape):
        raise ValueError(
            f"strategy.limit.latency_ms needs a table of latencies for the space "
            f"{space.name}, with {1 + np.prod(shape)} numbers. A run measures and "
            f"stores it; in a configuration of your own fill in limit.latencies by "
            f"runs.limits.with_latencies."
        )
    base, *edges = limit.latencies
    return EdgeCosts(base, np.asarray(edges, np.int64).reshape(shape))


def make_excess(space: Space, num_classes: int, limit: Limit) -> ExcessFn | None:
    """Returns a function that tells how far a cell is over all limits together.

    It adds up, over the limits that the cell does not keep, by which share of the limit
    it is over. Without a limit the result is None.

    Args:
      space: of the cells.
      num_classes: of the network.
      limit: the limits.
    """
    if not limit.is_set:
        return None
    tables = limited_costs(space, num_classes, limit).values()

    def excess(mixing: Mixing) -> Array:
        shares = [
            jnp.maximum(costs.over(space, mixing, largest), 0.0) / largest
            for costs, largest in tables
        ]
        return sum(shares)

    return excess


def limited_fitness(fitness: Array, mixings: Mixing, excess: ExcessFn | None) -> Array:
    """Returns a fitness that ranks cells over a limit last, those by their excess.

    Args:
      fitness: lower is better, f32[n]; NaN counts as the worst of what is allowed.
      mixings: one-hot, leaves [n, ...].
      excess: of one mixing; None leaves the fitness as it is.
    """
    if excess is None:
        return fitness
    over = jax.vmap(excess)(mixings)
    within = jnp.minimum(jnp.nan_to_num(fitness, nan=WORST_WITHIN), WORST_WITHIN)
    penalty = OVER + (WORST_OVER - OVER) * over / (1.0 + over)
    return jnp.where(over > 0, penalty, within)


def without_over(fitness: Array, limit: Limit) -> Array:
    """Returns the fitness with infinity, a missing number, for cells over a limit.

    Without a limit it is returned as it is. NaN would stop a process that looks for it
    (`JAX_DEBUG_NANS`).
    """
    if not limit.is_set:
        return fitness
    return jnp.where(fitness >= OVER, jnp.inf, fitness)


def mean_within(fitness: Array, limit: Limit) -> Array:
    """Returns the mean fitness of the cells that keep the limits, f32[].

    It is infinite where no cell does.
    """
    if not limit.is_set:
        return jnp.mean(fitness)
    within = fitness < OVER
    mean = jnp.mean(fitness, where=within)
    return jnp.where(jnp.any(within), mean, jnp.inf)


def quantiles_within(fitness: Array, limit: Limit) -> dict[str, Array]:
    """Returns the `quantiles` of the fitness of the cells that keep the limits.

    They are infinite where no cell does.
    """
    if not limit.is_set:
        return quantiles(fitness=fitness)
    over = fitness >= OVER
    within = quantiles(fitness=jnp.where(over, jnp.nan, fitness))
    return {
        name: jnp.where(jnp.all(over), jnp.inf, value) for name, value in within.items()
    }


def limit_metrics(fitness: Array, limit: Limit) -> dict[str, Array]:
    """Returns the share of a population that is over a limit; nothing without one."""
    if not limit.is_set:
        return {}
    return {"over_limit": jnp.mean((fitness >= OVER).astype(jnp.float32))}
