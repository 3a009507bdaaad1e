"""Candidates x batches: every candidate priced on every batch, in one program.

Dims: P candidates, M batches, N images of a batch.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import lax

from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.evaluate import STATISTICS, score_population
from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas_config import EGNASConfig
from egnas_jax.strategies.egnas_explore import EGNASState, first_generation
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
    z = first_generation(SPACES[net.config.space], drawn, key, state)[0, :size]

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


def over_batches(one: Callable) -> Callable:
    """A program that prices on every batch what `one` prices on one.

    Args:
      one: (variables, batch) -> arrays.

    Returns:
      (variables, images f32[M, N, H, W, C], labels i32[M, N]) -> the same with a
      leading axis M, compiled at its first call.
    """

    def run(variables, images, labels):
        return lax.map(lambda batch: one(variables, Batch(*batch)), (images, labels))

    return jax.jit(run, compiler_options=lowering.compiler_options())


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
    found = {}
    for statistics in STATISTICS:
        run = over_batches(functools.partial(one, statistics=statistics))
        # [M, P] on the device, whose narrow types are no good for sums
        loss, correct, fitness = (
            np.asarray(part).T for part in run(variables, images, labels)
        )
        found[statistics] = Matrix(
            loss.astype(np.float64),
            correct.astype(np.int64),
            fitness.astype(np.float64),
        )
    return found
