"""Measures how well a trained supernet ranks cells, against a benchmark's table.

Every cell is a one-hot mixing under the weights of a run's newest checkpoint. It is
evaluated on validation images, as the search evaluates its individuals.

Dims: n cells.
"""

import pathlib
from typing import NamedTuple

import jax
import numpy as np

from egnas_jax.nn.supernet import Supernet
from egnas_jax.runs.finished_search import check_trained, valid_batches
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.runs.search_result import SearchResult
from egnas_jax.search.evaluate import evaluate_population
from egnas_jax.search.relax import unweighted
from egnas_jax.studies.nasbench201.table import (
    KIND,
    NUM_CELLS,
    SPACE,
    BenchmarkTable,
    topology,
)
from egnas_jax.studies.statistics import rank_correlations
from egnas_jax.training.jax_settings import pinned
from egnas_jax.types import Array, PyTree

RESAMPLES = 1000


class RankingSupernet(NamedTuple):
    """A supernet and the images on which it ranks cells.

    Attributes:
      net, variables: the supernet and its weights.
      epochs: number of epochs of its training.
      images, labels: validation images, f32[N, H, W, C] and i32[N].
    """

    net: Supernet
    variables: PyTree
    epochs: int
    images: Array
    labels: Array


def check_space(folder: pathlib.Path, config: SearchConfig) -> None:
    """Refuses a run that searched another space than the table's.

    Raises:
      ValueError: the run's space is another one.
    """
    if config.supernet.space != SPACE.name:
        raise ValueError(
            f"{folder} searched the space {config.supernet.space}, and the table is of "
            f"{SPACE.name}. Name a run of `egnas search --space {SPACE.name}`."
        )


@pinned()
def from_run(search: SearchResult, num_images: int, seed: int) -> RankingSupernet:
    """The supernet of a run, with some of its validation images.

    Args:
      search: a run in this space (see `check_space`).
      num_images: number of images; all where the run has fewer.
      seed: seed of the choice of images.

    Raises:
      ValueError: the run trained no weights, as one that ranks by a proxy.
    """
    check_trained(search)
    number = min(num_images, search.num_valid)
    images, labels = (part[0] for part in valid_batches(search, 1, number, seed))
    return RankingSupernet(
        net=search.net,
        variables=search.state.variables,
        epochs=int(search.state.epoch),
        images=images,
        labels=labels,
    )


@pinned()
def rank(
    supernet: RankingSupernet,
    table: BenchmarkTable,
    *,
    sample: int,
    seed: int,
    batch_stats: str,
    resamples: int = RESAMPLES,
) -> dict:
    """Evaluates a sample of cells and correlates the ranks with the table's.

    Args:
      supernet: result of `from_run`.
      table: results on one data set.
      sample: n, drawn without replacement; all cells where there are fewer.
      seed: seed of the draw and of the bootstrap.
      batch_stats: statistics of batch norm, "batch" or "running".
      resamples: number of bootstrap draws.

    Returns:
      The contents of rank_correlation.json; accuracies are fractions.
    """
    number = min(sample, NUM_CELLS)
    rows = np.random.default_rng(seed).permutation(NUM_CELLS)[:number]
    loss, accuracy = _evaluate(supernet, table, rows, batch_stats)
    ours = {"loss": np.where(np.isnan(loss), -np.inf, -loss), "accuracy": accuracy}
    theirs = {
        "valid_accuracy_12_epochs": np.asarray(table.valid)[rows],
        "test_accuracy_200_epochs": np.asarray(table.test)[rows],
    }
    options = dict(resamples=resamples, seed=seed)
    correlations = [
        {"supernet": name, "table": other} | rank_correlations(a, b, **options)
        for name, a in ours.items()
        for other, b in theirs.items()
    ]
    best = int(np.argmax(ours["loss"]))
    columns = {"supernet_loss": loss, "supernet_accuracy": accuracy, **theirs}
    return {
        "epochs": supernet.epochs,
        "cells": number,
        "images": len(supernet.labels),
        "batch_stats": batch_stats,
        "seed": seed,
        "resamples": resamples,
        "correlations": correlations,
        "best_by_supernet": topology(table, rows[best]).format(),
        "best_test_accuracy": float(theirs["test_accuracy_200_epochs"][best]),
        "optimum": float(table.test.max()),
        "sample": {
            "cell": [topology(table, row).format() for row in rows],
            **{name: values.tolist() for name, values in columns.items()},
        },
    }


def _evaluate(
    supernet: RankingSupernet, table: BenchmarkTable, rows: np.ndarray, batch_stats: str
) -> tuple[np.ndarray, np.ndarray]:
    """Loss and accuracy of cells under the supernet's weights, f64[n] each."""
    one_hot = jax.nn.one_hot(table.choices[rows], len(SPACE.primitives))
    scores = evaluate_population(
        supernet.net,
        supernet.variables,
        unweighted({KIND: one_hot}),
        supernet.images,
        supernet.labels,
        batch_stats=batch_stats,
    )
    return np.asarray(scores.loss, np.float64), np.asarray(scores.accuracy, np.float64)
