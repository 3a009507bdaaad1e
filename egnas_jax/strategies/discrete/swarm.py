"""Implements a two-level particle swarm under shared weights, in the style of EPCNAS.

Level 1 has a number for each primitive of each edge, of which the largest is the edge's
primitive. Level 2 has a bit for each edge, repaired to two edges a node. Both levels
move in every generation. Where a derivation keeps all edges, level 2 is left out.

Source: EPCNAS (Huang et al.), whose space and training of each particle are others; see
docs/methods.md.

Dims: P particles, G kinds of cells, M nodes, E edges, A primitives that are allowed.
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.evolution.swarm import (
    Memory,
    SwarmConstants,
    empty_memory,
    new_bits,
    new_position,
    new_velocity,
    remember,
)
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.strategy import Strategy
from egnas_jax.settings import LARGEST_FLOAT, check_choices, check_ranges
from egnas_jax.space import SPACES, Space
from egnas_jax.strategies.discrete.cells import SLOTS, Cells, cells_of, edge_index
from egnas_jax.strategies.discrete.config import BlackBoxConfig
from egnas_jax.strategies.discrete.cost import make_cost
from egnas_jax.strategies.discrete.generations import Proposer
from egnas_jax.strategies.discrete.search import black_box
from egnas_jax.strategies.limits.costs import mean_within
from egnas_jax.types import Array, Key

TIES = ("first", "fewer_params")
POSITIONS = ("real", "whole")


@dataclasses.dataclass(frozen=True)
class EPCNASConfig(BlackBoxConfig):
    """The settings of the swarm.

    Attributes:
      particles: P.
      inertia, own, swarm: share of the old velocity that stays, and the pulls of a
        particle's own best position and of the swarm's.
      clamp: largest absolute velocity; 0, as published, for none.
      tie: which of two positions of equal fitness is a particle's own best and the
        swarm's: the "first", as published, or that of "fewer_params".
      positions: of level 1: "real" numbers, or "whole" ones, truncated toward zero as
        published, where the numbers of a layer are its choices and not weights.

    Raises:
      ValueError: a number out of its range, or an unknown choice.
    """

    generations: int = 280
    particles: int = 20
    inertia: float = 0.7298
    own: float = 1.49618
    swarm: float = 1.49618
    clamp: float = 0.0
    tie: str = "first"
    positions: str = "real"

    def __post_init__(self):
        super().__post_init__()
        ranges = {name: (0.0, LARGEST_FLOAT) for name in ("inertia", "own", "swarm")}
        ranges |= {"clamp": (0.0, LARGEST_FLOAT), "particles": (2, 10**4)}
        check_ranges(self, ranges, "strategy.")
        choices = {"tie": TIES, "positions": POSITIONS}
        check_choices(self, choices, "strategy.")
        self.check_finalists(self.particles * (self.generations + 1))

    @property
    def individuals(self) -> int:
        """Cells that are evaluated together, at most."""
        return max(self.particles, self.finalists)


@flax.struct.dataclass
class Particles:
    """Positions or velocities.

    Attributes:
      primitives: level 1, f32[P, G E A].
      edges: level 2, f32[P, G E]: bits, or their velocities.
    """

    primitives: Array
    edges: Array


@flax.struct.dataclass
class SwarmState:
    """The swarm.

    Attributes:
      position, velocity: of the particles. Bits are repaired where a cell is built, and
        stay as they are in the position.
      memory: best positions so far, with the velocities of bits that had led there,
        which the repair needs.
    """

    position: Particles
    velocity: Particles
    memory: Memory


def epcnas_pso(net: Supernet, config: EPCNASConfig) -> Strategy:
    """Makes the swarm a strategy of the search loop."""
    space = SPACES[net.config.space]
    cells = cells_of(space)
    constants = SwarmConstants(
        inertia=config.inertia,
        own=config.own,
        swarm=config.swarm,
        clamp=config.clamp or float("inf"),
        whole=config.positions == "whole",
    )
    num_allowed = cells.allowed.shape[-1]
    build = jax.vmap(lambda *levels: cell_at(space, cells, *levels))

    def costs(candidates: Array) -> Array | None:
        if config.tie == "first":
            return None
        cost, _ = make_cost(space, net.config.num_classes, "params")
        return jax.vmap(cost)(candidates)

    def to_cells(pair: tuple[Particles, Array]) -> Array:
        position, bit_velocity = pair
        return build(position.primitives, position.edges, bit_velocity)

    def init(key: Key) -> SwarmState:
        position = random_particles(key, space, num_allowed, config.particles)
        velocity = Particles(
            jnp.ones_like(position.primitives), jnp.zeros_like(position.edges)
        )
        start = position, velocity.edges
        return SwarmState(position, velocity, empty_memory(start))

    def revalue(state: SwarmState, fitness: Array) -> SwarmState:
        # Own best positions keep their place with the fitness under these weights.
        own = state.memory.own
        memory = remember(empty_memory(own), own, fitness, costs(to_cells(own)))
        return state.replace(memory=memory)

    def ask(key: Key, state: SwarmState) -> tuple[SwarmState, Array]:
        position, velocity = next_positions(key, constants, state)
        return (
            state.replace(position=position, velocity=velocity),
            to_cells((position, velocity.edges)),
        )

    def tell(state: SwarmState, proposed: Array, fitness: Array) -> SwarmState:
        current = state.position, state.velocity.edges
        memory = remember(state.memory, current, fitness, costs(proposed))
        return state.replace(memory=memory)

    def metrics(state: SwarmState) -> dict[str, Array]:
        speed = jnp.mean(jnp.abs(state.velocity.primitives))
        return {
            "swarm_speed": speed,
            "swarm_fitness": mean_within(state.memory.own_fitness, config.limit),
        }

    proposer = Proposer(
        init=init,
        members=lambda state: to_cells(state.memory.own),
        revalue=revalue,
        ask=ask,
        tell=tell,
        metrics=metrics,
    )
    return black_box(net, config, cells, proposer)


def random_particles(
    key: Key, space: Space, num_allowed: int, number: int
) -> Particles:
    """Uniform positions: numbers in [0, 1), and bits."""
    key_primitives, key_edges = jax.random.split(key)
    num_edges = len(space.kinds) * space.num_edges
    shape = number, num_edges * num_allowed
    bits = jax.random.bernoulli(key_edges, shape=(number, num_edges))
    return Particles(
        jax.random.uniform(key_primitives, shape), bits.astype(jnp.float32)
    )


def next_positions(
    key: Key, constants: SwarmConstants, state: SwarmState
) -> tuple[Particles, Particles]:
    """Positions and velocities after one move of both levels."""
    key_first, key_second, key_bits = jax.random.split(key, 3)
    (own, _), (best, _) = state.memory.own, state.memory.best

    def pulled(key: Key, level: str) -> Array:
        position = getattr(state.position, level)
        return new_velocity(
            constants,
            getattr(state.velocity, level),
            position,
            own=getattr(own, level),
            best=getattr(best, level),
            uniform=jax.random.uniform(key, (2, *position.shape)),
        )

    velocity = Particles(pulled(key_first, "primitives"), pulled(key_second, "edges"))
    uniform = jax.random.uniform(key_bits, velocity.edges.shape)
    bits = new_bits(velocity.edges, uniform).astype(jnp.float32)
    primitives = new_position(constants, state.position.primitives, velocity.primitives)
    return Particles(primitives, bits), velocity


def cell_at(
    space: Space, cells: Cells, numbers: Array, bits: Array, velocity: Array
) -> Array:
    """The cell at one particle's position.

    Args:
      space: of the cell.
      cells: of the space, `cells_of`.
      numbers: level 1, f32[G E A].
      bits, velocity: level 2, f32[G E]. Where a node has more than two bits, the two
        with the largest velocities stay, the lower edge first; where it has fewer, the
        others with the largest velocities fill it up.
    """
    shape = len(space.kinds), space.num_edges
    numbers = numbers.reshape(*shape, cells.allowed.shape[-1])
    exists = np.arange(numbers.shape[-1]) < cells.counts[..., None]
    numbers = jnp.where(exists, numbers, -jnp.inf)
    choice = jnp.argmax(numbers, axis=-1).astype(jnp.int32)
    if not space.keeps_two_edges:
        return choice.reshape(-1)
    set_first = bits + jax.nn.sigmoid(velocity)  # bits first, then velocities
    strength = set_first.reshape(shape)
    index, nodes = edge_index(space), []
    for node in range(space.num_nodes):
        edges = index[node, : len(space.in_edges(space.num_inputs + node))]
        order = jnp.argsort(-strength[:, edges], axis=1, stable=True)[:, :SLOTS]
        primitives = jnp.take_along_axis(choice[:, edges], order, axis=1)
        nodes.append(jnp.stack([order.astype(jnp.int32), primitives], axis=-1))
    return jnp.stack(nodes, axis=1)
