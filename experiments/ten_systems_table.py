"""Makes the table of ten_systems.py, and words what it allows to say."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import record_tables
from search_cost import Cost
from ten_systems_runs import COMMON, CONTROL, QUOTED, Row

from egnas_jax.studies.statistics import Comparison, compare_with

COLUMNS = [
    "method",
    "setting",
    "test error (%)",
    "minus random search: interval (points)",
    "verdict",
    "weights",
    record_tables.column("weight steps", 0),
    record_tables.column("images to choose", 0),
    record_tables.column("seconds of a search", 0),
    "as quoted, CIFAR-10 (%)",
]
CLOSE = 0.01  # budgets that differ by a smaller share are called equal


class Result(NamedTuple):
    """What one seed of a row came to.

    Attributes:
      row, seed: which.
      error, best: test error after the last epoch, and the least of all epochs'.
      params: weights of the trained network.
      genotype: the cell.
      train_seconds: of the training.
      search_seconds: of the search; None without one.
      cost: of the search; None without one.
    """

    row: Row
    seed: int
    error: float
    best: float
    params: int
    genotype: str
    train_seconds: float
    search_seconds: float | None = None
    cost: Cost | None = None


def by_row(results: Sequence[Result]) -> dict[Row, list[Result]]:
    """Row -> its results: methods by their labels, and controls behind them."""
    groups: dict[Row, list[Result]] = {}
    for result in results:
        groups.setdefault(result.row, []).append(result)
    rows = sorted(groups, key=lambda row: (not row.setting, row.label.lower(), row))
    return {row: groups[row] for row in rows}


def comparisons_of(groups: Mapping[Row, Sequence[Result]]) -> dict[Row, Comparison]:
    """Every row but random search, minus random search, under one correction.

    Errors are in percent.
    """
    errors = {
        " ".join(filter(None, (row.name, row.setting))): {
            result.seed: 100 * result.error for result in group
        }
        for row, group in groups.items()
    }
    rows = dict(zip(errors, groups, strict=True))
    control = f"{CONTROL} {COMMON}"
    return {rows[one.first]: one for one in compare_with(control, errors)}


def make_rows(groups: Mapping[Row, Sequence[Result]]) -> list[list]:
    """Rows of the record, in the order of `COLUMNS`."""
    comparisons = comparisons_of(groups)
    return [make_row(row, group, comparisons.get(row)) for row, group in groups.items()]


def make_row(row: Row, group: Sequence[Result], one: Comparison | None) -> list:
    """The row of one method or control."""
    costs = [result.cost for result in group if result.cost]
    seconds = [result.search_seconds for result in group]
    quoted = QUOTED.get(row.name) if row.setting == COMMON else None
    return [
        row.label,
        row.setting,
        record_tables.cell([100 * result.error for result in group]),
        None if one is None else interval(one),
        None if one is None else verdict(one),
        _range([result.params for result in group]),
        statistics.fmean(cost.weight_steps for cost in costs) if costs else None,
        statistics.fmean(cost.choice_images for cost in costs) if costs else None,
        statistics.fmean(seconds) if costs else None,
        quoted and quoted.error,
    ]


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def interval(one: Comparison) -> str:
    """The interval of a difference, in words."""
    if one.low is None:
        return "one seed" if one.n == 1 else "equal differences"
    return f"{one.low:.2f} to {one.high:.2f}"


def verdict(one: Comparison) -> str:
    """What the interval of a difference in test error allows to say."""
    if one.low is None:
        return "nothing can be said"
    if one.high < 0:
        return "better than random search"
    if one.low > 0:
        return "worse than random search"
    return "not told apart from random search"


def claims(comparisons: Mapping[Row, Comparison]) -> str:
    """What all intervals together allow to say, as sentences."""
    groups: dict[str, list[tuple[Row, Comparison]]] = {}
    for row, one in comparisons.items():
        groups.setdefault(verdict(one), []).append((row, one))
    sentences = [
        _claim(said, groups[said])
        for said in (
            "better than random search",
            "worse than random search",
            "not told apart from random search",
            "nothing can be said",
        )
        if said in groups
    ]
    if "better than random search" not in groups:
        sentences.insert(0, "No row is shown to be better than random search.")
    return " ".join(sentences)


def _claim(said: str, rows: list[tuple[Row, Comparison]]) -> str:
    """The sentence about all rows of one verdict."""
    names = ", ".join(name_of(row) for row, _ in rows)
    if said == "nothing can be said":
        return f"Of these nothing can be said: {names}."
    low, high = min(one.low for _, one in rows), max(one.high for _, one in rows)
    if said.startswith("not"):
        return (
            f"Not told apart from it: {names}; their intervals reach from "
            f"{abs(min(low, 0)):.2f} points better to {max(high, 0):.2f} points worse, "
            f"and differences within them remain possible."
        )
    said = said[0].upper() + said[1:]
    return f"{said}: {names} (by {_size_of(rows)} points)."


def _size_of(rows: list[tuple[Row, Comparison]]) -> str:
    """The least and the largest size of differences that exclude zero."""
    ends = [abs(bound) for _, one in rows for bound in (one.low, one.high)]
    return f"{min(ends):.2f} to {max(ends):.2f}"


def name_of(row: Row) -> str:
    """A row in a sentence."""
    return row.label if row.setting in (None, COMMON) else f"{row.label}, {row.setting}"


def budgets(groups: Mapping[Row, Sequence[Result]], budget: int) -> str:
    """What the searches spent, as sentences.

    Args:
      groups: of `by_row`.
      budget: images by which a method of the common setting is to choose.
    """
    costs = {row: group[0].cost for row, group in groups.items() if group[0].cost}
    steps = sorted({cost.weight_steps for cost in costs.values()})
    taken = " or ".join(f"{number:,}" for number in steps)
    others = [
        f"{name_of(row)} {cost.choice_images:,.0f}"
        for row, cost in costs.items()
        if abs(cost.choice_images - budget) > CLOSE * budget
    ]
    apart = f" Other numbers: {', '.join(others)}." if others else ""
    return (
        f"A search takes {taken} weight steps, and {budget:,} forward passes of one "
        f"image to choose by; a forward and backward pass counts as three.{apart}"
    )


def sizes(groups: Mapping[Row, Sequence[Result]], target: int) -> str:
    """How far the sizes of the trained networks agree, as a sentence."""
    params = [result.params for group in groups.values() for result in group]
    apart = max(abs(number / target - 1) for number in params)
    return f"Every network has {target:,} weights within {100 * apart:.1f} %."
