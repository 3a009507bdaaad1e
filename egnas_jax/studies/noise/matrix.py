"""Candidates x batches: every candidate evaluated on every batch, in one program.

Dims: P candidates, M batches, N images of a batch.
"""

import dataclasses
import functools
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
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.evaluation import evaluate_fitness
from egnas_jax.strategies.egnas.explore import EGNASState, first_generation
from egnas_jax.strategies.egnas.fitness import compound_fitness
from egnas_jax.strategies.random_search import random_child
from egnas_jax.types import Array, Batch, Key, PyTree


class Candidates(NamedTuple):
    """What is evaluated, and how a price becomes a fitness.

    Attributes:
      who: they themselves, arrays.
      price: (who, variables, batch, statistics) -> cross entropy f32[P], correct
        i32[P], correct of the supernet's own alpha i32[], similarity to it f32[P].
      fitness: of these four -> f32[P], least is best.
    """

    who: PyTree
    price: Callable
    fitness: Callable


class Matrix(NamedTuple):
    """What P candidates score on M batches, under one kind of statistics.

    Attributes:
      cross_entropy: f64[P, M].
      correct: i64[P, M].
      correct_current: of the supernet's own alpha, i64[M]; 0 for derived cells.
      similarity: to that alpha, f64[P]; 0 for derived cells.
      measure: `Candidates.fitness`.
    """

    cross_entropy: np.ndarray
    correct: np.ndarray
    correct_current: np.ndarray
    similarity: np.ndarray
    measure: Callable

    def pooled(self, sets: np.ndarray) -> np.ndarray:
        """One fitness over all images of each set of batches, as `fitness_batches` of a
        search has it: sets, whole numbers [S, k] -> f64[S, P]."""
        correct, current = (
            part[..., sets].sum(axis=-1)
            for part in (self.correct, self.correct_current)
        )
        loss = self.cross_entropy[:, sets].mean(axis=-1)
        measure = jax.vmap(self.measure, in_axes=(1, 1, 0, None))
        return np.asarray(measure(loss, correct, current, self.similarity), np.float64)

    @property
    def fitness(self) -> np.ndarray:
        """On each batch alone, f64[P, M]."""
        return self.pooled(np.arange(self.correct.shape[1])[:, None]).T

    def of(self, candidates: np.ndarray) -> "Matrix":
        """That of some candidates, bool[P]."""
        return self._replace(
            cross_entropy=self.cross_entropy[candidates],
            correct=self.correct[candidates],
            similarity=self.similarity[candidates],
        )


def of_individuals(
    net: Supernet,
    config: EGNASConfig,
    state: EGNASState,
    key: Key,
    size: int,
) -> Candidates:
    """What EG-NAS's next exploration would begin with, evaluated as it would.

    Args:
      net, config, state: of a search.
      key: of the draw.
      size: candidates P.
    """
    drawn = dataclasses.replace(config, population=max(size, 2), samples=1)
    z = first_generation(SPACES[net.config.space], drawn, key, state)[0, :size]

    def one(who: PyTree, variables: PyTree, batch: Batch, statistics: str):
        alpha, z = who
        # the whole batch is there: how it is split is no matter of `fitness_batches`
        options = dataclasses.replace(
            config, fitness_batches=1, batch_stats=statistics, image_chunk=None
        )
        evaluated = evaluate_fitness(net, variables, alpha, z, *batch, options)
        return (
            evaluated.cross_entropy,
            evaluated.correct,
            evaluated.correct_current,
            evaluated.similarity,
        )

    def fitness(loss, correct, current, similarity):
        return compound_fitness(
            loss,
            correct,
            similarity,
            correct_current=current,
            zeta=config.zeta,
            eta=config.eta,
            sign=config.sign,
        )

    return Candidates((state.alpha, z), one, fitness)


def of_cells(net: Supernet, key: Key, size: int) -> Candidates:
    """Derived cells drawn at random, whose fitness is their cross entropy."""
    space = SPACES[net.config.space]
    cells = jax.vmap(lambda k: random_child(k, space))(jax.random.split(key, size))

    def one(who: PyTree, variables: PyTree, batch: Batch, statistics: str):
        scores = score_population(
            net,
            variables,
            who,
            *batch,
            population_chunk=None,
            image_chunk=None,
            batch_stats=statistics,
        )
        nothing = jnp.zeros_like(scores.loss)
        return scores.loss, scores.correct, jnp.zeros((), jnp.int32), nothing

    return Candidates(cells, one, lambda loss, correct, current, similarity: loss)


def over_batches(one: Callable) -> Callable:
    """A program that prices on every batch what `one` prices on one.

    Args:
      one: (*given, batch) -> arrays.

    Returns:
      (*given, images f32[M, N, H, W, C], labels i32[M, N]) -> the same with a leading
      axis M, compiled at its first call.
    """

    def run(*given):
        *given, images, labels = given
        return lax.map(lambda batch: one(*given, Batch(*batch)), (images, labels))

    return jax.jit(run, compiler_options=lowering.compiler_options())


def matrices(
    candidates: Candidates, variables: PyTree, images: Array, labels: Array
) -> dict[str, Matrix]:
    """One program a kind of statistics, over all batches.

    Args:
      candidates: of `of_individuals` or `of_cells`.
      variables: of the supernet.
      images: f32[M, N, H, W, C].
      labels: i32[M, N].

    Returns:
      Statistics ("running", "batch") -> the matrix.
    """
    found = {}
    for statistics in STATISTICS:
        run = over_batches(functools.partial(candidates.price, statistics=statistics))
        loss, correct, current, similarity = map(
            np.asarray, run(candidates.who, variables, images, labels)
        )
        # off the device, whose narrow types are no good for sums
        found[statistics] = Matrix(
            loss.T.astype(np.float64),
            correct.T.astype(np.int64),
            current.astype(np.int64),
            similarity[0].astype(np.float64),  # it does not depend on the batch
            candidates.fitness,
        )
    return found
