"""Does a race for fitness batches choose better individuals at equal images?

After a search of each seed, populations with which its next exploration could begin are
evaluated on all validation images, batch by batch. From that table each rule chooses,
in many random orders of the batches: one batch, several batches for all individuals, or
a race, in which the better ones get more (`strategy.fitness_batches=auto`). The regret
of a choice is its value on all validation images minus the least of its population's.
The images of a choice are among them, and a race sees more than others do. So choices
are also compared on the images that no rule has seen.

Command: python experiments/racing.py --size tiny --out OUT
"""

import argparse
import functools
import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import forks
import jax
import jax.numpy as jnp
import methods
import noise
import numpy as np
import record_tables
from methods import Outcome

from egnas_jax.cli.console import say
from egnas_jax.runs.finished_search import load_search, valid_batches
from egnas_jax.search.evaluate import STATISTICS
from egnas_jax.search.racing import Contest, Race, num_batches, num_evaluations, race
from egnas_jax.studies.noise.matrix import Matrix, draw_individuals, evaluate_matrices
from egnas_jax.training.jax_settings import pinned
from egnas_jax.training.random_streams import stream

TITLE = "Does a race choose better individuals?"
BUDGET = 4
RACE = Race(budget=BUDGET, reliability=1.0)
EARLY = Race(budget=BUDGET, reliability=0.95)
METRICS = {"fitness": "fitness", "cross_entropy": "cross entropy"}


class Size(NamedTuple):
    """What is evaluated after the searches of a size, which are those of noise.py.

    Attributes:
      population, populations: individuals of a population, and populations of a seed.
      repeats: random orders of the batches.
      seeds: default number of seeds.
    """

    population: int
    populations: int
    repeats: int
    seeds: int


SIZES = {
    "tiny": Size(population=8, populations=8, repeats=50, seeds=5),
    "small": Size(population=16, populations=8, repeats=100, seeds=3),
    "full": Size(population=50, populations=10, repeats=200, seeds=3),
}


class Rule(NamedTuple):
    """A way to choose from a population.

    Attributes:
      parts: into how many batches a fitness batch of the search is divided.
      batches: batches on which all individuals are evaluated; None: they race.
      race: how.
    """

    parts: int
    batches: int | None = None
    race: Race = RACE


# name, with the images of a batch -> rule; each group begins with what it is held to
GROUPS = (
    {
        "1 batch of {}": Rule(1, 1),
        f"{BUDGET} batches of {{}}": Rule(BUDGET, BUDGET),
        "race for batches of {}": Rule(BUDGET),
    },
    {
        f"{BUDGET} batches of {{}}": Rule(1, BUDGET),
        "race for batches of {}": Rule(1),
        f"race for batches of {{}}, ends at {EARLY.reliability}": Rule(1, race=EARLY),
    },
)


class Chosen(NamedTuple):
    """What a rule chose, in S orders of the batches for each of n populations.

    Attributes:
      places: of the chosen individuals in their populations, i64[S, n].
      images: of each individual and of alpha, in the mean, f64[S, n].
    """

    places: np.ndarray
    images: np.ndarray


class Scores(NamedTuple):
    """Scores of one population on batches, and how they make a fitness.

    Attributes:
      loss, correct: [M, P].
      current: correct answers of alpha, [M].
      similarity: [P].
    """

    loss: np.ndarray
    correct: np.ndarray
    current: np.ndarray
    similarity: np.ndarray


def by_cross_entropy(matrix: Matrix) -> Matrix:
    """The same scores with the cross entropy for their fitness."""
    return matrix._replace(fitness_fn=lambda loss, correct, current, similarity: loss)


def fitness_of(matrix: Matrix, sets: np.ndarray) -> np.ndarray:
    """The fitness over each set of batches, f64[S, n P]; NaN is the worst, as in races.

    Args:
      matrix: scores of all individuals.
      sets: of batches, i64[S, b].
    """
    values = matrix.pooled(sets)
    return np.where(np.isnan(values), np.inf, values)


def choose(
    rule: Rule, matrix: Matrix, orders: np.ndarray, size: Size, batch_size: int
) -> Chosen:
    """Chooses from every population by the first batches of every order.

    Args:
      rule: how.
      matrix: scores of the individuals of all populations, one after the other.
      orders: of the M batches, i64[S, M].
      size: of the populations.
      batch_size: images of a batch.

    Raises:
      ValueError: there are fewer batches than the rule needs.
    """
    plan = rule.race.plan(size.population, companions=1)
    needed = rule.batches or num_batches(plan)
    if needed > orders.shape[1]:
        raise ValueError(
            f"A rule needs {needed} batches of {batch_size} images, and the validation "
            f"images make {orders.shape[1]}. Use more images, or smaller batches."
        )
    sets, shape = orders[:, :needed], (len(orders), size.populations)
    if rule.batches:
        values = fitness_of(matrix, sets).reshape(*shape, size.population)
        return Chosen(
            np.argmin(values, axis=-1), np.full(shape, 1.0 * rule.batches * batch_size)
        )
    spent = [num_evaluations(plan[:n], 1) for n in range(len(plan) + 1)]
    run = functools.partial(run_race, matrix.fitness_fn, plan, rule.race.reliability)
    raced = jax.jit(jax.vmap(run))(scores_of(matrix, sets, size))
    evaluations = np.asarray(spent)[np.asarray(raced.rounds)].reshape(shape)
    places = np.asarray(raced.order[:, 0]).reshape(shape)
    return Chosen(places, evaluations * batch_size / (size.population + 1))


