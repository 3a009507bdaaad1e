"""Aggregates retrainings of several seeds: a table in Markdown and CSV, a summary.

Source: the columns of Table 2 of the reproduction study. Sizes and search cost are the
same for all seeds and stand in the first row.
"""

import pathlib
from collections.abc import Sequence

from egnas_jax.storage import records
from egnas_jax.studies.statistics import mean_and_spread
from egnas_jax.studies.tables import csv_text, markdown_table

DAY = 86_400  # seconds
ERRORS = ("test_error_last", "test_error_best")
PER_SEED = ("seed", "run", *ERRORS, "seconds")
SHARED = (
    "genotype epochs params multiply_adds multiply_adds_convention search_seconds "
    "test_images"
)
COLUMNS = (
    "seed|test error, last epoch (%)|least of all epochs (%)|params (M)|"
    "multiply-adds (M)|search (device days)|training (s)"
)


def aggregate(summaries: list[dict], failed: Sequence[int] = ()) -> dict:
    """Combines the summaries of several seeds.

    Args:
      summaries: summary.json of each run, with `seed` and `run` added.
      failed: seeds without a summary, since their loss was not finite.

    Returns:
      The mean errors under the names that a single run uses, their spread (standard
      deviation of a sample; None for one seed), and a row for each seed; the seeds that
      failed, if any did.
    """
    rows = [{name: summary[name] for name in PER_SEED} for summary in summaries]
    total = {name: summaries[0][name] for name in SHARED.split()}
    for name in ERRORS:
        mean, spread = mean_and_spread([row[name] for row in rows])
        total |= {name: mean, f"{name}_spread": spread}
    total["seconds"] = sum(row["seconds"] for row in rows)
    total |= {"seeds": [row["seed"] for row in rows], "rows": rows}
    return total | {"failed": list(failed)} if failed else total


def write(folder: pathlib.Path, total: dict) -> None:
    """Writes table.md, table.csv and summary.json.

    Args:
      folder: existing directory.
      total: result of `aggregate`.
    """
    records.write_text(folder / "table.md", markdown(total))
    records.write_text(folder / "table.csv", as_csv(total))
    records.write_json(folder / "summary.json", total)


def markdown(total: dict) -> str:
    """The table for people: errors in percent, sizes in millions."""
    adds, search = total["multiply_adds"], total["search_seconds"]
    sizes = (
        f"{total['params'] / 1e6:.3f}",
        "unknown" if adds is None else f"{adds / 1e6:.1f}",
        "unknown" if search is None else f"{search / DAY:.4f}",
    )
    rows = [
        (
            row["seed"],
            *(f"{100 * row[name]:.2f}" for name in ERRORS),
            *(("", "", "") if index else sizes),
            f"{row['seconds']:.0f}",
        )
        for index, row in enumerate(total["rows"])
    ]
    means = [_mean_and_spread_text(total, name) for name in ERRORS]
    rows.append(("mean", *means, "", "", "", f"{total['seconds']:.0f} in all"))
    note = (
        "The result is the last epoch's error. The least one is chosen by the test "
        f"set, so it flatters. {total['test_images']:,} test images, {total['epochs']} "
        f"epochs. Multiply-adds: {total['multiply_adds_convention']}."
    )
    if failed := total.get("failed"):
        note += (
            f" Of these seeds a loss was not finite, so the mean leaves them out: "
            f"{', '.join(map(str, failed))}."
        )
    return markdown_table(COLUMNS.split("|"), rows, note)


def _mean_and_spread_text(total: dict, name: str) -> str:
    mean, spread = f"{100 * total[name]:.2f}", total[f"{name}_spread"]
    return mean if spread is None else f"{mean} ± {100 * spread:.2f}"


def as_csv(total: dict) -> str:
    """A row for each seed; errors are fractions."""
    shared = ("params", "multiply_adds", "search_seconds", "epochs")
    rows = [[*row.values(), *(total[name] for name in shared)] for row in total["rows"]]
    return csv_text([(*PER_SEED, *shared), *rows])
