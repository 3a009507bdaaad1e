"""How well a trained supernet ranks cells: its scores beside a benchmark's table.

Every cell is a one-hot mixing under the weights of a run's newest checkpoint, evaluated
on validation images as individuals are in the search.

Dims: n cells.
"""

import pathlib
from typing import NamedTuple

import jax
import numpy as np

from egnas_jax.nn.supernet import Supernet
from egnas_jax.runs.finished_search import Searched, valid_batches
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.search.evaluate import evaluate_population
from egnas_jax.search.relax import unweighted
from egnas_jax.studies.nasbench201.correlation import rank_correlations
from egnas_jax.studies.nasbench201.table import (
    KIND,
    NUM_CELLS,
    SPACE,
    Table,
    topology,
)
from egnas_jax.types import Array, PyTree

RESAMPLES = 1000


class Ranked(NamedTuple):
    """A supernet that is to rank cells.

    Attributes:
      net, variables: the supernet and its weights.
      epochs: that they have been trained.
      images, labels: of validation, f32[N, H, W, C] and i32[N].
    """

    net: Supernet
    variables: PyTree
    epochs: int
    images: Array
    labels: Array


def check_space(folder: pathlib.Path, config: SearchConfig) -> None:
    """Refuses a run of another space than the table's.

    Raises:
      ValueError: as said.
    """
    if config.supernet.space != SPACE.name:
        raise ValueError(
            f"{folder} searched the space {config.supernet.space}, and the table is of "
            f"{SPACE.name}. Name a run of `egnas search --space {SPACE.name}`."
        )


def of_run(searched: Searched, num_images: int, seed: int) -> Ranked:
    """The supernet of a run and so many of its validation images.

    Args:
      searched: a run in this space, see `check_space`.
      num_images: all where more are asked for.
      seed: of the choice of images.
    """
    number = min(num_images, searched.run.programs.num_valid)
    images, labels = (part[0] for part in valid_batches(searched, 1, number, seed))
    state = searched.state
    return Ranked(searched.net, state.variables, int(state.epoch), images, labels)


def rank(
    ranked: Ranked,
    table: Table,
    *,
    sample: int,
    seed: int,
    batch_stats: str,
    resamples: int = RESAMPLES,
) -> dict:
    """Scores of a sample of cells, and how they go with the table's.

    Args:
      ranked: of `of_run`.
      table: of one data set.
      sample: n, drawn without replacement; all where as many or more are asked for.
      seed: of the draw and of the bootstrap.
      batch_stats: batch norm while pricing: "batch" or "running".
      resamples: of the bootstrap.

    Returns:
      As rank_correlation.json holds it; accuracies are fractions.
    """
    number = min(sample, NUM_CELLS)
    rows = np.random.default_rng(seed).permutation(NUM_CELLS)[:number]
    one_hot = jax.nn.one_hot(table.choices[rows], len(SPACE.primitives))
    scores = evaluate_population(
        ranked.net,
        ranked.variables,
        unweighted({KIND: one_hot}),
        ranked.images,
        ranked.labels,
        batch_stats=batch_stats,
    )
    loss = np.asarray(scores.loss, np.float64)
    ours = {
        "loss": np.where(np.isnan(loss), -np.inf, -loss),
        "accuracy": np.asarray(scores.accuracy, np.float64),
    }
    theirs = {
        "valid_accuracy_12_epochs": np.asarray(table.valid)[rows],
        "test_accuracy_200_epochs": np.asarray(table.test)[rows],
    }
    correlations = [
        {"supernet": name, "table": other}
        | rank_correlations(own, values, resamples=resamples, seed=seed)
        for name, own in ours.items()
        for other, values in theirs.items()
    ]
    best = int(np.argmax(ours["loss"]))
    columns = {"supernet_loss": loss, "supernet_accuracy": ours["accuracy"], **theirs}
    return {
        "epochs": ranked.epochs,
        "cells": number,
        "images": len(ranked.labels),
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
