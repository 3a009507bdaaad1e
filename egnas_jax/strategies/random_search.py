"""Random search: the control of every comparison.

The weights train under a fresh random child at every step; once an epoch the best
child so far is evaluated again beside new ones, on the same images.

Source: Li & Talwalkar (UAI 2019) for random search with shared weights.

Dims: E edges, K primitives, P candidates.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.evaluate import STATISTICS, check_options, score_population
from egnas_jax.search.strategy import Strategy
from egnas_jax.space import SPACES, Space
from egnas_jax.strategies.population_statistics import spread
from egnas_jax.types import Key, Mixing


@dataclasses.dataclass(frozen=True)
class RandomSearchConfig:
    """Attributes:
    candidates: children evaluated an epoch (450: as many as EG-NAS's `paper` prices).
    fitness_batch_size: images they are evaluated on.
    batch_stats: batch norm while pricing: "batch" or "running".
    population_chunk, image_chunk: children and images at a time; None: as
      `search.evaluate.default_chunks` has it.

    Raises:
      ValueError: a number out of its range or unknown statistics.
    """

    candidates: int = 450
    fitness_batch_size: int = 128
    batch_stats: str = "batch"
    population_chunk: int | None = None
    image_chunk: int | None = None

    def __post_init__(self):
        for name in ("candidates", "fitness_batch_size"):
            if not 1 <= getattr(self, name) <= 10**6:
                raise ValueError(
                    f"strategy.{name} is {getattr(self, name)}, but must "
                    f"be from 1 to {10**6}."
                )
        if self.batch_stats not in STATISTICS:
            raise ValueError(
                f"strategy.batch_stats is {self.batch_stats!r}, but must "
                f"be one of {', '.join(STATISTICS)}."
            )
        check_options(self.batch_stats, self.population_chunk, self.image_chunk)

    @property
    def individuals(self) -> int:
        """Mixings that are evaluated together: the new children and the best one."""
        return self.candidates + 1


class RandomSearchState(NamedTuple):
    """Attributes:
    best: the best child so far.
    """

    best: Mixing


def random_child(key: Key, space: Space) -> Mixing:
    """A derived cell as a mixing: one primitive an edge, two edges a node.

    In a topology space every cell is as likely as any other: all edges count, and
    `none` is a primitive like the others.
    """
    primitives, edges = {}, {}
    for kind, own in zip(
        space.kinds, jax.random.split(key, len(space.kinds)), strict=True
    ):
        key_primitive, *keys = jax.random.split(own, 1 + space.num_nodes)
        scores = jax.random.uniform(
            key_primitive, (space.num_edges, len(space.primitives))
        )
        whole = space.family == "topology"
        # elsewhere `none` is no choice: derivation never takes it
        allowed = [[whole or name != "none" for name in space.primitives]]
        choice = jnp.argmax(jnp.where(jnp.asarray(allowed), scores, -1.0), axis=-1)
        primitives[kind] = jax.nn.one_hot(choice, len(space.primitives))
        if whole:
            edges[kind] = jnp.ones(space.num_edges)
            continue
        parts = []
        for node, key_node in enumerate(keys):
            order = jax.random.permutation(key_node, space.num_inputs + node)
            parts.append((order < 2).astype(jnp.float32))
        edges[kind] = jnp.concatenate(parts)
    return Mixing(primitives, edges)


def random_search(net: Supernet, config: RandomSearchConfig) -> Strategy:
    """Random search as a strategy of the search loop."""
    space = SPACES[net.config.space]

    def init(key):
        return RandomSearchState(random_child(key, space))

    def mixing(key, state):
        del state  # weights train under any child
        return random_child(key, space)

    def update(key, state, variables, train_batch, valid_batch):
        del train_batch
        keys = jax.random.split(key, config.candidates)
        new = jax.vmap(lambda k: random_child(k, space))(keys)
        candidates = jax.tree.map(
            lambda old, others: jnp.concatenate([old[None], others]), state.best, new
        )
        scores = score_population(
            net,
            variables,
            candidates,
            *valid_batch,
            population_chunk=config.population_chunk,
            image_chunk=config.image_chunk,
            batch_stats=config.batch_stats,
        )
        winner = jnp.argmin(jnp.where(jnp.isnan(scores.loss), jnp.inf, scores.loss))
        best = jax.tree.map(lambda leaf: leaf[winner], candidates)
        info = {
            "fitness": scores.loss[winner],
            "fitness_accuracy": scores.accuracy[winner],
            "candidate_images": jnp.float32(len(scores.loss) * len(valid_batch.labels)),
            **spread(fitness=scores.loss, accuracy=scores.accuracy),
        }
        return RandomSearchState(best), info

    def incumbent(state):
        return state.best

    size = config.fitness_batch_size
    return Strategy("epoch", init, mixing, update, incumbent, size)
