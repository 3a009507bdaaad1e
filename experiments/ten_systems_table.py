"""Makes the table of ten_systems.py, and words what it allows to say."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import record_tables
from search_cost import Cost
from ten_systems_runs import COMMON, CONTROL, QUOTED, RANDOM_CELLS, Row

import egnas_jax as eg
from egnas_jax.space.primitive_names import FAMILIES
from egnas_jax.studies.statistics import Comparison, compare_pairs

CONTROLS = Row(CONTROL, COMMON), Row(RANDOM_CELLS)  # all others are compared with them
COLUMNS = [
    "method",
    "setting",
    "test error (%)",
    "of the best epoch (%)",
    *(f"minus {control.label}: interval (points)" for control in CONTROLS),
    record_tables.column("skips of both cells", 1),
    "weights",
    record_tables.column("weight steps", 0),
    record_tables.column("images to choose", 0),
    record_tables.column("seconds of a search", 0),
    "as quoted, CIFAR-10 (%)",
]
BETTER, WORSE = "better", "worse"
NOT_TOLD_APART, NOTHING_KNOWN = "not told apart", "nothing can be said"
VERDICTS = BETTER, WORSE, NOT_TOLD_APART, NOTHING_KNOWN
CLOSE = 0.01  # budgets that differ by a smaller share are called equal


class Result(NamedTuple):
    """What one seed of a row came to.

    Attributes:
      row, seed: which.
      error, best: test error after the last epoch, and the least of those measured.
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


