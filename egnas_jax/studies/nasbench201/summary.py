"""Summarises table searches as JSON entries, CSV rows and a Markdown table.

Regret is the best test accuracy of the table minus that of a cell: the one with the
best validation accuracy so far, or the one that the method returns.
"""

import numpy as np

from egnas_jax.studies.nasbench201.table import BenchmarkTable
from egnas_jax.studies.nasbench201.table_search import Curves
from egnas_jax.studies.statistics import LEVEL, Interval, mean_interval, summarise
from egnas_jax.studies.tables import csv_text, interval_text, markdown_table

COLUMNS = (
    "method|runs|queries|test accuracy of the answer (%)|regret of the incumbent|"
    "of the answer|runs at the optimum"
)


def summarise_method(
    name: str,
    settings: list[dict[str, float]],
    curves: Curves,
    at_queries: np.ndarray,
    optimum: float,
    *,
    options: dict,
    seen: str = "valid_accuracy",
) -> list[dict]:
    """One entry for every setting of a method.

    Accuracies are fractions, except in "test_accuracy": that of the cell that the
    method answers after the last query, in percent.

    Args:
      name: name of the method.
      settings: values of the swept hyperparameters.
      curves: all runs of the method.
      at_queries: numbers of queries at which the curves are kept.
      optimum: best test accuracy of the table.
      options: all options of the method, of which `settings` replace some.
      seen: what the searches see of a cell: "valid_accuracy", or its "score", which is
        the fraction of all cells with a lower one (`scored_table`).
    """
    entries = []
    for index, setting in enumerate(settings):
        valid, test = curves.valid[index], curves.test[index]
        samples = {
            seen: valid,
            "test_accuracy": test,
            "test_regret": optimum - test,
        }
        bands = {key: mean_interval(values) for key, values in samples.items()}
        entries.append(
            {
                "method": name,
                "setting": setting,
                "settings": options | setting,
                "runs": len(test),
                "queries": at_queries.tolist(),
                "curves": {key: _lists(band) for key, band in bands.items()},
                "final": {key: _last(band) for key, band in bands.items()},
                "test_accuracy": _percent_summary(curves.answer[index]),
                "answer_regret": _last(mean_interval(optimum - curves.answer[index])),
                "optimum_found": float(np.mean(test[:, -1] >= optimum)),
            }
        )
    return entries


def _percent_summary(accuracies: np.ndarray) -> dict:
    """Mean, deviation and interval of the mean, in percent; None for a single run."""
    summary = summarise(100.0 * accuracies.astype(np.float64))
    return {
        "mean": summary.mean,
        "sd": summary.spread,
        "low": summary.low,
        "high": summary.high,
        "n": summary.n,
    }


def _lists(band: Interval) -> dict:
    return {key: values.tolist() for key, values in band._asdict().items()}


def _last(band: Interval) -> dict:
    return {key: float(np.ravel(value)[-1]) for key, value in band._asdict().items()}


def curves_csv(entries: list[dict]) -> str:
    """A line for every point of every curve, with the bounds of its interval."""
    names = sorted({key for entry in entries for key in entry["setting"]})
    parts = [
        (curve, part) for curve in entries[0]["curves"] for part in Interval._fields
    ]
    bounds = [f"{curve}_{part}" for curve, part in parts]
    rows = [["method", *names, "runs", "queries", *bounds]]
    for entry in entries:
        values = [entry["setting"].get(key, "") for key in names]
        columns = [entry["curves"][curve][part] for curve, part in parts]
        rows += [
            [entry["method"], *values, entry["runs"], *point]
            for point in zip(entry["queries"], *columns, strict=True)
        ]
    return csv_text(rows)


def label(entry: dict) -> str:
    """Method and setting in a few words."""
    setting = ", ".join(f"{key} {value:g}" for key, value in entry["setting"].items())
    return f"{entry['method']} ({setting})" if setting else entry["method"]


def best_by_validation_regret(table: BenchmarkTable) -> float:
    """Test regret of the table's best cell by validation accuracy; the mean over ties.

    This is the regret of a search that knows every validation accuracy.
    """
    best = np.asarray(table.valid == table.valid.max())
    return float(table.test.max() - np.asarray(table.test)[best].mean())


def markdown(
    entries: list[dict],
    optimum: float,
    selected: float,
    by: str = "validation accuracy",
) -> str:
    """The final regrets, in percentage points, as a table for people.

    Args:
      entries: results of `summarise_method`.
      optimum: best test accuracy of the table.
      selected: result of `best_by_validation_regret`.
      by: what the searches see of a cell.
    """
    introduction = (
        f"Test regret in percentage points to the optimum of {100 * optimum:.2f} %, "
        f"mean over runs and {100 * LEVEL:.0f} % interval; the incumbent is the best "
        f"cell by {by}, the answer is the cell that the method returns. The best cell "
        f"of the table by {by} (the mean of those that tie) has {100 * selected:.3f}."
    )
    rows = [
        (
            label(entry),
            entry["runs"],
            entry["queries"][-1],
            mean_and_deviation(entry["test_accuracy"]),
            _percent(entry["final"]["test_regret"]),
            _percent(entry["answer_regret"]),
            f"{100 * entry['optimum_found']:.1f} %",
        )
        for entry in entries
    ]
    return f"{introduction}\n\n{markdown_table(COLUMNS.split('|'), rows)}"


def mean_and_deviation(accuracy: dict) -> str:
    """Mean and standard deviation, which a single run lacks."""
    if accuracy["sd"] is None:
        return f"{accuracy['mean']:.2f}"
    return f"{accuracy['mean']:.2f} ± {accuracy['sd']:.2f}"


def _percent(interval: dict) -> str:
    return interval_text(*(100 * interval[part] for part in Interval._fields))
