"""Runs a noise study: from a run directory to noise.json, noise.csv and noise.svg."""

import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from egnas_jax.lookup import lookup
from egnas_jax.runs.finished_search import check_trained, load_search, valid_batches
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.search import loop
from egnas_jax.storage import records
from egnas_jax.studies.noise.matrix import (
    Matrix,
    draw_cells,
    draw_individuals,
    evaluate_matrices,
)
from egnas_jax.studies.noise.repeatability import Pool, describe, mean_pool
from egnas_jax.studies.statistics import kendall
from egnas_jax.studies.tables import csv_text
from egnas_jax.training.jax_settings import pinned
from egnas_jax.training.random_streams import stream

CANDIDATES = {
    "individuals": "the population with which EG-NAS's next exploration would begin",
    "cells": "random derived cells, one primitive on each edge",
}
MOST_BATCHES = 20  # where the request names no number
CSV_COLUMNS = (
    "statistics candidate batch cross_entropy correct correct_current similarity "
    "fitness"
)


class NoiseRequest(NamedTuple):
    """What to evaluate; None stands for what the run itself uses.

    Attributes:
      candidates: a name in `CANDIDATES`; None: individuals for EG-NAS, else cells.
      size: number of candidates P; None: the run's population, or 50.
      batches: number of disjoint batches M; None: all there are, at most 20.
      batch_size: images of a batch; None: those by which the run chooses, `batch_of`.
      reliability: repeatability of ranks (Spearman's rho of two sets of batches) for
        which the study computes the number of batches.
      seed: seed of candidates and batches.
    """

    candidates: str | None = None
    size: int | None = None
    batches: int | None = None
    batch_size: int | None = None
    reliability: float = 0.9
    seed: int = 0


class NoiseStudy(NamedTuple):
    """Outcome of a study.

    Attributes:
      result: contents of noise.json.
      matrices: batch statistics -> scores.
    """

    result: dict
    matrices: dict[str, Matrix]


class Metric(NamedTuple):
    """A metric by which candidates are ranked.

    Attributes:
      values: the metric on each batch, [P, M]; lower is better.
      pool: the metric on several batches together; None for the mean of the values.
    """

    values: np.ndarray
    pool: Pool | None = None


@pinned()
def run_study(
    folder: pathlib.Path,
    data_dir: str | None,
    request: NoiseRequest,
    log: Callable,
    *,
    settings: Mapping[str, Any] | None = None,
) -> NoiseStudy:
    """Evaluates candidates on many batches under a run's newest weights.

    Args:
      folder: run directory of a search.
      data_dir: folder of the run's data, or None for the usual places.
      request: what to evaluate.
      log: called with messages (`str`).
      settings: {"data.path": FILE} where the run's .npz was moved.

    Raises:
      ValueError: the folder holds no such run or no complete checkpoint, or the run
        cannot serve the request.
    """
    search = load_search(folder, data_dir=data_dir, settings=settings, log=log)
    net, config, state = search.net, search.config, search.state
    if net.config.live is not None:
        raise ValueError(
            f"{folder} is a run of {config.strategy_name}, whose last supernet lacks "
            f"most primitives, so random cells cannot be evaluated. Study a run whose "
            f"supernet has all, of darts, say."
        )
    check_trained(search)
    request = complete(request, config, search.num_valid)
    started = time.perf_counter()
    key = jax.random.fold_in(stream(request.seed, "noise"), state.epoch)
    if request.candidates == "individuals":
        candidates = draw_individuals(
            net, config.strategy, state.strategy, key, request.size
        )
    else:
        candidates = draw_cells(net, key, request.size)
    images, labels = valid_batches(
        search, request.batches, request.batch_size, request.seed
    )
    matrices = evaluate_matrices(candidates, state.variables, images, labels)
    result = {
        "run": str(folder),
        "epochs": int(state.epoch),
        "digest": loop.state_digest(state),
        **request._asdict(),
        **describe_matrices(matrices, request),
        "seconds": time.perf_counter() - started,
    }
    return NoiseStudy(result, matrices)


