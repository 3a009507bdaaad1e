"""Implements random search, the control of every comparison.

The weights train under a fresh random child at every step. Once an epoch the best
child so far is evaluated again beside new ones, on the same images.

Source: Li & Talwalkar (UAI 2019) for random search with shared weights.

Dims: E edges, K primitives.
"""

import dataclasses
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp

from egnas_jax.evolution.shaping import best
from egnas_jax.idle import check_idle
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.evaluate import STATISTICS, check_options
from egnas_jax.search.strategy import Strategy, Trainee
from egnas_jax.settings import check_choices, check_ranges
from egnas_jax.space import SPACES, Space
from egnas_jax.space.mixing_arrays import derivable_mask
from egnas_jax.strategies.limits.config import Limit
from egnas_jax.strategies.limits.costs import (
    limit_metrics,
    limited_fitness,
    make_excess,
    quantiles_within,
    without_over,
)
from egnas_jax.strategies.limits.derivation import with_limit
from egnas_jax.strategies.population_statistics import quantiles, unknown_quantiles
from egnas_jax.strategies.proxy_fitness import (
    IDLE,
    check_fitness,
    check_proxy_space,
    images_of_cell,
    make_cell_evaluate,
    proxy_of,
)
from egnas_jax.types import Array, Batch, Key, Mixing


@dataclasses.dataclass(frozen=True)
class RandomSearchConfig:
    """The settings of random search.

    Attributes:
      fitness: minimised: the "loss", or "proxy:NAME", the negative score of an
        untrained network by a zero-cost proxy; then no epoch has weight steps.
      candidates: children evaluated in an epoch (450: as many as EG-NAS's `paper`).
      fitness_batch_size: images they are evaluated on.
      batch_stats: batch norm in these evaluations: "batch" or "running".
      population_chunk, image_chunk: children and images evaluated at a time; None: as
        `search.evaluate.default_chunks` chooses, or `default_population_chunk` for
        a proxy.
      limit: that the children keep; those over it rank last.

    Raises:
      ValueError: a number out of its range, unknown statistics, or a proxy that so
        few images do not serve, or with which an option has no effect.
    """

    fitness: str = "loss"
    candidates: int = 450
    fitness_batch_size: int = 128
    batch_stats: str = "batch"
    population_chunk: int | None = None
    image_chunk: int | None = None
    limit: Limit = Limit()

    warmup: ClassVar[int] = 0
    idle: ClassVar = IDLE

    def __post_init__(self):
        ranges = {"candidates": (1, 10**6), "fitness_batch_size": (1, 10**6)}
        check_ranges(self, ranges, "strategy.")
        check_choices(self, {"batch_stats": STATISTICS}, "strategy.")
        check_fitness(self.fitness, ("loss",), self.valid_batch_size)
        check_idle(self, "strategy.")
        chunks = self.population_chunk, self.image_chunk
        check_options(self.batch_stats, *chunks, "strategy.")

    @property
    def valid_batch_size(self) -> int:
        """Validation images of one update."""
        return self.fitness_batch_size

    @property
    def individuals(self) -> int:
        """Mixings that are evaluated together: the new children and the best one."""
        return self.candidates + 1


@flax.struct.dataclass
class RandomSearchState:
    """What random search carries.

    Attributes:
      best: the best child so far.
    """

    best: Mixing


def random_search(net: Supernet, config: RandomSearchConfig) -> Strategy:
    """Makes random search a strategy of the search loop."""
    space = SPACES[net.config.space]
    excess = make_excess(space, net.config.num_classes, config.limit)
    check_proxy_space(config.fitness, net)

    def init(key: Key, hyperparams: tuple) -> RandomSearchState:
        del hyperparams  # there are none
        return RandomSearchState(random_child(key, space))

    def mixing(key: Key, state: RandomSearchState) -> Mixing:
        del state  # the weights train under any child
        return random_child(key, space)

    def update(
        key: Key,
        state: RandomSearchState,
        hyperparams: tuple,
        trainee: Trainee,
        *,
        train_batch: Batch,
        valid_batch: Batch,
    ) -> tuple[RandomSearchState, dict[str, Array]]:
        del hyperparams, train_batch
        keys = jax.random.split(key, config.candidates)
        children = jax.vmap(lambda k: random_child(k, space))(keys)
        candidates = jax.tree.map(
            lambda old, new: jnp.concatenate([old[None], new]), state.best, children
        )
        arguments = net, config, trainee.variables, valid_batch, key
        scores = make_cell_evaluate(*arguments)(candidates)
        fitness = limited_fitness(scores.loss, candidates, excess)
        winner = best(fitness)
        child = jax.tree.map(lambda leaf: leaf[winner], candidates)
        info = {
            "fitness": without_over(fitness[winner], config.limit),
            "fitness_accuracy": scores.accuracy[winner],
            "candidate_images": jnp.float32(
                len(scores.loss)
                * images_of_cell(config.fitness, len(valid_batch.labels))
            ),
            **quantiles_within(fitness, config.limit),
            **(
                quantiles(accuracy=scores.accuracy)
                if proxy_of(config.fitness) is None
                else unknown_quantiles("accuracy")
            ),
            **limit_metrics(fitness, config.limit),
        }
        return RandomSearchState(child), info

    def incumbent(state: RandomSearchState) -> Mixing:
        return state.best

    strategy = Strategy(
        update_every="epoch",
        init=init,
        mixing=mixing,
        update=update,
        incumbent=incumbent,
        hyperparams=(),
        one_hot=True,
        trains_weights=proxy_of(config.fitness) is None,
    )
    return with_limit(strategy, net, config.limit)


def random_child(key: Key, space: Space) -> Mixing:
    """Draws a derived cell as a mixing: one primitive an edge, two edges a node.

    Where the derivation keeps all edges, every cell is as likely as any other: all
    edges count, and `none` is a primitive like the others.

    Args:
      key: consumed.
      space: of the cells.
    """
    primitives, edges = {}, {}
    keys = jax.random.split(key, len(space.kinds))
    for kind, key_kind in zip(space.kinds, keys, strict=True):
        key_primitive, *key_nodes = jax.random.split(key_kind, 1 + space.num_nodes)
        primitives[kind] = _random_primitives(key_primitive, space, kind)
        if space.keeps_two_edges:
            edges[kind] = _two_edges_a_node(key_nodes, space)
        else:
            edges[kind] = jnp.ones(space.num_edges)
    return Mixing(primitives, edges)


def _random_primitives(key: Key, space: Space, kind: str) -> Array:
    """One-hot rows f32[E, K] of primitives that a derived cell may have."""
    scores = jax.random.uniform(key, (space.num_edges, len(space.primitives)))
    allowed = jnp.asarray(derivable_mask(space, kind))
    choice = jnp.argmax(jnp.where(allowed, scores, -1.0), axis=-1)
    return jax.nn.one_hot(choice, len(space.primitives))


def _two_edges_a_node(keys: list[Key], space: Space) -> Array:
    """Ones at two random edges into each node, f32[E]; a key for each node."""
    parts = []
    for node, key in enumerate(keys):
        order = jax.random.permutation(
            key, len(space.in_edges(space.num_inputs + node))
        )
        parts.append((order < 2).astype(jnp.float32))
    return jnp.concatenate(parts)
