"""Evaluates every candidate on every batch, under one set of weights, in one program.

Dims: P candidates, M batches, N images of a batch, S sets of k batches each.
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
from egnas_jax.strategies.egnas.fitness import compound_fitness
from egnas_jax.strategies.egnas.method import EGNAS, with_eta
from egnas_jax.strategies.egnas.sampling import first_generation
from egnas_jax.strategies.egnas.state import EGNASState
from egnas_jax.strategies.random_search import random_child
from egnas_jax.types import Array, Batch, Key, PyTree


class Candidates(NamedTuple):
    """Candidates and the functions that evaluate them.

    Attributes:
      arrays: what describes the P candidates, first argument of `evaluate`.
      evaluate: (arrays, variables, batch, batch_stats) -> cross entropy f32[P], correct
        i32[P], correct of the supernet's own alpha i32[], similarity to alpha f32[P].
      fitness: these four -> f32[P], lower is better.
    """

    arrays: PyTree
    evaluate: Callable
    fitness: Callable


class Matrix(NamedTuple):
    """Scores of P candidates on M batches, under one kind of batch statistics.

    Attributes:
      cross_entropy: f64[P, M].
      correct: i64[P, M].
      correct_current: correct images of the supernet's own alpha, i64[M]; 0 for cells.
      similarity: similarity to alpha, f64[P]; 0 for cells.
      fitness_fn: `Candidates.fitness`.
    """

    cross_entropy: np.ndarray
    correct: np.ndarray
    correct_current: np.ndarray
    similarity: np.ndarray
    fitness_fn: Callable

    def pooled(self, sets: np.ndarray) -> np.ndarray:
        """One fitness over all images of each set, as for `fitness_batches` > 1.

        Args:
          sets: indices of batches, [S, k].

        Returns:
          f64[S, P].
        """
        correct = self.correct[:, sets].sum(axis=-1)
        current = self.correct_current[sets].sum(axis=-1)
        loss = self.cross_entropy[:, sets].mean(axis=-1)
        fitness = jax.vmap(self.fitness_fn, in_axes=(1, 1, 0, None))
        return np.asarray(fitness(loss, correct, current, self.similarity), np.float64)

    @property
    def fitness(self) -> np.ndarray:
        """Fitness on each batch alone, f64[P, M]."""
        return self.pooled(np.arange(self.correct.shape[1])[:, None]).T

    def select(self, mask: np.ndarray) -> "Matrix":
        """The matrix of the candidates in a mask, bool[P]."""
        return self._replace(
            cross_entropy=self.cross_entropy[mask],
            correct=self.correct[mask],
            similarity=self.similarity[mask],
        )


def draw_individuals(
    net: Supernet, config: EGNASConfig, state: EGNASState, key: Key, size: int
) -> Candidates:
    """The population with which EG-NAS's next exploration would begin.

    Args:
      net, config, state: supernet, options and strategy state of a search.
      key: key of the draw.
      size: number of candidates P.
    """
    # EGNASConfig allows no population of one
    one_batch = config.on_one_batch()
    drawn = dataclasses.replace(one_batch, population=max(size, 2), samples=1)
    method = EGNAS(SPACES[net.config.space], drawn, drawn.hyperparams)
    first = jax.tree.map(lambda leaf: leaf[:1], state.evolutions)
    z = first_generation(method, key, state.replace(evolutions=first))[0, :size]
    eta = with_eta(method, state).hyperparams.eta

    def evaluate(arrays: PyTree, variables: PyTree, batch: Batch, batch_stats: str):
        alpha, z = arrays
        # Every batch is evaluated alone, so it is not split into fitness batches.
        options = dataclasses.replace(
            one_batch, batch_stats=batch_stats, image_chunk=None
        )
        evaluated = evaluate_fitness(
            net, variables, alpha, z, batch.images, batch.labels, options
        )
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
            eta=eta,
            sign=config.sign,
        )

    return Candidates((state.alpha, z), evaluate, fitness)


def draw_cells(net: Supernet, key: Key, size: int) -> Candidates:
    """Random derived cells, whose fitness is their cross entropy."""
    space = SPACES[net.config.space]
    cells = jax.vmap(lambda k: random_child(k, space))(jax.random.split(key, size))

    def evaluate(arrays: PyTree, variables: PyTree, batch: Batch, batch_stats: str):
        scores = score_population(
            net,
            variables,
            arrays,
            batch.images,
            batch.labels,
            population_chunk=None,
            image_chunk=None,
            batch_stats=batch_stats,
        )
        no_similarity = jnp.zeros_like(scores.loss)
        return scores.loss, scores.correct, jnp.zeros((), jnp.int32), no_similarity

    return Candidates(cells, evaluate, lambda loss, correct, current, similarity: loss)


def over_batches(evaluate: Callable, shape: tuple[int, int]) -> Callable:
    """A program that maps an evaluation over many batches.

    Args:
      evaluate: (*arguments, batch) -> arrays.
      shape: H, W of the images.

    Returns:
      (*arguments, images f32[M, N, H, W, C], labels i32[M, N]) -> the same arrays with
      a leading axis M; compiled at its first call.
    """

    def run(*arguments):
        *arguments, images, labels = arguments
        return lax.map(
            lambda batch: evaluate(*arguments, Batch(*batch)), (images, labels)
        )

    return jax.jit(run, compiler_options=lowering.compiler_options(shape))


def evaluate_matrices(
    candidates: Candidates, variables: PyTree, images: Array, labels: Array
) -> dict[str, Matrix]:
    """Evaluates candidates on all batches, one program for each kind of statistics.

    Args:
      candidates: result of `draw_individuals` or `draw_cells`.
      variables: weights and batch_stats of the supernet.
      images: f32[M, N, H, W, C].
      labels: i32[M, N].

    Returns:
      Batch statistics ("running", "batch") -> matrix.
    """
    matrices = {}
    for kind in STATISTICS:
        run = over_batches(
            functools.partial(candidates.evaluate, batch_stats=kind), images.shape[2:4]
        )
        loss, correct, current, similarity = map(
            np.asarray, run(candidates.arrays, variables, images, labels)
        )
        # Sums take numpy's wide types, which a device may lack.
        matrices[kind] = Matrix(
            cross_entropy=loss.T.astype(np.float64),
            correct=correct.T.astype(np.int64),
            correct_current=current.astype(np.int64),
            similarity=similarity[0].astype(np.float64),  # the same for every batch
            fitness_fn=candidates.fitness,
        )
    return matrices
