"""The figures of several seeds in one table: Markdown, CSV, JSON.

Source: Table 2 of the report: a row a seed, then the mean; sizes and search cost once.
"""

import csv
import io
import pathlib
import statistics

from egnas_jax.storage import records

DAY = 86_400


def aggregate(summaries: list[dict]) -> dict:
    """The summary of several seeds.

    Args:
      summaries: as each run wrote it, with `seed` and `run` added.

    Returns:
      The mean of the errors under the names that a single run uses, their spread
      (standard deviation of a sample; None of one seed) and the rows.
    """
    rows = [
        {
            name: summary[name]
            for name in ("seed", "run", "test_error_last", "test_error_best", "seconds")
        }
        for summary in summaries
    ]
    whole = {
        name: summaries[0][name]
        for name in (
            "genotype",
            "epochs",
            "params",
            "multiply_adds",
            "multiply_adds_convention",
            "search_seconds",
            "test_images",
        )
    }
    for name in ("test_error_last", "test_error_best"):
        values = [row[name] for row in rows]
        whole[name] = statistics.mean(values)
        spread = statistics.stdev(values) if len(values) > 1 else None
        whole[f"{name}_spread"] = spread
    seconds = sum(row["seconds"] for row in rows)
    seeds = [row["seed"] for row in rows]
    return whole | {"seconds": seconds, "seeds": seeds, "rows": rows}


def write(folder: pathlib.Path, whole: dict) -> None:
    """table.md, table.csv and summary.json of `aggregate`."""
    records.write_text(folder / "table.md", markdown(whole))
    records.write_text(folder / "table.csv", as_csv(whole))
    records.write_json(folder / "summary.json", whole)


def markdown(whole: dict) -> str:
    """The table for people: errors in percent, sizes in millions."""
    search = whole["search_seconds"]
    cost = "unknown" if search is None else f"{search / DAY:.4f}"
    adds = whole["multiply_adds"]
    lines = [
        "| seed | test error, last epoch (%) | least of all epochs (%) | params (M) "
        "| multiply-adds (M) | search (device days) | training (s) |",
        "|---|---|---|---|---|---|---|",
    ]
    sizes = (
        f"{whole['params'] / 1e6:.3f} | "
        f"{'unknown' if adds is None else format(adds / 1e6, '.1f')} | {cost}"
    )
    for index, row in enumerate(whole["rows"]):
        own = sizes if index == 0 else " | | "
        lines.append(
            f"| {row['seed']} | {100 * row['test_error_last']:.2f} "
            f"| {100 * row['test_error_best']:.2f} | {own} | {row['seconds']:.0f} |"
        )
    last, best = (
        _mean_and_spread(whole, name) for name in ("test_error_last", "test_error_best")
    )
    lines.append(f"| mean | {last} | {best} | | | | {whole['seconds']:.0f} in all |")
    lines.append("")
    lines.append(
        "The result is the last epoch's error. The least one is chosen by the test "
        f"set, so it flatters. {whole['test_images']:,} test images, {whole['epochs']} "
        f"epochs. Multiply-adds: {whole['multiply_adds_convention']}."
    )
    return "\n".join(lines) + "\n"


def _mean_and_spread(whole, name):
    spread = whole[f"{name}_spread"]
    mean = f"{100 * whole[name]:.2f}"
    return mean if spread is None else f"{mean} ± {100 * spread:.2f}"


def as_csv(whole: dict) -> str:
    """A row a seed; errors are fractions."""
    text = io.StringIO()
    shared = ("params", "multiply_adds", "search_seconds", "epochs")
    writer = csv.DictWriter(text, [*whole["rows"][0], *shared], lineterminator="\n")
    writer.writeheader()
    for row in whole["rows"]:
        writer.writerow(row | {name: whole[name] for name in shared})
    return text.getvalue()
