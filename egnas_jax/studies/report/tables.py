"""The tables of a report: headers and rows of text, for Markdown and HTML alike."""

from typing import NamedTuple

from egnas_jax.studies.report.runs import Group, Run, differing
from egnas_jax.studies.report.statistics import (
    Comparison,
    Summary,
    compare,
    summarise,
)


class Table(NamedTuple):
    """Attributes:
    title: above it.
    header, rows: text.
    note: below it.
    """

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""


def final(run: Run) -> float | None:
    """What a run is compared by: accuracy or test error of what it returns, or of the
    last epoch before it that has one."""
    name = "test_error" if run.kind == "retrain" else "valid_accuracy"
    tested = run.column(name)[: run.result["epoch"] + 1]
    return next((value for value in reversed(tested) if value is not None), None)


def finals(group: Group) -> list[float]:
    """`final` of every run that has one."""
    return [value for run in group.runs if (value := final(run)) is not None]


def outcome_table(groups: list[Group], what: str) -> Table:
    """Mean, spread, n and interval of each group."""
    rows = []
    for group in groups:
        values = finals(group)
        if values:
            rows.append(
                (
                    group.label,
                    *_summary(summarise(values)),
                    f"{100 * min(values):.2f} to {100 * max(values):.2f}",
                    _seconds(group),
                )
            )
    note = "Percent. Spread: standard deviation of a sample. Interval: Student's t."
    note = " ".join([note, *_doubts(groups)])
    header = ("group", "mean", "spread", "n", "95 % interval", "range", "seconds")
    return Table(f"{what} after the last epoch", header, rows, note)


def _doubts(groups: list[Group]) -> list[str]:
    """What a mean over a group hides: shorter runs, and seeds that count twice."""
    shorter, twice = [], []
    for group in groups:
        longest = max(len(run.lines) for run in group.runs)
        shorter += [
            f"{run.name} has {len(run.lines)} of {goal} epochs"
            for run in group.runs
            if len(run.lines) < (goal := run.planned or longest)
            and run.lines[-1].get("early_stop") is None
        ]
        seeds = [run.seed for run in group.runs if run.seed is not None]
        repeated = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        twice += [f"seed {seed} of {group.label}" for seed in repeated]
    sentences = []
    if shorter:
        sentences.append(f"Runs that are not as long: {'; '.join(shorter)}.")
    if twice:
        sentences.append(
            f"Counted more than once, though no independent runs: {', '.join(twice)}; "
            f"paired tests take the last of them."
        )
    return sentences


def _summary(of: Summary) -> tuple[str, ...]:
    if of.spread is None:
        return f"{100 * of.mean:.2f}", "-", "1", "-"
    return (
        f"{100 * of.mean:.2f}",
        f"{100 * of.spread:.2f}",
        str(of.n),
        f"{100 * of.low:.2f} to {100 * of.high:.2f}",
    )


def _seconds(group: Group) -> str:
    spent = [
        sum(run.column("seconds"))
        for run in group.runs
        if None not in run.column("seconds")
    ]
    return f"{sum(spent) / len(spent):.0f}" if spent else "-"


def comparison_table(groups: list[Group]) -> Table | None:
    """Paired tests between groups; None where no two share a seed. Unfinished runs are
    compared with none."""
    values = {
        group.label: {
            run.seed: value
            for run in group.runs
            if run.seed is not None
            and not run.unfinished
            and (value := final(run)) is not None
        }
        for group in groups
    }
    found = compare(values)
    if not found:
        return None
    header = (
        "first",
        "second",
        "pairs",
        "first minus second",
        "95 % interval",
        "paired t, p",
        "Holm",
        "Wilcoxon, p",
    )
    note = (
        "Percentage points, paired by seed; p values are two-sided. Holm: the t test's "
        "p, corrected for all comparisons of this table. With n pairs Wilcoxon's p is "
        "at least 2 / 2^n: below 6 pairs it cannot fall below 0.05. Runs that have "
        "epochs left are left out."
    )
    return Table("Paired tests", header, [_compared(one) for one in found], note)


def _compared(one: Comparison) -> tuple[str, ...]:
    interval = "-"
    if one.low is not None:
        interval = f"{100 * one.low:.2f} to {100 * one.high:.2f}"
    tests = (one.t_test, one.holm, one.wilcoxon)
    return (
        one.first,
        one.second,
        str(one.n),
        f"{100 * one.difference:+.2f}",
        interval,
        *("-" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001" for p in tests),
    )


def run_table(groups: list[Group]) -> Table:
    """What each run came to."""
    rows, header = [], ("group", "seed", "run", "epochs", "result (%)")
    searches = groups[0].runs[0].kind == "search"
    for group in groups:
        for run in group.runs:
            value = final(run)
            rows.append(
                (
                    group.label,
                    "-" if run.seed is None else str(run.seed),
                    run.name,
                    str(len(run.lines)),
                    "-" if value is None else f"{100 * value:.2f}",
                    *(_cell(run) if searches else ()),
                )
            )
    if searches:
        header += (
            "skips, normal / reduction",
            "poolings, normal / reduction",
            "stopped early, cell of",
        )
    return Table("Runs", header, rows)


def _cell(run: Run) -> tuple[str, str, str]:
    """Skips and poolings of what a search returns, and where it was stopped early."""
    found, stop = run.result, run.lines[-1].get("early_stop")
    kinds = ("cell",) if "skip_cell" in found else ("normal", "reduce")
    skips, pools = (
        " / ".join(str(found.get(f"{what}_{kind}", "-")) for kind in kinds)
        for what in ("skip", "pool")
    )
    return skips, pools, "-" if stop is None else f"epoch {stop + 1}"


def settings_table(groups: list[Group]) -> Table | None:
    """Settings in which the groups differ; None where they do in none."""
    firsts = [group.runs[0] for group in groups]
    paths = differing(firsts)
    if not paths:
        return None
    rows = [
        (
            path,
            *(
                "-" if run.settings is None else str(run.settings.get(path, "-"))
                for run in firsts
            ),
        )
        for path in paths
    ]
    return Table("Settings that differ", ("setting", *(g.label for g in groups)), rows)
