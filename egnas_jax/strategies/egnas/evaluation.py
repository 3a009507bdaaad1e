"""One exploration of EG-NAS without its sampling: a population is evaluated.

Source: EG-NAS (Cai et al., AAAI 2024), formula (3) and Algorithm 1; `explore` and `CFF`
of the reference code.

Dims: P population, N images, E edges, K primitives, D = 2 E K.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.evaluate import score_population
from egnas_jax.search.relax import softmax_mixing, unflatten, unweighted
from egnas_jax.space import SPACES, Space
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.fitness import FLOOR, closeness, compound_fitness
from egnas_jax.types import Array, Evaluation, Mixing, PyTree

# What prices mixings [P]: a supernet under its weights, or a table of results.
Evaluate = Callable[[Mixing], Evaluation]


class EvaluatedPopulation(NamedTuple):
    """One population, evaluated.

    Attributes:
      cross_entropy: L1, f32[P].
      correct: i32[P].
      correct_current: of alpha itself, i32[].
      similarity: L2, f32[P].
      fitness: f32[P], lower is better.
      winner: index of the best, i32[].
      direction: s* of the winner, cell kind -> [E, K].
    """

    cross_entropy: Array
    correct: Array
    correct_current: Array
    similarity: Array
    fitness: Array
    winner: Array
    direction: dict[str, Array]


def evaluate_fitness(
    net: Supernet,
    variables: PyTree,
    alpha: dict[str, Array],
    z: Array,
    images: Array,
    labels: Array,
    options: EGNASConfig,
) -> EvaluatedPopulation:
    """One exploration of EG-NAS without its sampling.

    Args:
      net, variables: the supernet and its weights.
      alpha: cell kind -> [E, K].
      z: individuals, f32[P, D].
      images: f32[N, H, W, C], one fitness batch (or `fitness_batches` of them).
      labels: i32[N].
      options: how mixings, similarity, fitness, ties and direction are taken.
    """
    evaluate = evaluator(net, variables, images, labels, options)
    return evaluate_individuals(evaluate, SPACES[net.config.space], alpha, z, options)


def evaluator(net, variables, images, labels, options: EGNASConfig) -> Evaluate:
    """A supernet under its weights, on one fitness batch."""
    return functools.partial(
        score, net, variables, images=images, labels=labels, options=options
    )


def evaluate_individuals(
    evaluate: Evaluate,
    space: Space,
    alpha: dict[str, Array],
    z: Array,
    options: EGNASConfig,
) -> EvaluatedPopulation:
    """`price` by whatever prices mixings."""
    rows = unflatten(space, z)
    mixings = jax.tree.map(
        lambda own, others: jnp.concatenate([own[None], others]),
        softmax_mixing(alpha),  # rides along, so the network is compiled once
        unweighted(candidate_rows(rows, options)),
    )
    scores = evaluate(mixings)
    likeness = jax.vmap(lambda row: closeness(alpha, row, options.similarity))(rows)
    fitness = compound_fitness(
        scores.loss[1:],
        scores.correct[1:],
        likeness,
        correct_current=scores.correct[0],
        zeta=options.zeta,
        eta=options.eta,
        sign=options.sign,
    )
    winner = best(fitness, options.tie)
    chosen = jax.tree.map(lambda leaf: leaf[winner], rows)
    return EvaluatedPopulation(
        scores.loss[1:],
        scores.correct[1:],
        scores.correct[0],
        likeness,
        fitness,
        winner,
        direction(chosen, alpha, options),
    )


def score(net, variables, mixings, images, labels, options):
    """Means and counts over the fitness batches, each with statistics of its own."""
    batches = options.fitness_batches

    def split(leaf):
        return leaf.reshape(batches, -1, *leaf.shape[1:])

    def one(batch):
        return score_population(
            net,
            variables,
            mixings,
            *batch,
            population_chunk=options.population_chunk,
            image_chunk=options.image_chunk,
            batch_stats=options.batch_stats,
        )

    scores = lax.map(one, (split(images), split(labels)))
    total = jnp.sum(scores.correct, axis=0)
    return scores._replace(loss=jnp.mean(scores.loss, axis=0), correct=total)


def candidate_rows(rows: dict[str, Array], options: EGNASConfig) -> dict[str, Array]:
    """q: the weights under which an individual is evaluated, [..., E, K]."""
    normalised = options.individual_mixing == "normalised_softmax"
    return {
        kind: jax.nn.softmax(_unit(row) if normalised else row, axis=-1)
        for kind, row in rows.items()
    }


def _unit(row: Array) -> Array:
    norm = jnp.linalg.norm(row, axis=-1, keepdims=True)
    return row / jnp.maximum(norm, FLOOR)


def best(fitness: Array, tie: str) -> Array:
    """Index of the least fitness, NaN last; of equals the first or the last."""
    ranked = jnp.where(jnp.isnan(fitness), jnp.inf, fitness)
    if tie == "first":
        return jnp.argmin(ranked)
    return len(fitness) - 1 - jnp.argmin(ranked[::-1])


def direction(z: dict[str, Array], alpha: dict[str, Array], options: EGNASConfig):
    """s*: where alpha steps, cell kind -> [E, K]."""
    if options.direction == "z":
        return z
    if options.direction == "z_minus_alpha":
        return jax.tree.map(jnp.subtract, z, alpha)
    if options.direction == "double_softmax":
        q = candidate_rows(z, options)
        return {kind: jax.nn.softmax(row, axis=-1) for kind, row in q.items()}
    return {
        kind: jax.nn.softmax(row, axis=-1) - 1.0 / row.shape[-1]
        for kind, row in z.items()
    }
