"""Runs selectors on a searched supernet: from a run to selection.json and genotypes."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from egnas_jax.nn.network_cost import published_params
from egnas_jax.runs.data import ArrayData
from egnas_jax.runs.failures import running
from egnas_jax.runs.finished_search import load_search
from egnas_jax.runs.search_result import SearchResult
from egnas_jax.search import loop
from egnas_jax.space import Genotype, Space, Topology, derive
from egnas_jax.studies.selection.agreement import agreements, mean_agreement
from egnas_jax.studies.selection.cells import (
    CellWeights,
    SelectionProblem,
    edges_of_cell,
    stacked,
)
from egnas_jax.studies.selection.files import (
    cells_of,
    genotypes_of,
    read_earlier,
    write,
)
from egnas_jax.studies.selection.merge import Merged, merge
from egnas_jax.studies.selection.options import SelectionOptions
from egnas_jax.studies.selection.problem import (
    Bench,
    complete,
    discrete_cell,
    make_problem,
    strategy_of,
)
from egnas_jax.studies.selection.score import as_mixing
from egnas_jax.studies.selection.selectors import (
    SELECTORS,
    check_used,
    selector_names,
)
from egnas_jax.training.jax_settings import pinned


class SelectedCell(NamedTuple):
    """What a selector found with one seed.

    Attributes:
      genotype: the cell.
      cell: the same as one-hot rows [G, E, K] and edges of 0 and 1 [G, E].
      accuracy, loss: of the cell under the shared weights, on all batches.
      trace: what was decided by which scores.
    """

    genotype: Genotype | Topology
    cell: CellWeights
    accuracy: float
    loss: float
    trace: dict


class SelectionStudy(NamedTuple):
    """Outcome of a study.

    Attributes:
      result: contents of selection.json.
      genotypes: name of the selector -> its cell, of all that the result has.
    """

    result: dict
    genotypes: dict[str, Genotype | Topology]


@pinned()
def select(
    run: SearchResult | str | pathlib.Path,
    *,
    by: str | Sequence[str] = "all",
    out: str | pathlib.Path | None = None,
    data: ArrayData | None = None,
    data_dir: str | pathlib.Path | None = None,
    settings: Mapping[str, Any] | None = None,
    log: Callable[[str], None] | None = None,
    **options: Any,
) -> SelectionStudy:
    """Selects cells from a searched supernet by several rules, side by side.

    The weights are those of the newest checkpoint. No selector changes those of
    another, and every cell is scored by them. A selector that draws is run with each
    seed, and its cell is the one of the best accuracy, of equal ones the first.
    docs/selectors.md describes the selectors.

    Cells of other selectors in `out` stay in the result if they were selected from the
    same weights by the same options. Otherwise they are removed.

    Args:
      run: a result of `run_search`, or the directory of one.
      by: names of selectors, or "all".
      out: folder for selection.json, selection.md and a selection_NAME.json for each
        genotype, made where it is missing; None writes nothing.
      data: the arrays that the search was given, if it was given arrays.
      data_dir: where the run's data are; None: where the run found them.
      settings: {"data.path": FILE} where the run's own .npz was moved.
      log: called with messages; None: no messages.
      **options: fields of `SelectionOptions`: batches, batch_size, batch_stats
        ("batch" or "running"), criterion ("accuracy" or "loss"), seeds, seed,
        permutations, truncation, value ("mean-std" or "mean"), finetune (epochs).

    Returns:
      The table as plain data, and the genotypes.

    Raises:
      ValueError: there is no such run, selector or option; no selector uses an option
        that is not its default; the run has no weights, or fewer validation images; or
        it searched under limits, or in stages. Nothing was written.
      FloatingPointError: the loss of the supernet is not finite.
    """
    names, chosen = selector_names(by), SelectionOptions(**options)
    check_used(names, chosen)
    log = log or (lambda text: None)
    if not isinstance(run, SearchResult):
        run = load_search(run, data_dir=data_dir, settings=settings, log=log)
    elif data_dir is not None:
        run = run._replace(data_dir=data_dir)
    strategy = strategy_of(run)
    chosen = complete(chosen, run)
    started = time.perf_counter()
    problem, bench = make_problem(run, strategy, chosen, data)
    with running():
        digest = loop.state_digest(run.state)
        earlier = {} if out is None else read_earlier(out, problem.space, digest, log)
        rows = _select_all(names, problem, bench, log)
        merged = merge(earlier, rows, dataclasses.asdict(chosen))
        result = {
            "run": None if run.folder is None else str(run.folder),
            "epochs": int(run.state.epoch),
            "digest": digest,
            **_as_result(merged, problem.space),
            "seconds": time.perf_counter() - started,
        }
        study = SelectionStudy(result, genotypes_of(merged.rows))
        if out is not None:
            write(out, *study)
            _log_removed(merged.removed, log)
    return study


def _as_result(merged: Merged, space: Space) -> dict:
    """Options, rows, and what each pair of cells agrees on."""
    cells = cells_of(space, merged.rows)
    return {
        **merged.options,
        "selectors": merged.rows,
        "agreement": agreements(cells),
    }


def _log_removed(names: Sequence[str], log: Callable[[str], None]) -> None:
    """Names the selectors whose earlier cells were removed."""
    if names:
        log(f"Removed cells of {', '.join(names)}, selected by other options.")


def _select_all(
    names: Sequence[str],
    problem: SelectionProblem,
    bench: Bench,
    log: Callable[[str], None],
) -> list[dict]:
    """The row of each selector."""
    rows = []
    for name in names:
        log(f"Selecting by {name}: {SELECTORS[name].text}.")
        started, before = time.perf_counter(), bench.images()
        number = problem.options.seeds if SELECTORS[name].draws else 1
        seeds = range(problem.seed, problem.seed + number)
        found = [
            _select_one(name, problem._replace(seed=seed), bench) for seed in seeds
        ]
        best = found[int(np.argmax([each.accuracy for each in found]))]
        rows.append(
            {
                "selector": name,
                **_as_row(best),
                "cell": edges_of_cell(problem.space, best.cell),
                "params": published_params(
                    best.genotype, problem.space.stages, bench.num_classes
                ),
                **{k: n - before[k] for k, n in bench.images().items()},
                "seconds": time.perf_counter() - started,
                "seed_agreement": mean_agreement([each.cell for each in found]),
                "by_seed": [
                    {"seed": seed, **_as_row(each), "trace": each.trace}
                    for seed, each in zip(seeds, found, strict=True)
                ],
            }
        )
    return rows


def _as_row(found: SelectedCell) -> dict:
    """A cell and its scores."""
    return {
        "genotype": found.genotype.format(),
        "valid_accuracy": found.accuracy,
        "valid_loss": found.loss,
    }


def _select_one(name: str, problem: SelectionProblem, bench: Bench) -> SelectedCell:
    """The cell of a selector, and how it scores under the weights of the run."""
    selector = SELECTORS[name]
    tuning = bench.tuning
    if tuning is not None and selector.finetunes:
        selection = selector.select(problem._replace(finetune=tuning))
        tuning.reset()
    else:
        selection = selector.select(problem)
    cell = discrete_cell(problem.space, selection.weights)
    scores = problem.score(stacked([cell]))
    return SelectedCell(
        genotype=derive(problem.space, as_mixing(problem.space, selection.weights)),
        cell=cell,
        accuracy=float(scores.accuracy[0]),
        loss=float(scores.loss[0]),
        trace=selection.trace,
    )
