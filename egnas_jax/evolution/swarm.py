"""Implements particle swarms over real numbers and over bits.

A particle moves toward the best position of its own and that of the swarm. Both levels
of a two-level swarm share fitness, best positions and constants. Lower fitness is
better.

Source: Huang et al., EPCNAS (Particle Swarm Optimization for Compact Neural
Architecture Search); Kennedy & Eberhart (1997) for bits. Its positions are whole
numbers, which `SwarmConstants.whole` gives.

Dims: P particles, D real numbers or bits of a position.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.evolution.shaping import rankable
from egnas_jax.types import Array, PyTree


@flax.struct.dataclass
class SwarmConstants:
    """How a particle moves.

    Attributes:
      inertia: share of the old velocity that stays, w.
      own: pull of a particle's own best position, c1.
      swarm: pull of the swarm's best position, c2.
      clamp: largest absolute velocity; inf, as published, for none.
      whole: whether positions are truncated toward zero, as published; static.
    """

    inertia: Array | float = 0.7298
    own: Array | float = 1.49618
    swarm: Array | float = 1.49618
    clamp: Array | float = float("inf")
    whole: bool = flax.struct.field(pytree_node=False, default=False)


@flax.struct.dataclass
class Memory:
    """Best positions so far.

    Attributes:
      own: best position of each particle, leaves [P, ...].
      own_fitness: f32[P].
      best: best position of the swarm, leaves [...].
      best_fitness: f32[].
      own_cost, best_cost: of the same positions, by which equal fitness is decided;
        zeros where it is not.
    """

    own: PyTree
    own_fitness: Array
    best: PyTree
    best_fitness: Array
    own_cost: Array
    best_cost: Array


def new_velocity(
    constants: SwarmConstants,
    velocity: Array,
    position: Array,
    *,
    own: Array,
    best: Array,
    uniform: Array,
) -> Array:
    """Velocities of the next move.

    Args:
      constants: of the swarm.
      velocity, position, own: f32[P, D].
      best: f32[D].
      uniform: f32[2, P, D], two numbers in [0, 1) for each dimension.
    """
    moved = (
        constants.inertia * velocity
        + constants.own * uniform[0] * (own - position)
        + constants.swarm * uniform[1] * (best[None, :] - position)
    )
    return jnp.clip(moved, -constants.clamp, constants.clamp)


def new_position(constants: SwarmConstants, position: Array, velocity: Array) -> Array:
    """Positions f32[P, D] after a move by their new velocities."""
    position = position + velocity
    return jnp.trunc(position) if constants.whole else position


def new_bits(velocity: Array, uniform: Array) -> Array:
    """Bits i32 of the velocities: 1 with the probability of their sigmoid."""
    return (uniform <= jax.nn.sigmoid(velocity)).astype(jnp.int32)


def empty_memory(positions: PyTree) -> Memory:
    """The memory of a swarm that has not been evaluated."""
    size = len(jax.tree.leaves(positions)[0])
    return Memory(
        own=positions,
        own_fitness=jnp.full((size,), jnp.inf, jnp.float32),
        best=jax.tree.map(lambda leaf: leaf[0], positions),
        best_fitness=jnp.float32(jnp.inf),
        own_cost=jnp.zeros((size,), jnp.float32),
        best_cost=jnp.float32(0.0),
    )


def remember(
    memory: Memory, positions: PyTree, fitness: Array, cost: Array | None = None
) -> Memory:
    """Updates own and swarm's best where a fitness is strictly better.

    Where costs are given, an equal fitness at a strictly lower cost counts as better,
    which EPCNAS does not have.

    Args:
      memory: before.
      positions: leaves [P, ...].
      fitness: f32[P], lower is better; NaN ranks last. Of equal particles the first
        becomes the swarm's best.
      cost: f32[P]; None: equal fitness changes nothing.
    """
    fitness = rankable(fitness)
    cost = jnp.zeros_like(fitness) if cost is None else cost
    better = _is_better((fitness, cost), (memory.own_fitness, memory.own_cost))
    own = jax.tree.map(
        lambda new, old: jnp.where(_broadcast(better, new), new, old),
        positions,
        memory.own,
    )
    first = jnp.lexsort((cost, fitness))[0]  # stable: of equals the first
    leader = fitness[first], cost[first]
    is_best = _is_better(leader, (memory.best_fitness, memory.best_cost))
    best = jax.tree.map(
        lambda new, old: jnp.where(is_best, new[first], old), positions, memory.best
    )
    return Memory(
        own=own,
        own_fitness=jnp.minimum(fitness, memory.own_fitness),
        best=best,
        best_fitness=jnp.minimum(fitness[first], memory.best_fitness),
        own_cost=jnp.where(better, cost, memory.own_cost),
        best_cost=jnp.where(is_best, cost[first], memory.best_cost),
    )


def _is_better(new: tuple[Array, Array], old: tuple[Array, Array]) -> Array:
    """Whether pairs of fitness and cost are better, decided by the fitness first."""
    return (new[0] < old[0]) | ((new[0] == old[0]) & (new[1] < old[1]))


def _broadcast(mask: Array, leaf: Array) -> Array:
    """A mask [P] with the number of axes of a leaf [P, ...]."""
    return lax.broadcast_in_dim(mask, leaf.shape, (0,))
