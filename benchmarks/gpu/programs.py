"""Builds the rows of the campaign from their names."""

from collections.abc import Callable

from benchmarks import parity, rows, together
from benchmarks.gpu import cell_rows
from benchmarks.gpu.sizes import Size

STEPS = 8  # weight steps of a call, as in a search


def build(size: Size, case: str, program: str, precision: str) -> rows.Row:
    """Builds a row.

    Args:
      size: of the campaign.
      case: key of `parity.case_named`, for population and weight step.
      program: "population-running", "population-batch", "weight-step",
        "retraining-step", "train-of-K" or "evolve-of-K" with K searches together, or
        "CELL-in-LOWERING", one cell of `cell_rows.build`.
      precision: a key of `rows.PRECISIONS`.
    """
    if of_cell := lowering_of(program):
        cell, lowering = of_cell
        return cell_rows.build(parity.case_named(case), cell, precision, lowering)
    name, _, count = program.partition("-of-")
    if count:
        make = {"train": together.train, "evolve": together.evolve}[name]
        return make(size.plan, precision, int(count))
    if name == "retraining-step":
        return rows.retrain(parity.case_named(case), size.recipe, precision)
    return _OF_CASES[name](parity.case_named(case), precision)


def lowering_of(program: str) -> tuple[str, str] | None:
    """The cell's program and its lowering; None where a program is not of one cell."""
    cell, _, lowering = program.partition("-in-")
    return (cell, lowering) if lowering else None


def _population(batch_stats: str) -> Callable:
    def make(case: parity.Case, precision: str) -> rows.Row:
        return rows.population(case, parity.draw(case), precision, batch_stats)

    return make


def _weight_step(case: parity.Case, precision: str) -> rows.Row:
    return rows.steps(case, parity.draw(case), precision, STEPS)


_OF_CASES = {
    "population-running": _population("running"),
    "population-batch": _population("batch"),
    "weight-step": _weight_step,
}
