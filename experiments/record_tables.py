"""Fills the cells of a record's table (see results.py) from the outcomes of runs."""

import statistics
from collections.abc import Mapping, Sequence

from methods import Outcome

from egnas_jax.studies.statistics import LEVEL, compare, summarise

# for the note of a table that counts passes
PASSES = "Passes: forward passes of an image of one search; a backward pass counts 2."


def column(name: str, decimals: int = 2) -> dict:
    """A column of numbers."""
    return {"name": name, "decimals": decimals}


def cell(values: Sequence[float], scale: float = 1.0) -> dict:
    """Mean, standard deviation and number of values over seeds."""
    summary = summarise([scale * value for value in values])
    return {"mean": summary.mean, "spread": summary.spread, "n": summary.n}


def known_cell(values: Sequence[float | None], scale: float = 1.0) -> dict | None:
    """A cell of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return cell(known, scale) if known else None


def p_value(values: Sequence[float], others: Sequence[float]) -> float | None:
    """p of a paired t test over seeds; None where it is undefined."""
    groups = {"values": dict(enumerate(values)), "others": dict(enumerate(others))}
    (comparison,) = compare(groups)
    return comparison.t_test


def interval(values: Sequence[float], scale: float = 1.0, level: float = LEVEL) -> str:
    """The confidence interval of the mean, in words."""
    summary = summarise([scale * value for value in values], level)
    if summary.low is None:
        return "one seed"
    return f"{summary.low:.2f} to {summary.high:.2f}"


def verdict(differences: Sequence[float], level: float = LEVEL) -> str:
    """What the interval of a difference in test error from random cells shows.

    Args:
      differences: error of a method minus that of random cells, one per seed.
      level: probability with which the interval covers the mean.
    """
    summary = summarise(list(differences), level)
    if summary.low is None:
        return "one seed: nothing can be said"
    if summary.high < 0:
        return "better than random cells"
    if summary.low > 0:
        return "worse than random cells"
    return "not told apart from random cells"


def by_method(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Method -> its outcomes, in their order."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.method, []).append(outcome)
    return groups


def search_table(outcomes: Sequence[Outcome], epochs: Sequence[int]) -> dict:
    """Columns, rows and seconds of a record of searches, a row for each method.

    Args:
      outcomes: of searches.
      epochs: numbers of epochs, from 1, after which accuracies are shown.
    """
    rows = [
        _search_row(method, group, epochs)
        for method, group in by_method(outcomes).items()
    ]
    return {
        "columns": [
            "method",
            column("valid. accuracy (%)", 1),
            f"after epochs {', '.join(map(str, epochs))}",
            column("passes for the choice", 0),
            column("seconds of all seeds", 0),
        ],
        "rows": rows,
        "seconds": sum(row[-1] for row in rows),
    }


def _search_row(method: str, group: list[Outcome], epochs: Sequence[int]) -> list:
    accuracies = [
        statistics.fmean(outcome.epochs[n - 1]["valid_accuracy"] for outcome in group)
        for n in epochs
    ]
    return [
        method,
        cell([outcome.summary["valid_accuracy"] for outcome in group], 100),
        ", ".join(f"{100 * accuracy:.1f}" for accuracy in accuracies),
        statistics.fmean(outcome.summary["search_cost"] for outcome in group),
        sum(outcome.summary["seconds"] for outcome in group),
    ]


def candidate_images(outcome: Outcome) -> float:
    """Forward passes of one image by which a search compared candidates."""
    return sum(record.get("candidate_images", 0) for record in outcome.epochs)


def error_table(outcomes: Sequence[Outcome], channels: Mapping[str, int]) -> dict:
    """Columns, rows and seconds of a record of trained cells, a row for each cell.

    Args:
      outcomes: of trainings.
      channels: cell -> channels of its network.
    """
    rows = []
    for name, group in by_method(outcomes).items():
        errors = [100 * outcome.summary["test_error_last"] for outcome in group]
        rows.append(
            [
                name,
                channels[name],
                group[0].summary["params"],
                ", ".join(f"{error:.2f}" for error in errors),
                cell(errors),
                sum(outcome.summary["seconds"] for outcome in group),
            ]
        )
    return {
        "columns": [
            "cell",
            column("channels", 0),
            column("weights", 0),
            "of each seed (%)",
            "test error (%)",
            column("seconds", 0),
        ],
        "rows": rows,
        "seconds": sum(row[-1] for row in rows),
    }


def genotypes(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The genotype that each search returned."""
    return {
        f"{outcome.method}, seed {outcome.seed}": outcome.summary["genotype"]
        for outcome in outcomes
    }
