"""Evaluates a population of EG-NAS: its fitness and its winner.

Source: EG-NAS (Cai et al., AAAI 2024), formula (3) and Algorithm 1; `explore` and `CFF`
of the official code.

Dims: P population, N images, H, W sides, C channels of an image, E edges, K primitives,
D = kinds E K, b fitness batches of one call.
"""

from collections.abc import Callable
from typing import Protocol

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int

from egnas_jax.data.labels import checked_batch
from egnas_jax.evolution.shaping import best
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.evaluate import score_batch
from egnas_jax.search.relax import unflatten
from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.fitness import compound_fitness
from egnas_jax.strategies.egnas.individuals import (
    derived_cells,
    mixings_beside_alpha,
    similarities,
)
from egnas_jax.strategies.egnas.method import EGNAS
from egnas_jax.strategies.limits.costs import limited_fitness, make_excess
from egnas_jax.types import Array, Batch, Evaluation, Mixing, PyTree

# Evaluates mixings [P]: a supernet under its weights, or a table of results.
Evaluate = Callable[[Mixing], Evaluation]
ALL = slice(None)  # every fitness batch


class EvaluateEach(Protocol):
    """Evaluates mixings on each of some fitness batches."""

    def __call__(self, mixings: Mixing, batches: slice = ALL) -> Evaluation:
        """Scores of mixings [P] on the batches of a slice, leaves [b, P]."""


@flax.struct.dataclass
class RaceOfPopulation:
    """What a race adds to an evaluated population.

    Attributes:
      rank: of each individual, 0 best, i32[P]; those that dropped out rank last.
      batches: fitness batches on which each was evaluated, i32[P].
      evaluations: of mixings, counted once for each batch, alpha included, i32[].
      rounds: that were run, i32[].
    """

    rank: Int[Array, " P"]
    batches: Int[Array, " P"]
    evaluations: Int[Array, ""]
    rounds: Int[Array, ""]


@flax.struct.dataclass
class EvaluatedPopulation:
    """One population with its fitness.

    Attributes:
      cross_entropy: L1, f32[P].
      correct: correctly classified images, i32[P].
      correct_current: of alpha itself, i32[].
      similarity: L2, f32[P].
      fitness: f32[P], lower is better.
      winner: index of the best individual, i32[].
      race: of individuals that raced for batches; the others have it None. Then the
        metrics of each individual are those of the batches on which it was evaluated,
        and `correct_current` is of all batches of the race.
    """

    cross_entropy: Float[Array, " P"]
    correct: Int[Array, " P"]
    correct_current: Int[Array, ""]
    similarity: Float[Array, " P"]
    fitness: Float[Array, " P"]
    winner: Int[Array, ""]
    race: RaceOfPopulation | None = None

    @property
    def ranking(self) -> Float[Array, " P"]:
        """What an evolution strategy is told, lower is better, f32[P].

        After a race that is the rank, since a fitness on few batches does not compare
        with one on many; NaN and infinity stay.
        """
        if self.race is None:
            return self.fitness
        rank = self.race.rank.astype(jnp.float32)
        return jnp.where(self.fitness < jnp.inf, rank, self.fitness)


