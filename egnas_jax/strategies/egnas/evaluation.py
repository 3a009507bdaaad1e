"""Evaluates a population of EG-NAS: its fitness, its winner, and the step along it.

Source: EG-NAS (Cai et al., AAAI 2024), formula (3) and Algorithm 1; `explore` and `CFF`
of the official code.

Dims: P population, N images, E edges, K primitives, D = kinds E K.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int

from egnas_jax.data.labels import checked_batch
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.evaluate import score_batch
from egnas_jax.search.relax import (
    live_rows,
    num_live,
    softmax_mixing,
    unflatten,
    unflatten_like,
    unweighted,
)
from egnas_jax.space import SPACES, Space
from egnas_jax.space.mixing_arrays import check_shape
from egnas_jax.strategies.egnas.config import EGNASConfig, EGNASHyperparams
from egnas_jax.strategies.egnas.fitness import (
    FLOOR,
    compound_fitness,
    similarity_as_read,
)
from egnas_jax.strategies.limits.costs import ExcessFn, limited_fitness, make_excess
from egnas_jax.strategies.limits.derived import derived_mixing
from egnas_jax.types import Array, Batch, Evaluation, Mixing, PyTree

# Evaluates mixings [P]: a supernet under its weights, or a table of results.
Evaluate = Callable[[Mixing], Evaluation]
# Evaluates mixings [P] on each of some fitness batches, by a slice: leaves [b, P].
EvaluateEach = Callable[[Mixing, slice], Evaluation]


class EGNAS(NamedTuple):
    """EG-NAS in a space.

    Attributes:
      space: of the cells.
      config: the static options; another one is another program.
      hyperparams: the numbers that may be traced; all values share one program.
      excess: how far a cell is over the limits, or None without a limit.
    """

    space: Space
    config: EGNASConfig
    hyperparams: EGNASHyperparams
    excess: ExcessFn | None = None


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

    Returns:
      (mixings [P], slice of batches or None for all) -> scores with leaves [b, P].

    Raises:
      ValueError: a label that is not traced is outside 0 to num_classes - 1.
    """
    batch = checked_batch(batch, net.config.num_classes)
    split = jax.tree.map(
        lambda leaf: leaf.reshape(options.num_batches, -1, *leaf.shape[1:]), batch
    )

    def evaluate(mixings: Mixing, batches: slice | None = None) -> Evaluation:
        def on_batch(batch: Batch) -> Evaluation:
            return score_batch(net, variables, mixings, batch, options)

        if batches is None:
            return lax.map(on_batch, split)
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


def mixings_beside_alpha(
    method: EGNAS, alpha: dict[str, Array], rows: dict[str, Array]
) -> Mixing:
    """Returns the mixing of alpha and those of individuals, leaves [1 + P, ...]."""
    space = method.space
    return jax.tree.map(
        lambda current, others: jnp.concatenate([current[None], others]),
        softmax_mixing(alpha, space),  # with the others, so one program is compiled
        unweighted(individual_rows(rows, method.config, space)),
    )


def similarities(
    method: EGNAS, alpha: dict[str, Array], rows: dict[str, Array]
) -> Array:
    """Returns the similarity of individuals [P, E, K] by kind to alpha, f32[P]."""
    config, space = method.config, method.space
    return jax.vmap(lambda z: similarity_as_read(alpha, z, config.similarity, space))(
        rows
    )


def derived_cells(space: Space, rows: dict[str, Array]) -> Mixing:
    """Returns the cells that are derived of individuals, one-hot, [P, ...]."""
    return jax.vmap(lambda row: derived_mixing(space, softmax_mixing(row, space)))(rows)


def individual_rows(
    rows: dict[str, Array], options: EGNASConfig, space: Space | None = None
) -> dict[str, Array]:
    """Returns q, the rows of the mixing under which an individual is evaluated.

    Args:
      rows: z, cell kind -> [..., E, K].
      options: `individual_mixing` is used.
      space: of the cells; None: every edge has all primitives.
    """
    if options.individual_mixing == "normalised_softmax":
        live = live_rows(space, rows, dead=0.0)
        rows = {kind: _unit(row) for kind, row in live.items()}
    return softmax_mixing(rows, space).primitives


def _unit(row: Array) -> Array:
    norm = jnp.linalg.norm(row, axis=-1, keepdims=True)
    return row / jnp.maximum(norm, FLOOR)


def best(fitness: Array, tie: str) -> Array:
    """Returns the index of the least fitness, NaN last; of equals the first or last."""
    ranked = jnp.where(jnp.isnan(fitness), jnp.inf, fitness)
    if tie == "first":
        return jnp.argmin(ranked)
    return len(fitness) - 1 - jnp.argmin(ranked[::-1])


def egnas_step_direction(
    z: Float[Array, " D"] | dict[str, Float[Array, "E K"]],
    alpha: dict[str, Float[Array, "E K"]],
    options: EGNASConfig,
    space: Space | None = None,
) -> dict[str, Float[Array, "E K"]]:
    """Returns s*, the direction in which alpha steps along one individual.

    Args:
      z: the individual, f32[D] or cell kind -> [E, K].
      alpha: cell kind -> [E, K].
      options: `direction` is used, and `individual_mixing` where it needs q.
      space: of the cells, as a search has it. Entries of primitives that an edge lacks
        are 0. None: every edge has all primitives, which is wrong in `robust_s1`.

    Raises:
      ValueError: z or alpha has other kinds or shapes than the space's cells, or than
        each other.
    """
    rows = z if isinstance(z, dict) else unflatten_like(alpha, z)
    if space is not None:
        for kind in space.kinds:
            check_shape(space, "alpha", alpha, kind)
            check_shape(space, "z", rows, kind)
    if options.direction == "z":
        step = rows
    elif options.direction == "z_minus_alpha":
        step = jax.tree.map(jnp.subtract, rows, alpha)
    elif options.direction == "double_softmax":
        step = softmax_mixing(individual_rows(rows, options, space), space).primitives
    else:
        step = {
            kind: row - 1.0 / num_live(space, kind, row)
            for kind, row in softmax_mixing(rows, space).primitives.items()
        }
    return live_rows(space, step, dead=0.0)