def scores_of(matrix: Matrix, sets: np.ndarray, size: Size) -> Scores:
    """Scores of every population on every set of batches, leaves [S n, ...]."""
    number, batches = sets.shape

    def of_populations(table: np.ndarray) -> np.ndarray:  # [n P, M] -> [S n, b, P]
        split = table[:, sets].reshape(size.populations, size.population, *sets.shape)
        return split.transpose(2, 0, 3, 1).reshape(-1, batches, size.population)

    similarity = matrix.similarity.reshape(size.populations, size.population)
    return Scores(
        of_populations(matrix.cross_entropy).astype(np.float32),
        of_populations(matrix.correct).astype(np.int32),
        np.repeat(matrix.correct_current[sets], size.populations, 0).astype(np.int32),
        np.tile(similarity, (number, 1)).astype(np.float32),
    )


def run_race(fitness_fn: Callable, plan: tuple, reliability: float, scores: Scores):
    """The race of one population whose scores are known."""

    def evaluate(places, batches):
        own = scores.loss[batches, places], scores.correct[batches, places]
        return own, scores.current[batches]

    def fitness(own, current, places):
        loss, correct = jnp.mean(own[0], axis=0), jnp.sum(own[1], axis=0)
        return fitness_fn(loss, correct, jnp.sum(current), scores.similarity[places])

    return race(Contest(evaluate, fitness), plan, reliability=reliability)