def evaluate_fitness(  # noqa: PLR0917 (a public function of long standing)
    net: Supernet,
    variables: PyTree,
    alpha: dict[str, Float[Array, "E K"]],
    z: Float[Array, "P D"],
    images: Float[Array, "N H W C"],
    labels: Int[Array, " N"],
    options: EGNASConfig,
) -> EvaluatedPopulation:
    """Computes the fitness of given individuals, and which one wins.

    Args:
      net, variables: the supernet and its weights.
      alpha: cell kind -> [E, K].
      z: individuals, f32[P, D].
      images: f32[N, H, W, C], normalised; one fitness batch (or `fitness_batches` of
        them).
      labels: i32[N], from 0; a column [N, 1] is flattened.
      options: how mixing, similarity, fitness and ties are computed. `eta` counts as it
        is, whatever `eta_schedule`, since no updates have been counted.

    Raises:
      ValueError: another number of labels than images; a label that is not traced
        is outside 0 to num_classes - 1; individuals of another shape; images of whole
        numbers, or that are not divided into the fitness batches; `options` have
        individuals race, or a proxy.
    """
    if options.races:
        raise ValueError(
            "evaluate_fitness evaluates all individuals on all images, and the options "
            "have fitness_batches 'auto'. Give options.on_one_batch()."
        )
    if options.proxy is not None:
        raise ValueError(
            f"evaluate_fitness evaluates individuals under the weights that it is "
            f"given, and the options have fitness {options.fitness!r}. Leave it out, "
            f"or score cells by eg.proxies.score."
        )
    space = SPACES[net.config.space]
    if z.ndim != 2 or z.shape[1] != space.dim:
        raise ValueError(
            f"z has shape {z.shape}, but must be [P, {space.dim}]; of one individual "
            f"pass z[None]."
        )
    if len(images) % options.num_batches:
        raise ValueError(
            f"{len(images)} images cannot be divided into {options.num_batches} "
            f"fitness batches: give a multiple of {options.num_batches}."
        )
    excess = make_excess(space, net.config.num_classes, options.limit)
    method = EGNAS(space, options, options.hyperparams, excess)
    evaluate = make_evaluate(net, variables, Batch(images, labels), options)
    return evaluate_individuals(method, evaluate, alpha, z)


def make_evaluate(
    net: Supernet, variables: PyTree, batch: Batch, options: EGNASConfig
) -> Evaluate:
    """Returns a function that evaluates mixings by a supernet on a fitness batch.

    Of several fitness batches each has batch statistics of its own; losses are
    averaged and counts added.

    Raises:
      ValueError: a label that is not traced is outside 0 to num_classes - 1.
    """
    evaluate_each = make_evaluate_each(net, variables, batch, options)

    def evaluate(mixings: Mixing) -> Evaluation:
        scores = evaluate_each(mixings)
        correct = jnp.sum(scores.correct, axis=0)
        return Evaluation(
            loss=jnp.mean(scores.loss, axis=0),
            correct=correct,
            accuracy=correct / len(batch.labels),
        )

    return evaluate


def make_evaluate_each(
    net: Supernet, variables: PyTree, batch: Batch, options: EGNASConfig
) -> EvaluateEach:
    """Returns a function that evaluates mixings on each of some fitness batches.

    Args:
      net, variables: the supernet and its weights.
      batch: the images of all fitness batches, one batch after the other.
      options: their number, and how they are evaluated.

    Raises:
      ValueError: a label that is not traced is outside 0 to num_classes - 1.
    """
    batch = checked_batch(batch, net.config.num_classes)
    split = jax.tree.map(
        lambda leaf: leaf.reshape(options.num_batches, -1, *leaf.shape[1:]), batch
    )

    def evaluate(mixings: Mixing, batches: slice = ALL) -> Evaluation:
        def on_batch(batch: Batch) -> Evaluation:
            return score_batch(net, variables, mixings, batch, options)

        return lax.map(on_batch, jax.tree.map(lambda leaf: leaf[batches], split))

    return evaluate


def evaluate_individuals(
    method: EGNAS, evaluate: Evaluate, alpha: dict[str, Array], z: Array
) -> EvaluatedPopulation:
    """Computes the fitness of a population, given a function that evaluates mixings.

    Args:
      method: space, options and numbers.
      evaluate: evaluates mixings with a leading axis.
      alpha: cell kind -> [E, K].
      z: individuals, f32[P, D].
    """
    config, hyperparams, space = method.config, method.hyperparams, method.space
    rows = unflatten(space, z)
    scores = evaluate(mixings_beside_alpha(method, alpha, rows))
    similarity = similarities(method, alpha, rows)
    fitness = compound_fitness(
        scores.loss[1:],
        scores.correct[1:],
        similarity,
        correct_current=scores.correct[0],
        zeta=hyperparams.zeta,
        eta=hyperparams.eta,
        sign=config.sign,
    )
    if method.excess is not None:
        fitness = limited_fitness(fitness, derived_cells(space, rows), method.excess)
    return EvaluatedPopulation(
        cross_entropy=scores.loss[1:],
        correct=scores.correct[1:],
        correct_current=scores.correct[0],
        similarity=similarity,
        fitness=fitness,
        winner=best(fitness, config.tie),
    )
