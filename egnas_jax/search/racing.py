"""Races candidates over batches: a part of them drops out after every round.

All candidates are evaluated on the first batches, the better part of them on the next
ones, and so on, so that most images are spent on those that may win. The rounds are
planned ahead, so every shape is static and a race is one program.

Source: successive halving, Karnin, Koren & Somekh, "Almost Optimal Exploration in
Multi-Armed Bandits", ICML 2013, and Jamieson & Talwalkar, "Non-stochastic Best Arm
Identification and Hyperparameter Optimization", AISTATS 2016. Both spend equal parts of
the budget on every round. As in the latter, a round ranks by all batches so far. Here
all candidates of a round see the same batches, the share that is kept is an option, and
a race may end once its leaders are told apart.

Dims: P candidates, p of them in a round, M batches, m of them so far, R rounds.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from scipy import stats

from egnas_jax.evolution.shaping import order, ranks_of_order
from egnas_jax.settings import check_ranges
from egnas_jax.types import Array, PyTree

RANGES = {
    "budget": (1, 10**4),
    "rounds": (1, 100),
    "keep": (0.01, 0.99),
    "reliability": (0.5, 1.0),
}


@dataclasses.dataclass(frozen=True)
class Race:
    """How the candidates of a population race for batches.

    Attributes:
      budget: fitness batches for each candidate in the mean: a race costs at most what
        all candidates would cost on so many batches.
      rounds: rounds R, each of which may spend an equal part of the budget.
      keep: share of the candidates that goes on to the next round.
      reliability: a race ends before its budget does when the leader is better than
        the second with this probability (see `race`); 1: never.

    Raises:
      ValueError: a number is out of its range.
    """

    budget: int = 4
    rounds: int = 3
    keep: float = 0.5
    reliability: float = 0.95

    def __post_init__(self):
        check_ranges(self, RANGES, "strategy.race.")

    def plan(self, candidates: int, companions: int = 0) -> tuple["Round", ...]:
        """Plans the rounds of a race, see `plan_rounds`."""
        return plan_rounds(self, candidates, companions)


class Round(NamedTuple):
    """A round of a race.

    Attributes:
      candidates: how many are evaluated, p.
      batches: number of batches that no earlier round has seen.
    """

    candidates: int
    batches: int


def plan_rounds(options: Race, candidates: int, companions: int) -> tuple[Round, ...]:
    """Divides a budget among rounds; what rounding leaves goes to the later ones.

    Args:
      options: of the race.
      candidates: number P.
      companions: mixings that are evaluated on every batch beside the candidates and
        count in the budget.

    Returns:
      The R rounds; the first has all candidates, and round r has ceil(P keep^r).

    Raises:
      ValueError: fewer than two candidates are left for the last round, or the budget
        does not give every round a batch.
    """
    left = options.budget * (candidates + companions)
    rounds = []
    for index in range(options.rounds):
        # without the margin, rounding could raise a whole number to the next
        size = math.ceil(candidates * options.keep**index - 1e-9)
        if size < 2:
            raise ValueError(
                f"strategy.race.rounds is {options.rounds}, but round {index + 1} "
                f"would have {size} of {candidates} candidates, and a round compares "
                f"at least 2. Lower it, or raise strategy.race.keep, which is "
                f"{options.keep}."
            )
        batches = left // ((options.rounds - index) * (size + companions))
        if batches < 1:
            raise ValueError(
                f"strategy.race.budget is {options.budget}, which gives round "
                f"{index + 1} of {options.rounds} no batch. The budget must be at "
                f"least strategy.race.rounds: raise it, or lower the rounds."
            )
        left -= batches * (size + companions)
        rounds.append(Round(size, batches))
    return tuple(rounds)


def num_batches(plan: tuple[Round, ...]) -> int:
    """Returns how many batches a race has in all its rounds, M."""
    return sum(each.batches for each in plan)


def num_evaluations(plan: tuple[Round, ...], companions: int = 0) -> int:
    """Returns how many mixings all rounds evaluate, counted once for each batch."""
    return sum(each.batches * (each.candidates + companions) for each in plan)


class Contest(NamedTuple):
    """What a race asks of the candidates, which are known by their places 0 to P - 1.

    Attributes:
      evaluate: (places i32[p], batches) -> scores with leaves [b, p] and reference with
        leaves [b], where `batches` is a slice of b of the M batches. The reference is
        what the companions score.
      fitness: (scores [m, p], reference [m], places i32[p]) -> f32[p], the fitness over
        all m batches together; lower is better.
    """

    evaluate: Callable[[Array, slice], tuple[PyTree, PyTree]]
    fitness: Callable[[PyTree, PyTree, Array], Array]


@flax.struct.dataclass
class Raced:
    """A race that was run.

    Attributes:
      order: places from best to worst, i32[P]. Candidates that dropped out stand behind
        those that stayed, in the order of their last round.
      fitness: f32[P], over the batches on which each was evaluated.
      batches: number of batches on which each was evaluated, i32[P].
      scores, reference: of the candidates, leaves [M, P], and of the companions,
        leaves [M]; zero where nothing was evaluated.
      rounds: number of rounds that were run, i32[].
      is_settled: whether the leaders are told apart, bool[].
    """

    order: Array
    fitness: Array
    batches: Array
    scores: PyTree
    reference: PyTree
    rounds: Array
    is_settled: Array

    @property
    def rank(self) -> Array:
        """The rank of each candidate, 0 best, i32[P]."""
        return ranks_of_order(self.order)


def race(
    contest: Contest,
    plan: tuple[Round, ...],
    *,
    reliability: float = 1.0,
    tie: str = "first",
) -> Raced:
    """Runs a race, inside a `jax.jit`.

    After each round the two leaders are compared: their fitness over all m batches so
    far differs by d, and the fitness on single batches gives the standard error s of
    such a difference. The race ends where d > t s, with t the `reliability` quantile of
    Student's t with m - 1 degrees of freedom. That is the reliability of two candidates
    chosen beforehand; leaders are chosen by the same batches, so it is an upper bound.
    The bound is rough where the fitness over all batches is not the mean of the fitness
    on single batches. That is so if the sign of a term follows from the correct answers
    on all batches together. A round that is left out costs nothing, except under
    `jax.vmap`, which computes all rounds.

    Args:
      contest: evaluates the candidates.
      plan: the rounds; the first has all candidates.
      reliability: 1 runs all rounds.
      tie: which of two candidates of equal fitness is better in the first round, the
        "first" or the "last"; in later rounds the better of the round before is.
    """
    state = _first_round(contest, plan, reliability, tie)
    for index in range(1, len(plan)):
        play = functools.partial(_next_round, contest, plan, index, reliability)
        if reliability == 1.0:
            state = play(state)
        else:
            state = lax.cond(state.is_settled, lambda state: state, play, state)
    return state


def _first_round(contest, plan, reliability, tie) -> Raced:
    size, batches = plan[0]
    places = jnp.arange(size, dtype=jnp.int32)
    spare = num_batches(plan) - batches

    def padded(leaf: Array) -> Array:
        return jnp.pad(leaf, [(0, spare)] + [(0, 0)] * (leaf.ndim - 1))

    scores, reference = contest.evaluate(places, slice(0, batches))
    state = Raced(
        order=places if tie == "first" else places[::-1],
        fitness=jnp.full((size,), jnp.inf, jnp.float32),
        batches=jnp.full((size,), batches, jnp.int32),
        scores=jax.tree.map(padded, scores),
        reference=jax.tree.map(padded, reference),
        rounds=jnp.zeros((), jnp.int32),
        is_settled=jnp.zeros((), bool),
    )
    return _ranked(contest, plan, 0, reliability, state)


def _next_round(contest, plan, index, reliability, state: Raced) -> Raced:
    size, batches = plan[index]
    places, start = state.order[:size], num_batches(plan[:index])
    here = slice(start, start + batches)
    scores, reference = contest.evaluate(places, here)
    state = state.replace(
        batches=state.batches.at[places].add(batches),
        scores=jax.tree.map(
            lambda old, new: old.at[here, places].set(new), state.scores, scores
        ),
        reference=jax.tree.map(
            lambda old, new: old.at[here].set(new), state.reference, reference
        ),
    )
    return _ranked(contest, plan, index, reliability, state)


def _ranked(contest, plan, index, reliability, state: Raced) -> Raced:
    """The state with those of a round in their new order, before all others."""
    size, seen = plan[index].candidates, num_batches(plan[: index + 1])
    places = state.order[:size]
    scores = jax.tree.map(lambda leaf: leaf[:seen, places], state.scores)
    reference = jax.tree.map(lambda leaf: leaf[:seen], state.reference)
    fitness = contest.fitness(scores, reference, places)
    best_first = order(fitness)
    return state.replace(
        order=jnp.concatenate([places[best_first], state.order[size:]]),
        fitness=state.fitness.at[places].set(fitness),
        rounds=state.rounds + 1,
        is_settled=_is_settled(
            functools.partial(contest.fitness, places=places[best_first[:2]]),
            jax.tree.map(lambda leaf: leaf[:, best_first[:2]], scores),
            reference,
            gap=fitness[best_first[1]] - fitness[best_first[0]],
            reliability=reliability,
        ),
    )


def _is_settled(fitness, scores, reference, *, gap, reliability) -> Array:
    """Whether the gap of the two leaders is larger than its error explains, bool[]."""
    batches = len(jax.tree.leaves(scores)[0])
    if reliability == 1.0 or batches < 2:  # one batch says nothing of the error
        return jnp.zeros((), bool)

    def on_one_batch(scores, reference):
        return fitness(*jax.tree.map(lambda leaf: leaf[None], (scores, reference)))

    values = jax.vmap(on_one_batch)(scores, reference)
    error = jnp.std(values[:, 1] - values[:, 0], ddof=1) / math.sqrt(batches)
    # no comparison with NaN holds, so leaders without a fitness are not told apart
    return gap > float(stats.t.ppf(reliability, batches - 1)) * error
