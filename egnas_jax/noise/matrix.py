"""Candidates x batches: every candidate priced on every batch, in one program.

Dims: P candidates, M batches, N images of a batch.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.evaluate import STATISTICS, score_population
from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas import EGNASState, first_generation
from egnas_jax.strategies.egnas_config import EGNASConfig
from egnas_jax.strategies.egnas_price import price
from egnas_jax.strategies.random_search import random_child
from egnas_jax.types import Array, Batch, Key, PyTree


class Matrix(NamedTuple):
    """What P candidates score on M batches, under one kind of statistics.

    Attributes:
      cross_entropy: f64[P, M].
      correct: i64[P, M].
      fitness: f64[P, M], least is best: the compound fitness, or the cross entropy
        where candidates are derived cells.
    """

    cross_entropy: np.ndarray
    correct: np.ndarray
    fitness: np.ndarray


def of_individuals(
    net: Supernet,
    config: EGNASConfig,
    state: EGNASState,
    key: Key,
    size: int,
) -> Callable:
    """Prices what EG-NAS's next exploration would begin with, as it would.

    Args:
      net, config, state: of a search.
      key: of the draw.
      size: candidates P.

    Returns:
      (variables, batch, statistics) -> cross entropy, correct, fitness, each [P].
    """
    drawn = dataclasses.replace(config, population=max(size, 2), samples=1)
    z = first_generation(net, drawn, key, state)[0, :size]

    def one(variables: PyTree, batch: Batch, statistics: str):
        # the whole batch is there: how it is split is no matter of `fitness_batches`
        options = dataclasses.replace(
            config, fitness_batches=1, batch_stats=statistics, image_chunk=None
        )
        priced = price(net, variables, state.alpha, z, *batch, options)
        return priced.cross_entropy, priced.correct, priced.fitness

    return one


def of_cells(net: Supernet, key: Key, size: int) -> Callable:
    """Prices derived cells drawn at random by their cross entropy; as above."""
    space = SPACES[net.config.space]
    cells = jax.vmap(lambda k: random_child(k, space))(jax.random.split(key, size))

    def one(variables: PyTree, batch: Batch, statistics: str):
        scores = score_population(
            net, variables, cells, *batch, population_chunk=None, image_chunk=None,
            batch_stats=statistics,
        )  # fmt: skip
        return scores.loss, scores.correct, scores.loss

    return one


def matrices(
    one: Callable, variables: PyTree, images: Array, labels: Array
) -> dict[str, Matrix]:
    """One program a kind of statistics, over all batches.

    Args:
      one: of `of_individuals` or `of_cells`.
      variables: of the supernet.
      images: f32[M, N, H, W, C].
      labels: i32[M, N].

    Returns:
      Statistics ("running", "batch") -> the matrix.
    """

    def on_all(statistics):
        def run(variables, images, labels):
            each = lax.map(
                lambda batch: one(variables, Batch(*batch), statistics),
                (images, labels),
            )
            return jax.tree.map(jnp.transpose, each)

        return jax.jit(run, compiler_options=lowering.compiler_options())

    found = {}
    for statistics in STATISTICS:
        loss, correct, fitness = on_all(statistics)(variables, images, labels)
        found[statistics] = Matrix(
            np.asarray(loss, np.float64), np.asarray(correct, np.int64),
            np.asarray(fitness, np.float64),
        )  # fmt: skip
    return found
