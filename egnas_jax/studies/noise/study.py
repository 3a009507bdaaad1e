"""From a run directory to how much of its fitness is noise."""

import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from egnas_jax.lookup import lookup
from egnas_jax.runs.finished_search import load, valid_batches
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.search import loop
from egnas_jax.storage import records
from egnas_jax.studies.noise import statistics
from egnas_jax.studies.noise.matrix import Matrix, matrices, of_cells, of_individuals
from egnas_jax.training.sgd import stream

CANDIDATES = {
    "individuals": "what the next exploration of EG-NAS would begin with",
    "cells": "derived cells drawn at random, one primitive an edge",
}
MOST_BATCHES = 20  # by default


class Request(NamedTuple):
    """What is to be evaluated; None takes what the run itself uses.

    Attributes:
      candidates: a name of `CANDIDATES`; None: individuals for EG-NAS, else cells.
      size: candidates P; None: the run's population, or 50.
      batches: M, disjoint; None: as many as there are, 20 at most.
      batch_size: images of each; None: the run's fitness batch.
      reliability: the repeatability of ranks (Spearman's rho of two such sets) for
        which batches are counted.
      seed: of candidates and batches.
    """

    candidates: str | None = None
    size: int | None = None
    batches: int | None = None
    batch_size: int | None = None
    reliability: float = 0.9
    seed: int = 0


class Study(NamedTuple):
    """What came out: the record (noise.json) and the matrices by statistics."""

    result: dict
    matrices: dict[str, Matrix]


def study(
    folder: pathlib.Path, data_dir: str | None, request: Request, report: Callable
) -> Study:
    """Prices candidates on many batches under a run's newest weights.

    Args:
      folder: of a search.
      data_dir: where its data are, or None for the usual places.
      request: what is to be evaluated.
      report: called with notes (`str`).

    Raises:
      ValueError: the folder holds no such run or no whole checkpoint; the request
        cannot be met by it.
    """
    searched = load(folder, data_dir, report)
    net, config, state = searched.net, searched.config, searched.state
    request = _completed(request, config, searched.run.programs.num_valid)
    started = time.perf_counter()
    key_draw = jax.random.fold_in(stream(request.seed, "noise"), state.epoch)
    if request.candidates == "individuals":
        candidates = of_individuals(
            net, config.strategy, state.strategy, key_draw, request.size
        )
    else:
        candidates = of_cells(net, key_draw, request.size)
    images, labels = valid_batches(
        searched, request.batches, request.batch_size, request.seed
    )
    found = matrices(candidates, state.variables, images, labels)
    return Study(
        {
            "run": str(folder),
            "epochs": int(state.epoch),
            "digest": loop.state_digest(state),
            **request._asdict(),
            **judged(found, request),
            "seconds": time.perf_counter() - started,
        },
        found,
    )


def _completed(request: Request, config: SearchConfig, num_valid: int) -> Request:
    """With what the run itself uses, checked."""
    has_individuals = config.strategy_name == "egnas"
    kind = request.candidates or ("individuals" if has_individuals else "cells")
    lookup(CANDIDATES, kind, "kind of candidates")
    if kind == "individuals" and not has_individuals:
        raise ValueError(
            f"The run is one of {config.strategy_name}, which draws no individuals. "
            f"Use --candidates cells."
        )
    own = config.strategy
    size = request.size or getattr(own, "population", 50)
    batch_size = request.batch_size or getattr(
        own, "fitness_batch_size", config.batch_size
    )
    batches = request.batches or min(num_valid // batch_size, MOST_BATCHES)
    if min(batches, size) < 2 or batch_size < 1 or batches * batch_size > num_valid:
        raise ValueError(
            f"{size} candidates on {batches} batches of {batch_size} images were asked "
            f"for. There must be at least 2 of either, and the run has {num_valid} "
            f"validation images for all batches: change --individuals, --batches or "
            f"--batch-size."
        )
    if not 0 < request.reliability < 1:
        raise ValueError(
            f"--reliability is {request.reliability}, but must be between 0 and 1."
        )
    return request._replace(
        candidates=kind, size=size, batches=batches, batch_size=batch_size
    )


def judged(found: dict[str, Matrix], request: Request) -> dict:
    """The figures of each kind of statistics, and of one against the other.

    Candidates that are not finite on some batch are left out of all and counted.
    """
    finite = np.all(
        [np.isfinite(matrix.fitness).all(axis=1) for matrix in found.values()], axis=0
    )
    if finite.sum() < 2:
        raise FloatingPointError(
            f"{len(finite) - finite.sum()} of {len(finite)} candidates have a fitness "
            f"that is not finite: nothing can be ranked."
        )
    whole = {name: _parts(matrix.of(finite), request) for name, matrix in found.items()}
    return {
        "not_finite": int(len(finite) - finite.sum()),
        "statistics": {
            name: {
                part: statistics.describe(
                    *own, reliability=request.reliability, seed=request.seed
                )
                for part, own in parts.items()
            }
            for name, parts in whole.items()
        },
        "running_against_batch": {
            part: _against(own, whole["batch"][part])
            for part, own in whole["running"].items()
        },
    }


class _Part(NamedTuple):
    """One figure of a matrix: on each batch [P, M], and on several together (None: by
    the mean)."""

    values: np.ndarray
    pool: statistics.Pool | None = None


def _parts(matrix: Matrix, request: Request) -> dict[str, _Part]:
    """What candidates are ranked by."""
    own = {"cross_entropy": _Part(matrix.cross_entropy)}
    if request.candidates == "cells":  # whose fitness it is
        return own
    return {"fitness": _Part(matrix.fitness, matrix.pooled)} | own


def _against(running: _Part, batch: _Part) -> dict:
    """How far the two kinds of statistics rank alike."""
    taus = [
        statistics.kendall(*pair)
        for pair in zip(running.values.T, batch.values.T, strict=True)
    ]
    taus = [tau for tau in taus if tau is not None]
    every = np.arange(running.values.shape[1])[None]
    ours, others = (
        (part.pool or statistics.mean_of(part.values))(every)[0]
        for part in (running, batch)
    )
    return {
        "kendall_on_all": statistics.kendall(ours, others),
        "kendall_on_one_batch": float(np.mean(taus)) if taus else None,
        "winner_on_all_same": bool(np.argmin(ours) == np.argmin(others)),
    }


def rows(found: dict[str, Matrix]) -> str:
    """The matrices as CSV, a line a candidate, batch and kind of statistics."""
    lines = [
        "statistics,candidate,batch,cross_entropy,correct,correct_current,"
        "similarity,fitness"
    ]
    for name, matrix in found.items():
        fitness = matrix.fitness
        for candidate, batch in np.ndindex(fitness.shape):
            values = (
                matrix.cross_entropy[candidate, batch],
                matrix.correct[candidate, batch],
                matrix.correct_current[batch],
                matrix.similarity[candidate],
                fitness[candidate, batch],
            )
            text = ",".join(f"{value:.9g}" for value in values)
            lines.append(f"{name},{candidate},{batch},{text}")
    return "\n".join(lines) + "\n"


def write(place: pathlib.Path, done: Study, picture: str) -> None:
    """noise.json, noise.csv and noise.svg of a directory, which is made."""
    place.mkdir(parents=True, exist_ok=True)
    records.write_json(place / "noise.json", done.result)
    records.write_text(place / "noise.csv", rows(done.matrices))
    records.write_text(place / "noise.svg", picture)
