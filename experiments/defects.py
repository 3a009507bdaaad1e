"""Measures three properties of the published code that its formulas suggest.

1. Populations repeat: `official` draws from a key that never changes, so its samples
   and its epochs share their directions, which are counted as differences from the
   first of the 50 individuals: 49 a population.
2. The step is nearly uniform: s* = softmax(softmax(z / |z|)) hardly distinguishes
   primitives, so alpha stays near where the initial noise put it.
3. The sign rule prefers worse individuals: one that is at least as accurate as alpha
   is pushed away by eta L2, one that is less accurate is pulled by as much.

The first two are arithmetic: winners are drawn at random, and no network is evaluated.
Searches on images stand beside the second. For the third, a population is evaluated on
many validation batches under the weights of warm starts.

Command: python experiments/defects.py --size small --out OUT
"""

import argparse
import functools
import pathlib
import time
from typing import NamedTuple

import defects_simulated
import forks
import jax
import numpy as np
import record_tables
from defects_plot import mean_ends, plot
from defects_simulated import RUNS, UPDATES, distinct_directions, random_walk
from methods import Outcome

import egnas_jax as eg
from egnas_jax.runs.finished_search import valid_batches
from egnas_jax.search.relax import flatten
from egnas_jax.strategies.egnas.fitness import SIGNS, compound_fitness
from egnas_jax.strategies.egnas.method import EGNAS
from egnas_jax.strategies.egnas.sampling import first_generation
from egnas_jax.strategies.egnas.variants import READINGS
from egnas_jax.studies.noise.matrix import over_batches

TITLE = "Three properties of the published code"
SIGN_VARIANTS = ("official", "paper")
SIGN_METRICS = ("winner_less_accurate", "gain_on_batch", "gain_on_all")


class Measured(NamedTuple):
    """Everything that is measured.

    Attributes:
      directions: variant -> result of `distinct_directions`.
      walks: kind of searches -> variant -> result of `random_walk` or `real_walk`; the
        first kind is that of a whole search.
      signs: variant -> results of `sign_rule`.
    """

    directions: dict[str, tuple[int, int]]
    walks: dict[str, dict[str, dict]]
    signs: dict[str, list[dict]]


def of_variant(options: argparse.Namespace, variant: str) -> argparse.Namespace:
    """Options of the searches of one variant, in a folder of their own."""
    changes = {"variant": variant, "out": options.out / variant}
    return argparse.Namespace(**{**vars(options), **changes})


def real_walk(
    outcomes: list[Outcome], folder: pathlib.Path, data_dir: str | None
) -> dict:
    """Shares of softmax(alpha) at the end of searches on images.

    Args:
      outcomes: of the searches.
      folder: holds their run directories, METHOD-SEED.
      data_dir: where their images are.

    Returns:
      "updates" that each of them made, "smallest_share" and "largest_share" of each.
    """
    states = [
        eg.load_search(
            folder / f"{outcome.method}-{outcome.seed}", data_dir=data_dir
        ).state.strategy
        for outcome in outcomes
    ]
    space = defects_simulated.SPACE
    shares = [
        flatten(space, eg.softmax_mixing(state.alpha).primitives) for state in states
    ]
    return {
        "updates": int(states[0].updates),
        "smallest_share": [float(share.min()) for share in shares],
        "largest_share": [float(share.max()) for share in shares],
    }


def sign_rule(
    variant: str, folders: list[pathlib.Path], data_dir: str | None
) -> list[dict]:
    """Finds the winner by each sign rule, under the weights of warm starts.

    Args:
      variant: of EG-NAS, for the results.
      folders: run directories of the warm starts, seed by seed.
      data_dir: where their images are.
    """
    rows = []
    for seed, folder in enumerate(folders):
        search = eg.load_search(folder, data_dir=data_dir)
        evaluated = _evaluate_population(search, seed)
        for sign in SIGNS:
            labels = {"variant": variant, "seed": seed, "sign": sign}
            rows.append(labels | _describe_winners(search, evaluated, sign))
    return rows


