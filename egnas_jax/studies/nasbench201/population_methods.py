"""Runs local search, NSGA-II and a particle swarm on the table.

The answer is the best of all evaluated cells by validation accuracy.

Sources: White, Nolen & Savani (UAI 2021) for local search; NSGA-Net (Lu et al., GECCO
2019) for NSGA-II; EPCNAS (Huang et al.) for the two-level swarm.

Dims: Q queries, P population, E edges, K primitives.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.evolution.breeding import IntegerGenes, offspring, random_population
from egnas_jax.evolution.nsga2 import survivors
from egnas_jax.evolution.swarm import (
    Memory,
    SwarmConstants,
    empty_memory,
    new_bits,
    new_velocity,
    remember,
)
from egnas_jax.nn.topology_cost import CHANNELS, LAYERS, topology_parts
from egnas_jax.studies.nasbench201.method_configs import (
    LocalSearchConfig,
    NSGA2Config,
    SwarmConfig,
)
from egnas_jax.studies.nasbench201.methods import TableRun, incumbents
from egnas_jax.studies.nasbench201.table import SPACE, BenchmarkTable, code_of
from egnas_jax.types import Array, Key

NUM_EDGES, NUM_PRIMITIVES = SPACE.num_edges, len(SPACE.primitives)
NUM_NEIGHBOURS = NUM_EDGES * (NUM_PRIMITIVES - 1)
NONE = SPACE.primitives.index("none")
IMAGE_SIZE = 32


@flax.struct.dataclass
class LocalState:
    """Where local search is.

    Attributes:
      centre: i32[E], the cell whose neighbours are evaluated.
      value: its validation accuracy, f32[].
      order: of its neighbours, i32[E (K - 1)].
      evaluated: how many of them have been evaluated, i32[].
      best, best_value: the best of these.
      restarts: whether the next cell is random, bool[].
    """

    centre: Array
    value: Array
    order: Array
    evaluated: Array
    best: Array
    best_value: Array
    restarts: Array


def local_search_run(
    table: BenchmarkTable,
    config: LocalSearchConfig,
    queries: int,
    hyperparams: dict,
    key: Key,
) -> TableRun:
    """Local search: from a random cell uphill, and anew from each local optimum."""
    del hyperparams

    def query(state, key):
        key_random, key_order = jax.random.split(key)
        start = jax.random.randint(key_random, (NUM_EDGES,), 0, NUM_PRIMITIVES)
        neighbour = neighbour_of(state.centre, state.order[state.evaluated])
        cell = jnp.where(state.restarts, start, neighbour)
        row = table.row_of[code_of(cell)]
        order = jax.random.permutation(key_order, NUM_NEIGHBOURS)
        return _local_step(config, state, cell, table.valid[row], order), row

    zero, nothing = jnp.zeros((NUM_EDGES,), jnp.int32), jnp.float32(-jnp.inf)
    state = LocalState(
        centre=zero,
        value=nothing,
        order=jnp.arange(NUM_NEIGHBOURS, dtype=jnp.int32),
        evaluated=jnp.int32(0),
        best=zero,
        best_value=nothing,
        restarts=jnp.asarray(True),
    )
    _, rows = lax.scan(query, state, jax.random.split(key, queries))
    return TableRun(rows=rows, answer=incumbents(table, rows)[-1])


def neighbour_of(cell: Array, index: Array) -> Array:
    """One of the E (K - 1) cells that differ in one edge, i32[E]."""
    edge, shift = index // (NUM_PRIMITIVES - 1), 1 + index % (NUM_PRIMITIVES - 1)
    return cell.at[edge].set((cell[edge] + shift) % NUM_PRIMITIVES)


def _local_step(
    config: LocalSearchConfig,
    state: LocalState,
    cell: Array,
    value: Array,
    order: Array,
) -> LocalState:
    """The state after the evaluation of a cell: a random one or a neighbour."""
    is_better = value > state.best_value
    evaluated = state.evaluated + 1
    best = jnp.where(is_better, cell, state.best)
    best_value = jnp.maximum(value, state.best_value)
    improves = best_value > state.value
    finished = evaluated == NUM_NEIGHBOURS
    if config.move == "first":
        finished = finished | improves
    moves = finished & improves
    # A random cell becomes the centre as the best of its neighbourhood does.
    settles = state.restarts | moves
    return LocalState(
        centre=jnp.where(state.restarts, cell, jnp.where(moves, best, state.centre)),
        value=jnp.where(
            state.restarts, value, jnp.where(moves, best_value, state.value)
        ),
        order=jnp.where(settles, order, state.order),
        evaluated=jnp.where(settles | finished, 0, evaluated),
        best=best,
        best_value=jnp.where(settles | finished, -jnp.inf, best_value),
        restarts=~state.restarts & finished & ~improves,
    )


def cost_of_primitives(cost: str) -> Array:
    """What an edge with each primitive adds to the network's cost, millions, f32[K]."""

    def total(primitives):
        parts = topology_parts(primitives, CHANNELS, LAYERS, 3)
        if cost == "params":
            return sum(part.params for part in parts)
        return sum(part.multiply_adds(IMAGE_SIZE) for part in parts)

    added = [total((name,)) - total(()) for name in SPACE.primitives]
    return jnp.asarray(added, jnp.float32) / 1e6


