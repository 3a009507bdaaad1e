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
from egnas_jax.space import Genotype, Topology, derive
from egnas_jax.storage import records
from egnas_jax.studies.selection.agreement import agreement, mean_agreement
from egnas_jax.studies.selection.cells import (
    CellWeights,
    SelectionProblem,
    stacked,
)
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
    check_finetune,
    selector_names,
)
from egnas_jax.studies.selection.table import selection_markdown
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
      genotypes: name of the selector -> its cell.
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
      ValueError: there is no such run, selector or option; the run has no weights, or
        fewer validation images; or it searched under limits, or in stages. Nothing was
        written.
      FloatingPointError: the loss of the supernet is not finite.
    """
    names, chosen = selector_names(by), SelectionOptions(**options)
    check_finetune(names, chosen.finetune)
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
        rows, cells = _select_all(names, problem, bench, log)
        result = {
            "run": None if run.folder is None else str(run.folder),
            "epochs": int(run.state.epoch),
            "digest": loop.state_digest(run.state),
            **dataclasses.asdict(chosen),
            "selectors": rows,
            "agreement": _pairs(cells),
            "seconds": time.perf_counter() - started,
        }
        study = SelectionStudy(result, {n: cell.genotype for n, cell in cells.items()})
        if out is not None:
            write(pathlib.Path(out), study)
    return study


def _select_all(
    names: Sequence[str],
    problem: SelectionProblem,
    bench: Bench,
    log: Callable[[str], None],
) -> tuple[list[dict], dict[str, SelectedCell]]:
    """The row of each selector, and its cell."""
    rows, cells = [], {}
    for name in names:
        log(f"Selecting by {name}: {SELECTORS[name].text}.")
        started, before = time.perf_counter(), bench.images()
        number = problem.options.seeds if SELECTORS[name].draws else 1
        seeds = range(problem.seed, problem.seed + number)
        found = [
            _select_one(name, problem._replace(seed=seed), bench) for seed in seeds
        ]
        cells[name] = found[int(np.argmax([each.accuracy for each in found]))]
        rows.append(
            {
                "selector": name,
                **_as_row(cells[name]),
                "params": published_params(
                    cells[name].genotype, problem.space.stages, bench.num_classes
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
    return rows, cells


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


def _pairs(cells: dict[str, SelectedCell]) -> list[dict]:
    """What each pair of selectors agrees on."""
    names = list(cells)
    return [
        {
            "first": first,
            "second": second,
            **agreement(cells[first].cell, cells[second].cell)._asdict(),
        }
        for place, first in enumerate(names)
        for second in names[place + 1 :]
    ]


def write(folder: pathlib.Path, study: SelectionStudy) -> None:
    """Writes selection.json, selection.md and the genotypes, making the folder.

    Args:
      folder: a run directory, or any other.
      study: what is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, genotype in study.genotypes.items():
        records.write_text(folder / f"selection_{name}.json", genotype.to_json())
    records.write_text(folder / "selection.md", selection_markdown(study.result))
    records.write_json(folder / "selection.json", study.result)