def most_batches(size: Size, count: int) -> int:
    """The most batches of the search's size that a rule sees.

    Raises:
      ValueError: those are all batches, so that none is left that no rule sees.
    """
    most = 0
    for rule in (rule for rules in GROUPS for rule in rules.values()):
        plan = rule.race.plan(size.population, companions=1)
        most = max(most, -(-(rule.batches or num_batches(plan)) // rule.parts))
    if most >= count:
        raise ValueError(
            f"The rules see {most} fitness batches, and the validation images make "
            f"{count}. Use more images, or a smaller strategy.fitness_batch_size."
        )
    return most


def measure(matrices: dict[int, Matrix], batch_size: int, size: Size) -> list[dict]:
    """What every rule chose, a row for each.

    Args:
      matrices: parts of a fitness batch -> scores on batches of that part of it, of the
        same images in the same order.
      batch_size: images of a fitness batch.
      size: of the populations.
    """
    whole = matrices[1]
    count = whole.correct.shape[1]
    rng = np.random.default_rng(0)
    orders = np.stack([rng.permutation(count) for _ in range(size.repeats)])
    truth = fitness_of(whole, np.arange(count)[None])[0]
    truth = truth.reshape(size.populations, -1)
    unseen = fitness_of(whole, orders[:, most_batches(size, count) :])
    unseen = unseen.reshape(size.repeats, *truth.shape)
    rows = []
    for group, rules in enumerate(GROUPS):
        for name, rule in rules.items():
            parts = rule.parts
            # the parts of a batch follow one another, so rules see the same images
            split = orders[:, :, None] * parts + np.arange(parts)
            images = batch_size // parts
            chosen = choose(
                rule, matrices[parts], split.reshape(size.repeats, -1), size, images
            )
            value = truth[np.arange(size.populations), chosen.places]
            better = truth[None] < value[..., None]
            elsewhere = np.take_along_axis(unseen, chosen.places[..., None], axis=-1)
            rows.append(
                {
                    "group": group,
                    "rule": name.format(images),
                    "images": chosen.images.mean(),
                    "regret": (value - truth.min(axis=1)).mean(),
                    "unseen": elsewhere.mean(),
                    "rank": 1 + better.sum(axis=-1).mean(),
                }
            )
    return rows


@pinned()
def study(folder: pathlib.Path, data_dir: str | None, size: Size) -> dict:
    """What the rules choose after one search.

    Raises:
      ValueError: the search has too few validation images.
    """
    started = time.perf_counter()
    search = load_search(folder, data_dir=data_dir, log=say)
    config, state = search.config.strategy, search.state
    batch_size = config.fitness_batch_size
    key = jax.random.fold_in(stream(0, "racing"), state.epoch)
    number = size.populations * size.population
    candidates = draw_individuals(search.net, config, state.strategy, key, number)
    count = search.num_valid // batch_size
    tables = {}
    for parts in (1, BUDGET):
        batches = valid_batches(search, count * parts, batch_size // parts, 0)
        tables[parts] = evaluate_matrices(candidates, state.variables, *batches)
    results = {}
    for kind in STATISTICS:
        matrices = {parts: table[kind] for parts, table in tables.items()}
        losses = {parts: by_cross_entropy(one) for parts, one in matrices.items()}
        results[kind] = {
            "fitness": measure(matrices, batch_size, size),
            "cross_entropy": measure(losses, batch_size, size),
        }
    return {
        "statistics": results,
        "images": count * batch_size,
        "epochs": int(state.epoch),
        "seconds": time.perf_counter() - started,
    }


def run_studies(options: argparse.Namespace) -> tuple[list[Outcome], list[dict]]:
    """Searches with every seed and studies each search, where they are missing.

    Raises:
      ValueError: the images are not there, or the searches cannot serve the rules.
    """
    size = SIZES[options.size]
    searches = noise.SIZES[options.size]._replace(seeds=size.seeds)
    method, _ = noise.method_of(options, searches)
    batch_size = method.config().strategy.fitness_batch_size
    if batch_size % BUDGET:
        raise ValueError(
            f"strategy.fitness_batch_size is {batch_size}, but must be a multiple of "
            f"{BUDGET}, into which a race divides it."
        )
    outcomes, data_dir = noise.run_searches(options, searches)
    key = {"size": size._asdict(), "data_dir": data_dir}
    studies = []
    for outcome in outcomes:
        folder = options.out / f"{noise.METHOD}-{outcome.seed}"
        make = functools.partial(study, folder, data_dir, size)
        studies.append(methods.make_json(folder / "racing.json", key, make))
    return outcomes, studies


def make_rows(studies: list[dict]) -> list[list]:
    """Rows of the record, one for each metric, kind of statistics and rule."""
    rows = []
    for metric, name in METRICS.items():
        for kind in STATISTICS:
            by_seed = [study["statistics"][kind][metric] for study in studies]
            first: dict[int, list[dict]] = {}
            for results in zip(*by_seed, strict=True):
                held_to = first.setdefault(results[0]["group"], list(results))
                row = make_row(list(results), held_to)
                rows.append([f"{name}, {kind} statistics", *row])
    return rows


def make_row(results: list[dict], held_to: list[dict]) -> list:
    """The cells of one rule.

    Args:
      results: of `measure`, seed by seed.
      held_to: those of the rule with as many images that is no race.
    """
    regrets = [result["regret"] for result in results]
    is_first = results == held_to

    def minus_first(name: str) -> str:
        pairs = zip(results, held_to, strict=True)
        differences = [own[name] - first[name] for own, first in pairs]
        return "-" if is_first else record_tables.interval(differences, 100)

    return [
        results[0]["rule"],
        sum(result["images"] for result in results) / len(results),
        record_tables.cell(regrets, 100),
        minus_first("regret"),
        minus_first("unseen"),
        record_tables.cell([result["rank"] for result in results]),
    ]


def make_table(
    options: argparse.Namespace, outcomes: list[Outcome], studies: list[dict]
) -> dict:
    """The record without its command."""
    size, searches = SIZES[options.size], noise.SIZES[options.size]
    images = forks.describe_images(options, searches.method, searches.images)
    return {
        "title": TITLE,
        "claim": "Does an individual that won a race for batches have less regret than "
        "one that as many images of all individuals chose?",
        "columns": [
            "ranked by",
            "chosen by",
            record_tables.column("images of an individual", 1),
            record_tables.column("regret (1/100)"),
            "minus that of the first with as many images: 95 % interval",
            "on unseen images, minus that of the first: 95 % interval",
            "rank",
        ],
        "rows": make_rows(studies),
        "seconds": forks.total_seconds(outcomes)
        + sum(study["seconds"] for study in studies),
        "note": f"Regret: what the choice has on all {studies[0]['images']} validation "
        f"images minus the least of its population. {size.populations} populations of "
        f"{size.population} individuals a seed, after {studies[0]['epochs']} epochs, "
        f"in {size.repeats} orders of the batches; chance has rank "
        f"{(size.population + 1) / 2}. A race has {RACE.rounds} rounds and keeps "
        f"{RACE.keep} of the individuals. The images of a choice are among all, and "
        f"those of a race are more; unseen are those of no rule. Mean and standard "
        f"deviation over seeds; intervals are not corrected for their number. {images} "
        f"Variant {options.variant}.",
    }


def main(arguments: list[str] | None = None) -> None:
    """Searches, studies every search and writes the record."""
    parser = forks.make_parser(__doc__)
    options = parser.parse_args(arguments)
    try:
        outcomes, studies = run_studies(options)
    except ValueError as error:
        parser.error(str(error))
    forks.write(options, "racing", make_table(options, outcomes, studies), studies)


if __name__ == "__main__":
    main()