def _evaluate_population(search: eg.SearchResult, seed: int) -> eg.EvaluatedPopulation:
    """The first population of the next exploration on every batch, leaves [M, ...]."""
    config, state = search.config.strategy, search.state
    size = config.fitness_batch_size
    images, labels = valid_batches(search, search.num_valid // size, size, seed)
    method = EGNAS(defects_simulated.SPACE, config, config.hyperparams)
    z = first_generation(method, jax.random.key(seed), state.strategy)[0]

    def evaluate(alpha, z, variables, batch: eg.Batch) -> eg.EvaluatedPopulation:
        return eg.evaluate_fitness(
            search.net, variables, alpha, z, batch.images, batch.labels, config
        )

    arguments = search.alpha, z, state.variables, images, labels
    return over_batches(evaluate, images.shape[2:4])(*arguments)


def _describe_winners(
    search: eg.SearchResult, evaluated: eg.EvaluatedPopulation, sign: str
) -> dict:
    """Accuracy of each batch's winner by one sign rule, compared with alpha's."""
    config = search.config.strategy
    correct, current = map(np.asarray, (evaluated.correct, evaluated.correct_current))
    num_images = len(correct) * config.fitness_batch_size
    on_all = correct.sum(axis=0) / num_images
    current_on_all = current.sum() / num_images
    winner = _winners(evaluated, config, sign)
    gain = np.take_along_axis(correct, winner[:, None], axis=1)[:, 0] - current
    return {
        "explorations": len(winner),
        "winner_less_accurate": float(np.mean(gain < 0)),
        "gain_on_batch": float(np.mean(gain)) / config.fitness_batch_size,
        "gain_on_all": float(np.mean(on_all[winner])) - float(current_on_all),
        "mean_gain_of_population": float(on_all.mean()) - float(current_on_all),
    }


def _winners(
    evaluated: eg.EvaluatedPopulation, config: eg.EGNASConfig, sign: str
) -> np.ndarray:
    """Index of the winner of each batch by one sign rule."""
    options = dict(zeta=config.zeta, eta=config.eta, sign=sign)
    fitness = jax.vmap(functools.partial(compound_fitness, **options))(
        evaluated.cross_entropy,
        evaluated.correct,
        evaluated.similarity,
        correct_current=evaluated.correct_current,
    )
    fitness = np.asarray(fitness)
    return np.where(np.isnan(fitness), np.inf, fitness).argmin(axis=1)


def measure(
    options: argparse.Namespace, outcomes: dict[str, list[Outcome]]
) -> Measured:
    """Measures the three properties.

    Args:
      options: of the command line.
      outcomes: variant -> outcomes of its searches.
    """
    folders = {name: of_variant(options, name) for name in READINGS}
    real = {
        name: real_walk(outcomes[name], folders[name].out, options.data_dir)
        for name in READINGS
    }
    updates = real["paper"]["updates"]
    walks = {
        f"{number} simulated updates": {
            name: random_walk(name, number) for name in READINGS
        }
        for number in (UPDATES, updates)
    }
    signs = {
        name: sign_rule(name, forks.warm_starts(folders[name]), options.data_dir)
        for name in SIGN_VARIANTS
    }
    directions = {name: distinct_directions(name) for name in READINGS}
    return Measured(directions, walks | {f"{updates} updates on images": real}, signs)


def make_rows(measured: Measured) -> list[list]:
    """Rows of the record: one for each variant, then one for each sign rule."""
    (first, *_), rows = measured.walks.values(), []
    for name, (distinct, total) in measured.directions.items():
        shares = [mean_ends(variants[name]) for variants in measured.walks.values()]
        rows.append(
            [
                name,
                "",
                f"{distinct:,} of {total:,}",
                *(f"{least:.4f} to {largest:.4f}" for least, largest in shares),
                record_tables.cell(first[name]["argmax_of_initial_noise"], 100),
                first[name]["largest_relative_step"],
                *[None] * len(SIGN_METRICS),
            ]
        )
    for name, results in measured.signs.items():
        for sign in SIGNS:
            group = [row for row in results if row["sign"] == sign]
            cells = [
                record_tables.cell([row[metric] for row in group], 100)
                for metric in SIGN_METRICS
            ]
            rows.append([name, sign, *[None] * (3 + len(measured.walks)), *cells])
    return rows


def make_table(options: argparse.Namespace, measured: Measured) -> dict:
    """The record without its command and seconds."""
    return {
        "title": TITLE,
        "columns": [
            "variant",
            "sign rule",
            "distinct directions of all drawn",
            *(f"softmax(alpha) after {kind}" for kind in measured.walks),
            record_tables.column("edges on the argmax of the initial noise (%)", 1),
            record_tables.column("largest relative move of a logit in an update", 4),
            record_tables.column("winner less accurate than alpha on its batch (%)", 0),
            "winner minus alpha on its batch (points)",
            "on all batches (points)",
        ],
        "rows": make_rows(measured),
        "claim": "Do populations repeat, are steps nearly uniform, and does the sign "
        "rule prefer individuals that are less accurate?",
        "note": f"Directions and steps: {RUNS} simulated searches whose winners are "
        f"drawn at random (chance for the argmax: 14.3 %). softmax(alpha): from the "
        f"least to the largest share, means over searches. Sign rules: a population on "
        f"every validation batch under the weights of warm starts. "
        f"{forks.describe_images(options)}",
    }


def make_details(measured: Measured) -> dict:
    """All results, for the experiment's details."""
    details = {
        name: {kind: variants[name] for kind, variants in measured.walks.items()}
        for name in measured.directions
    }
    return details | {f"{name}, signs": rows for name, rows in measured.signs.items()}


def main(arguments: list[str] | None = None) -> None:
    """Searches, measures and writes the record."""
    options = forks.make_parser(__doc__, None).parse_args(arguments)
    outcomes = {
        name: forks.run({"search": {}}, of_variant(options, name)) for name in READINGS
    }
    started = time.perf_counter()
    measured = measure(options, outcomes)
    seconds = time.perf_counter() - started
    table = make_table(options, measured) | {
        "seconds": sum(map(forks.total_seconds, outcomes.values())) + seconds
    }
    signs = [row for rows in measured.signs.values() for row in rows]
    figure = plot(TITLE, measured.directions, measured.walks, signs)
    forks.write(options, "defects", table, make_details(measured), figure=figure)


if __name__ == "__main__":
    main()