def complete(
    request: NoiseRequest, config: SearchConfig, num_valid: int
) -> NoiseRequest:
    """The request with the run's own values for None.

    Args:
      request: what to evaluate.
      config: configuration of the run.
      num_valid: number of its validation images.

    Raises:
      ValueError: the run cannot serve the request.
    """
    has_individuals = config.strategy_name == "egnas"
    kind = request.candidates or ("individuals" if has_individuals else "cells")
    lookup(CANDIDATES, kind, "kind of candidates")
    if kind == "individuals" and not has_individuals:
        raise ValueError(
            f"The run is one of {config.strategy_name}, which draws no individuals. "
            f"Use --candidates cells."
        )
    strategy = config.strategy
    size = request.size or (strategy.population if has_individuals else 50)
    batch_size = request.batch_size or batch_of(config)
    batches = request.batches or min(num_valid // batch_size, MOST_BATCHES)
    if min(batches, size) < 2 or batch_size < 1 or batches * batch_size > num_valid:
        raise ValueError(
            f"The study would evaluate {size} candidates on {batches} batches of "
            f"{batch_size} images. There must be at least 2 of either, and the run has "
            f"{num_valid} validation images for all batches: change --individuals, "
            f"--batches or --batch-size."
        )
    if not 0 < request.reliability < 1:
        raise ValueError(
            f"--reliability is {request.reliability}, but must be between 0 and 1."
        )
    return request._replace(
        candidates=kind, size=size, batches=batches, batch_size=batch_size
    )


def batch_of(config: SearchConfig) -> int:
    """The number of images by which a method chooses: of a fitness or of a gradient.

    A method that chooses by no validation image, as SNAS does, has the batch of the
    weights, whose gradient it learns from.

    Args:
      config: of the search.
    """
    strategy = config.strategy
    # EG-NAS may take the mean over several batches of the size that is studied.
    own = getattr(strategy, "fitness_batch_size", strategy.valid_batch_size)
    return own if own > 1 else config.batch_size


def describe_matrices(matrices: dict[str, Matrix], request: NoiseRequest) -> dict:
    """Measures of each kind of statistics, and of one kind against the other.

    Candidates whose fitness is not finite on some batch are left out and counted.

    Raises:
      FloatingPointError: fewer than two candidates remain.
    """
    finite = np.all(
        [np.isfinite(matrix.fitness).all(axis=1) for matrix in matrices.values()],
        axis=0,
    )
    num_broken = int(len(finite) - finite.sum())
    if finite.sum() < 2:
        raise FloatingPointError(
            f"{num_broken} of {len(finite)} candidates have a fitness that is not "
            f"finite, so there is nothing to rank."
        )
    metrics = {
        kind: _metrics(matrix.select(finite), request)
        for kind, matrix in matrices.items()
    }
    options = dict(reliability=request.reliability, seed=request.seed)
    return {
        "not_finite": num_broken,
        "statistics": {
            kind: {name: describe(*metric, **options) for name, metric in named.items()}
            for kind, named in metrics.items()
        },
        "running_against_batch": {
            name: _compare_kinds(metric, metrics["batch"][name])
            for name, metric in metrics["running"].items()
        },
    }


def _metrics(matrix: Matrix, request: NoiseRequest) -> dict[str, Metric]:
    """The metrics by which candidates are ranked."""
    metrics = {"cross_entropy": Metric(matrix.cross_entropy)}
    if request.candidates == "cells":  # their fitness is the cross entropy
        return metrics
    return {"fitness": Metric(matrix.fitness, matrix.pooled)} | metrics


def _compare_kinds(running: Metric, batch: Metric) -> dict:
    """Agreement of the ranks under running statistics and under batch statistics."""
    columns = zip(running.values.T, batch.values.T, strict=True)
    taus = [tau for pair in columns if (tau := kendall(*pair)) is not None]
    all_batches = np.arange(running.values.shape[1])[None]
    by_running, by_batch = (
        (metric.pool or mean_pool(metric.values))(all_batches)[0]
        for metric in (running, batch)
    )
    return {
        "kendall_on_all": kendall(by_running, by_batch),
        "kendall_on_one_batch": float(np.mean(taus)) if taus else None,
        "winner_on_all_same": bool(np.argmin(by_running) == np.argmin(by_batch)),
    }


def matrices_csv(matrices: dict[str, Matrix]) -> str:
    """A line for every kind of statistics, candidate and batch."""
    rows: list[list] = [CSV_COLUMNS.split()]
    for kind, matrix in matrices.items():
        fitness = matrix.fitness
        for candidate, batch in np.ndindex(fitness.shape):
            values = (
                matrix.cross_entropy[candidate, batch],
                matrix.correct[candidate, batch],
                matrix.correct_current[batch],
                matrix.similarity[candidate],
                fitness[candidate, batch],
            )
            texts = [f"{value:.9g}" for value in values]
            rows.append([kind, candidate, batch, *texts])
    return csv_text(rows)


def write(folder: pathlib.Path, study: NoiseStudy, svg: str) -> None:
    """Writes noise.json, noise.csv and noise.svg, making the folder if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    records.write_json(folder / "noise.json", study.result)
    records.write_text(folder / "noise.csv", matrices_csv(study.matrices))
    records.write_text(folder / "noise.svg", svg)
