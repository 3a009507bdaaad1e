"""Builds the tables of a report that show the cells that selectors found."""

from collections.abc import Callable

from egnas_jax.studies.report.page import ReportTable
from egnas_jax.studies.report.runs import Group, RunRecord
from egnas_jax.studies.selection.table import (
    HEADER,
    NOTE,
    PAIR_HEADER,
    SETTINGS_HEADER,
    SETTINGS_NOTE,
    pair_rows,
    selector_rows,
    settings_row,
)


def selection_tables(groups: list[Group]) -> list[ReportTable]:
    """Selected cells, their settings and agreement; none where no run has any.

    Args:
      groups: of searches.

    Raises:
      ValueError: the selection.json of a run was altered.
    """
    runs = [(g.label, run) for g in groups for run in g.runs if run.selection]
    tables = []
    for title, header, make, note in (
        ("Selected cells", HEADER, _selector_rows, NOTE),
        ("Settings of selections", SETTINGS_HEADER, _settings_rows, SETTINGS_NOTE),
        ("Agreement of selected cells", PAIR_HEADER, _pair_rows, ""),
    ):
        rows = [
            (label, run.name, *row) for label, run in runs for row in _rows(run, make)
        ]
        if rows:
            tables.append(ReportTable(title, ("group", "run", *header), rows, note))
    return tables


def _selector_rows(run: RunRecord) -> list[tuple[str, ...]]:
    return selector_rows(run.selection)


def _settings_rows(run: RunRecord) -> list[tuple[str, ...]]:
    return [settings_row(run.selection, len(run.lines))]


def _pair_rows(run: RunRecord) -> list[tuple[str, ...]]:
    return pair_rows(run.selection)


def _rows(run: RunRecord, make: Callable) -> list[tuple[str, ...]]:
    try:
        return make(run)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"selection.json of the run {run.name} was altered ({error!r}). Write it "
            f"anew by `egnas select`, or remove it."
        ) from None