def nsga2_run(
    table: BenchmarkTable,
    config: NSGA2Config,
    queries: int,
    hyperparams: dict,
    key: Key,
) -> TableRun:
    """NSGA-II with the objectives error and cost."""
    del hyperparams
    costs = cost_of_primitives(config.cost)
    dialect = {"skip_equal_neighbours": config.crowding == "nsga_net"}
    upper = jnp.full((NUM_EDGES,), NUM_PRIMITIVES - 1, jnp.int32)
    genes = IntegerGenes(upper, repair=lambda solution: solution)

    def evaluated(cells):
        rows = table.row_of[code_of(cells)]
        cost = jnp.sum(costs[cells], axis=-1)
        return rows, jnp.stack([1.0 - table.valid[rows], cost], axis=-1)

    def generation(carry, key):
        population, objectives = carry
        children = offspring(
            key,
            genes,
            population,
            objectives,
            config.offspring,
            **dialect,
            parents_by=config.parents,
        )
        rows, of_children = evaluated(children)
        everyone = jnp.concatenate([population, children])
        objectives = jnp.concatenate([objectives, of_children])
        chosen = survivors(objectives, config.population, **dialect)
        return (everyone[chosen], objectives[chosen]), rows

    key_start, key_run = jax.random.split(key)
    start = random_population(key_start, genes, config.population)
    first_rows, objectives = evaluated(start)
    generations = -(-max(queries - config.population, 0) // config.offspring)
    keys = jax.random.split(key_run, generations)
    _, rows = lax.scan(generation, (start, objectives), keys)
    rows = jnp.concatenate([first_rows, rows.reshape(-1)])[:queries]
    return TableRun(rows=rows, answer=incumbents(table, rows)[-1])


@flax.struct.dataclass
class Particles:
    """Positions or velocities of a two-level swarm.

    Attributes:
      primitives: level 1, f32[P, E (K - 1)]: a number for each primitive except `none`,
        of which the largest is the edge's.
      edges: level 2, f32[P, E]: bits, or their velocities; an edge whose bit is 0 is
        `none`.
    """

    primitives: Array
    edges: Array


def pso_run(
    table: BenchmarkTable,
    config: SwarmConfig,
    queries: int,
    hyperparams: dict,
    key: Key,
) -> TableRun:
    """A two-level swarm: what the edges compute, and which edges there are."""
    del hyperparams
    constants = SwarmConstants(
        config.inertia, config.own, config.swarm, config.clamp or float("inf")
    )
    key_start, key_run = jax.random.split(key)
    position = _random_particles(key_start, config)
    velocity = Particles(
        jnp.ones_like(position.primitives), jnp.zeros_like(position.edges)
    )

    def iteration(carry, key):
        position, velocity, memory = carry
        rows = table.row_of[code_of(cells_of(position))]
        memory = remember(memory, position, 1.0 - table.valid[rows])
        position, velocity = _moved(key, constants, position, velocity, memory)
        return (position, velocity, memory), rows

    start = position, velocity, empty_memory(position)
    keys = jax.random.split(key_run, -(-queries // config.particles))
    _, rows = lax.scan(iteration, start, keys)
    rows = rows.reshape(-1)[:queries]
    return TableRun(rows=rows, answer=incumbents(table, rows)[-1])


def _random_particles(key: Key, config: SwarmConfig) -> Particles:
    key_primitives, key_edges = jax.random.split(key)
    length = NUM_EDGES * (NUM_PRIMITIVES - 1)
    chosen = jax.random.bernoulli(
        key_edges, config.start_edges, (config.particles, NUM_EDGES)
    )
    return Particles(
        primitives=jax.random.uniform(key_primitives, (config.particles, length)),
        edges=chosen.astype(jnp.float32),
    )


def _moved(
    key: Key,
    constants: SwarmConstants,
    position: Particles,
    velocity: Particles,
    memory: Memory,
) -> tuple[Particles, Particles]:
    """Positions and velocities after one move of both levels."""
    key_pull, key_bits = jax.random.split(key)
    leaves, treedef = jax.tree.flatten(position)
    keys = jax.tree.unflatten(treedef, list(jax.random.split(key_pull, len(leaves))))
    velocity = jax.tree.map(
        lambda k, v, x, own, best: new_velocity(
            constants,
            v,
            x,
            own=own,
            best=best,
            uniform=jax.random.uniform(k, (2, *x.shape)),
        ),
        keys,
        velocity,
        position,
        memory.own,
        memory.best,
    )
    uniform = jax.random.uniform(key_bits, velocity.edges.shape)
    bits = new_bits(velocity.edges, uniform).astype(jnp.float32)
    return Particles(position.primitives + velocity.primitives, bits), velocity


def cells_of(position: Particles) -> Array:
    """Cells i32[P, E] at the positions of a swarm."""
    shape = (*position.edges.shape, NUM_PRIMITIVES - 1)
    others = [index for index in range(NUM_PRIMITIVES) if index != NONE]
    choice = jnp.argmax(position.primitives.reshape(shape), axis=-1)
    primitives = jnp.asarray(others, jnp.int32)[choice]
    return jnp.where(position.edges > 0.5, primitives, NONE)