def pairs_of(rows: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Every row with each control; the two controls are one pair."""
    search, cells = CONTROLS
    rows = list(rows)
    pairs = [(row, search) for row in rows if row != search]
    return pairs + [(row, cells) for row in rows if row not in CONTROLS]


def comparisons_of(
    groups: Mapping[Row, Sequence[Result]],
) -> dict[Row, dict[Row, Comparison]]:
    """Control -> every other row minus it, all under one correction.

    Errors are in percent. The two controls are compared once, and their comparison is
    in both parts.
    """
    names = {row: " ".join(filter(None, (row.name, row.setting))) for row in groups}
    errors = {
        names[row]: {result.seed: 100 * result.error for result in group}
        for row, group in groups.items()
    }
    pairs = [tuple(names[row] for row in pair) for pair in pairs_of(groups)]
    rows = {name: row for row, name in names.items()}
    parts: dict[Row, dict[Row, Comparison]] = {control: {} for control in CONTROLS}
    for one in compare_pairs(pairs, errors):
        first, second = rows[one.first], rows[one.second]
        parts[second][first] = one
        if first in parts:
            parts[first][second] = turned(one)
    return parts


def turned(one: Comparison) -> Comparison:
    """The comparison of the second group with the first."""
    low, high = one.low, one.high
    return one._replace(
        first=one.second,
        second=one.first,
        difference=-one.difference,
        low=None if high is None else -high,
        high=None if low is None else -low,
    )


def make_rows(groups: Mapping[Row, Sequence[Result]]) -> list[list]:
    """Rows of the record, in the order of `COLUMNS`."""
    parts = comparisons_of(groups)
    return [
        make_row(row, group, [parts[control].get(row) for control in CONTROLS])
        for row, group in groups.items()
    ]


def make_row(
    row: Row, group: Sequence[Result], compared: Sequence[Comparison | None]
) -> list:
    """The row of one method or control.

    Args:
      row, group: it and its results.
      compared: with each of `CONTROLS`; None for a control itself.
    """
    costs = [result.cost for result in group if result.cost]
    seconds = [result.search_seconds for result in group]
    quoted = QUOTED.get(row.name) if row.setting == COMMON else None
    return [
        row.label,
        row.setting,
        record_tables.cell([100 * result.error for result in group]),
        record_tables.cell([100 * result.best for result in group]),
        *(one and f"{interval(one)}, {verdict(one)}" for one in compared),
        record_tables.cell([num_skips(result.genotype) for result in group]),
        _range([result.params for result in group]),
        statistics.fmean(cost.weight_steps for cost in costs) if costs else None,
        statistics.fmean(cost.choice_images for cost in costs) if costs else None,
        statistics.fmean(seconds) if costs else None,
        quoted and quoted.error,
    ]


def num_skips(genotype: str) -> int:
    """Number of skips in the normal and the reduction cell together."""
    cells = eg.Genotype.parse(genotype)
    kinds = ("normal", "reduce")
    kept = [name for kind in kinds for name in cells.primitives_of(kind)]
    return sum(FAMILIES[name] == "skip" for name in kept)


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def interval(one: Comparison) -> str:
    """The interval of a difference, in words."""
    if one.low is None:
        return "one seed" if one.n == 1 else "equal differences"
    return f"{one.low:.2f} to {one.high:.2f}"


def verdict(one: Comparison) -> str:
    """What the interval of a difference in test error allows to say of the first."""
    if one.low is None:
        return NOTHING_KNOWN
    if one.high < 0:
        return BETTER
    return WORSE if one.low > 0 else NOT_TOLD_APART


def holm_note(parts: Mapping[Row, Mapping[Row, Comparison]], seeds: int) -> str:
    """What the intervals of all comparisons promise together, as a sentence.

    Args:
      parts: the result of `comparisons_of`.
      seeds: number of seeds over which they are paired.
    """
    search, cells = CONTROLS
    others = [one for row, one in parts[cells].items() if row != search]
    ones = [*parts[search].values(), *others]
    known = sum(one.low is not None for one in ones)
    if not known:
        return (
            f"None of {len(ones)} comparisons, paired over {seeds} seed(s), has an "
            f"interval."
        )
    named = f"all {known} comparisons"
    if known < len(ones):
        named = f"the {known} of {len(ones)} comparisons that have an interval"
    return (
        f"Of {named}, paired over {seeds} seed(s), an interval excludes 0 exactly "
        f"where Holm's procedure rejects, and with probability 0.95 none does so "
        f"wrongly."
    )


def claims(control: Row, comparisons: Mapping[Row, Comparison]) -> str:
    """What the comparisons with a control allow to say, as sentences.

    Args:
      control: with which the others are compared.
      comparisons: a part of `comparisons_of`.
    """
    groups: dict[str, list[tuple[Row, Comparison]]] = {}
    for row, one in comparisons.items():
        groups.setdefault(verdict(one), []).append((row, one))
    name = name_of(control)
    sentences = [
        _claim(said, name, groups[said]) for said in VERDICTS if said in groups
    ]
    if BETTER not in groups:
        sentences.insert(0, f"No row is shown to be better than {name}.")
    return " ".join(sentences)


def _claim(said: str, control: str, rows: list[tuple[Row, Comparison]]) -> str:
    """The sentence about all rows of one verdict."""
    names = ", ".join(name_of(row) for row, _ in rows)
    if said == NOTHING_KNOWN:
        return f"Beside {control} nothing can be said of these: {names}."
    low, high = min(one.low for _, one in rows), max(one.high for _, one in rows)
    if said == NOT_TOLD_APART:
        return (
            f"Not told apart from {control}: {names}; their intervals reach from "
            f"{abs(min(low, 0)):.2f} points better to {max(high, 0):.2f} points worse, "
            f"and differences within them remain possible."
        )
    return f"{said.capitalize()} than {control}: {names} (by {_size_of(rows)} points)."


def _size_of(rows: list[tuple[Row, Comparison]]) -> str:
    """The least and the largest size of differences that exclude zero."""
    ends = [abs(bound) for _, one in rows for bound in (one.low, one.high)]
    return f"{min(ends):.2f} to {max(ends):.2f}"


def name_of(row: Row) -> str:
    """A row in a sentence."""
    return row.label if row.setting in (None, COMMON) else f"{row.label} {row.setting}"


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
