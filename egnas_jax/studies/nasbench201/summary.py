"""What searches in a table amount to: figures, rows of a CSV, a table for people.

Regret is the best test accuracy of the table less that of the cell in question: of the
cell that looks best by validation accuracy, or of the one that the method names.
"""

import csv
import io

import numpy as np

from egnas_jax.studies.nasbench201.search import Curves
from egnas_jax.studies.nasbench201.statistics import LEVEL, Interval, mean_interval
from egnas_jax.studies.nasbench201.table import Table

CURVES = ("valid_accuracy", "test_accuracy", "test_regret")


def summarise(
    name: str,
    settings: list[dict[str, float]],
    curves: Curves,
    shown: np.ndarray,
    optimum: float,
) -> list[dict]:
    """One entry for every setting of a method; accuracies are fractions.

    Args:
      name: of the method.
      settings: values of the swept numbers.
      curves: of all runs.
      shown: numbers of queries of the curves.
      optimum: best test accuracy of the table.
    """
    entries = []
    for index, setting in enumerate(settings):
        valid, test = curves.valid[index], curves.test[index]
        samples = dict(zip(CURVES, (valid, test, optimum - test), strict=True))
        bands = {key: mean_interval(values) for key, values in samples.items()}
        entries.append(
            {
                "method": name,
                "setting": setting,
                "runs": len(test),
                "queries": shown.tolist(),
                "curves": {key: _lists(band) for key, band in bands.items()},
                "final": {key: _last(band) for key, band in bands.items()},
                "answer_regret": _last(mean_interval(optimum - curves.answer[index])),
                "optimum_found": float(np.mean(test[:, -1] >= optimum)),
            }
        )
    return entries


def _lists(band: Interval) -> dict:
    return {key: values.tolist() for key, values in band._asdict().items()}


def _last(band: Interval) -> dict:
    return {key: float(np.ravel(value)[-1]) for key, value in band._asdict().items()}


def as_csv(entries: list[dict]) -> str:
    """A line for every point of every curve, with the bounds of its interval."""
    names = sorted({key for entry in entries for key in entry["setting"]})
    bounds = [f"{curve}_{part}" for curve in CURVES for part in Interval._fields]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", *names, "runs", "queries", *bounds])
    for entry in entries:
        values = [entry["setting"].get(key, "") for key in names]
        head = [entry["method"], *values, entry["runs"]]
        columns = [
            entry["curves"][curve][part]
            for curve in CURVES
            for part in Interval._fields
        ]
        for point in zip(entry["queries"], *columns, strict=True):
            writer.writerow([*head, *point])
    return text.getvalue()


def label(entry: dict) -> str:
    """Method and setting in a few words."""
    setting = ", ".join(f"{key} {value:g}" for key, value in entry["setting"].items())
    return f"{entry['method']} ({setting})" if setting else entry["method"]


def best_by_validation_regret(table: Table) -> float:
    """Test regret of the cell that is best by validation accuracy, the mean of those
    that tie: what a search that sees all of the table but its tests comes to."""
    best = np.asarray(table.valid == table.valid.max())
    return float(table.test.max() - np.asarray(table.test)[best].mean())


def markdown(entries: list[dict], optimum: float, selected: float) -> str:
    """The final figures, in percent, as a table for people.

    Args:
      entries: of `summarise`.
      optimum: best test accuracy of the table.
      selected: of `best_by_validation_regret`.
    """
    lines = [
        f"Test regret in percentage points to the optimum of {100 * optimum:.2f} %, "
        f"mean over runs and {100 * LEVEL:.0f} % interval; the incumbent is the best "
        f"cell by validation accuracy, the answer what the method names in the end. "
        f"The best cell of the table by validation accuracy (the mean of those that "
        f"tie) has {100 * selected:.3f}.",
        "",
        "| method | runs | queries | regret of the incumbent | of the answer | "
        "runs at the optimum |",
        "|---|---|---|---|---|---|",
    ]
    for entry in entries:
        lines.append(
            f"| {label(entry)} | {entry['runs']} | {entry['queries'][-1]} | "
            f"{_percent(entry['final']['test_regret'])} | "
            f"{_percent(entry['answer_regret'])} | "
            f"{100 * entry['optimum_found']:.1f} % |"
        )
    return "\n".join(lines) + "\n"


def _percent(interval: dict) -> str:
    mean, low, high = (100 * interval[part] for part in Interval._fields)
    return f"{mean:.3f}" + ("" if np.isnan(low) else f" ({low:.3f} to {high:.3f})")
