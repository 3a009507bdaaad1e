"""Builds the tables of a report: outcomes, paired tests, runs and settings."""

from egnas_jax.search.cost import NAMES as COSTS
from egnas_jax.search.cost import total_costs
from egnas_jax.studies.report.page import ReportTable
from egnas_jax.studies.report.runs import Group, RunRecord, differing
from egnas_jax.studies.statistics import Comparison, compare, summarise

COMPARISON_COLUMNS = (
    "first|second|pairs|first minus second|95 % interval|paired t, p|Holm|Wilcoxon, p"
)
COMPARISON_NOTE = (
    "Percentage points, paired by seed; p values are two-sided. Holm: the t test's p "
    "value, corrected for all comparisons of this table. With n pairs Wilcoxon's p "
    "value is at least 2 / 2^n: below 6 pairs it cannot fall below 0.05. Unfinished "
    "runs are left out."
)

COST_NOTE = (
    "Costs of a search: forward passes of one image, where a forward and backward pass "
    "counts 3."
)


def final(run: RunRecord) -> float | None:
    """Validation accuracy or test error of what the run returns.

    Where that epoch did not record it, the value of the last earlier epoch that did.
    """
    name = "test_error" if run.kind == "retrain" else "valid_accuracy"
    values = run.column(name)[: run.result["epoch"] + 1]
    return next((value for value in reversed(values) if value is not None), None)


def finals(group: Group) -> list[float]:
    """`final` of every run that has one."""
    return [value for run in group.runs if (value := final(run)) is not None]


def outcome_table(groups: list[Group], what: str) -> ReportTable:
    """Mean, spread, n and interval of each group."""
    note = "Percent. Spread: standard deviation of a sample. Interval: Student's t."
    header = ("group", "mean", "spread", "n", "95 % interval", "range", "seconds")
    rows = [_outcome(group) for group in groups if finals(group)]
    if groups[0].runs[0].kind == "search":
        header += ("cost of the weights", "cost of the choice")
        costs = [_mean_costs(group) for group in groups if finals(group)]
        rows = [row + cost for row, cost in zip(rows, costs, strict=True)]
        note += " " + COST_NOTE
    note = " ".join([note, *_warnings(groups)])
    return ReportTable(f"{what} after the last epoch", header, rows, note)


def _outcome(group: Group) -> tuple[str, ...]:
    values = finals(group)
    summary = summarise(values)
    return (
        group.label,
        _percent(summary.mean),
        _percent(summary.spread),
        str(summary.n),
        _percent_range(summary.low, summary.high),
        _percent_range(min(values), max(values)),
        _mean_seconds(group),
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _percent_range(low: float | None, high: float | None) -> str:
    return "-" if low is None else f"{_percent(low)} to {_percent(high)}"


def _mean_seconds(group: Group) -> str:
    columns = [run.column("seconds") for run in group.runs]
    totals = [sum(seconds) for seconds in columns if None not in seconds]
    return f"{sum(totals) / len(totals):.0f}" if totals else "-"


def _mean_costs(group: Group) -> tuple[str, ...]:
    """Both costs of a search, means over the runs; "-" where a record lacks one."""
    totals = [total_costs(run.lines) for run in group.runs]
    columns = [[total[name] for total in totals] for name in COSTS]
    return tuple(
        "-" if None in column else f"{sum(column) / len(column):,.0f}"
        for column in columns
    )


def _warnings(groups: list[Group]) -> list[str]:
    """Sentences on what distorts a group's mean: short runs and repeated seeds."""
    short, repeated = [], []
    for group in groups:
        longest = max(len(run.lines) for run in group.runs)
        short += [
            f"{run.name} has {len(run.lines)} of {planned} epochs"
            for run in group.runs
            if len(run.lines) < (planned := run.planned or longest)
            and run.lines[-1].get("early_stop") is None
        ]
        seeds = [run.seed for run in group.runs if run.seed is not None]
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        repeated += [f"seed {seed} of {group.label}" for seed in twice]
    sentences = []
    if short:
        sentences.append(f"Shorter than the others: {'; '.join(short)}.")
    if repeated:
        sentences.append(
            f"Counted more than once, though not independent: {', '.join(repeated)}; "
            f"paired tests use the last of them."
        )
    return sentences


def comparison_table(groups: list[Group]) -> ReportTable | None:
    """Paired tests between groups; None where no two groups share a seed.

    Unfinished runs are left out.
    """
    comparisons = compare({group.label: _by_seed(group) for group in groups})
    rows = [_comparison(comparison) for comparison in comparisons]
    if not rows:
        return None
    return ReportTable(
        "Paired tests", COMPARISON_COLUMNS.split("|"), rows, COMPARISON_NOTE
    )


def _by_seed(group: Group) -> dict[int, float]:
    runs = [run for run in group.runs if run.seed is not None and not run.unfinished]
    values = {run.seed: final(run) for run in runs}
    return {seed: value for seed, value in values.items() if value is not None}


def _comparison(comparison: Comparison) -> tuple[str, ...]:
    p_values = (comparison.t_test, comparison.holm, comparison.wilcoxon)
    return (
        comparison.first,
        comparison.second,
        str(comparison.n),
        f"{100 * comparison.difference:+.2f}",
        _percent_range(comparison.low, comparison.high),
        *map(_p_value, p_values),
    )


def _p_value(p: float | None) -> str:
    return "-" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"


def run_table(groups: list[Group]) -> ReportTable:
    """Seed, length and result of every run, and method and cell of every search."""
    header = ["group", "seed", "run", "epochs", "result (%)"]
    is_search = groups[0].runs[0].kind == "search"
    if is_search:
        header.insert(3, "method")
        header += ["skips, normal / reduction", "poolings, normal / reduction"]
        header += ["stopped early, cell of"]
    rows = [
        (
            group.label,
            "-" if run.seed is None else str(run.seed),
            run.name,
            *((run.method or "-",) if is_search else ()),
            str(len(run.lines)),
            _percent(final(run)),
            *(_cell(run) if is_search else ()),
        )
        for group in groups
        for run in group.runs
    ]
    return ReportTable("Runs", header, rows)


def _cell(run: RunRecord) -> tuple[str, str, str]:
    """Skips and poolings of the cell that a search returns, and its early stop."""
    result, stop = run.result, run.lines[-1].get("early_stop")
    kinds = ("cell",) if "skip_cell" in result else ("normal", "reduce")
    skips, pools = (
        " / ".join(str(result.get(f"{what}_{kind}", "-")) for kind in kinds)
        for what in ("skip", "pool")
    )
    return skips, pools, "-" if stop is None else f"epoch {stop + 1}"


def settings_table(groups: list[Group]) -> ReportTable | None:
    """Settings in which the groups differ; None where there are none."""
    runs = [group.runs[0] for group in groups]
    rows = [
        (path, *(str((run.settings or {}).get(path, "-")) for run in runs))
        for path in differing(runs)
    ]
    header = ("setting", *(group.label for group in groups))
    return ReportTable("Settings that differ", header, rows) if rows else None
