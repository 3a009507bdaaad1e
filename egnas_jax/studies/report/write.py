"""Writes the report of some runs: report.html, report.md, figures and their data."""

import pathlib

from egnas_jax.space import Genotype, Topology, draw_svg, parse_genotype
from egnas_jax.storage import records
from egnas_jax.studies.report.curves import (
    FigureData,
    Row,
    population_figure,
    retrain_figures,
    search_figures,
)
from egnas_jax.studies.report.draw import draw_lines, draw_population
from egnas_jax.studies.report.limit_table import limit_table
from egnas_jax.studies.report.page import Figure, Section, html_page, markdown
from egnas_jax.studies.report.run_tables import (
    comparison_table,
    final,
    outcome_table,
    run_table,
    settings_table,
)
from egnas_jax.studies.report.runs import (
    WITHOUT_EPOCHS,
    Group,
    RunRecord,
    folders_without_epochs,
    grouped,
    read_runs,
)
from egnas_jax.studies.report.selection_table import selection_tables
from egnas_jax.studies.tables import csv_text

MANIFEST = "report.json"
SEARCH_TEXT = (
    "Accuracy is the supernet's under the method's own mixing on validation images. It "
    "compares settings of one method; cells are compared by retraining them."
)
RETRAIN_TEXT = (
    "The result is the test error after the last epoch. The least error of all epochs "
    "is chosen by the test set, so it is not shown as a result."
)


def write_report(paths: list[str], out: str) -> pathlib.Path:
    """Writes a report and returns the path of its page.

    Args:
      paths: run directories, folders of run directories, or metrics.jsonl files.
      out: a new or empty directory, or one with an earlier report, which is replaced.

    Raises:
      ValueError: there is no run, a record is invalid, or `out` holds other files or
        cannot be written.
    """
    folder = pathlib.Path(out)
    old = _earlier_files(folder)
    runs = read_runs(paths)
    files = _render(runs, folders_without_epochs(paths))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in set(old) - set(files):
            (folder / name).unlink(missing_ok=True)
        # The manifest comes first, so that an interrupted report can be written again.
        manifest = {"runs": [run.name for run in runs], "files": sorted(files)}
        records.write_json(folder / MANIFEST, manifest)
        for name, text in files.items():
            records.write_text(folder / name, text)
    except OSError as error:
        raise records.unwritable(folder, error) from None
    return folder / "report.html"


def _earlier_files(folder: pathlib.Path) -> list[str]:
    """Files of an earlier report in this folder; an error where it holds others."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, not a directory. Name another --out.")
    if not (folder / MANIFEST).is_file():
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(
                f"{folder} is not empty and holds no report (no {MANIFEST}). Name "
                f"another --out."
            )
        return []
    hint = f"Remove {folder}, or name another --out."
    names = records.read_object(folder / MANIFEST, hint).get("files")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{folder / MANIFEST} has no list of `files`. {hint}")
    # An altered list must not name files outside the folder.
    return [name for name in names if pathlib.PurePath(name).name == name]


def _render(
    runs: list[RunRecord], without_epochs: list[pathlib.Path]
) -> dict[str, str]:
    """Contents of the report's files by name.

    Args:
      runs: those that have an epoch.
      without_epochs: folders of those that have none, which are named.
    """
    title = "Report of " + (runs[0].name if len(runs) == 1 else f"{len(runs)} runs")
    sections = []
    for kind, make in (("search", _search_section), ("retrain", _retrain_section)):
        groups = grouped([run for run in runs if run.kind == kind])
        if groups:
            sections.append(make(groups))
    if without_epochs:
        names = ", ".join("/".join(folder.parts[-2:]) for folder in without_epochs)
        text = f"No mean counts these runs, which were {WITHOUT_EPOCHS}: {names}."
        sections.append(Section("Runs without a finished epoch", text, [], []))
    files = {
        "report.md": markdown(title, sections),
        "report.html": html_page(title, sections),
    }
    for figure in (figure for section in sections for figure in section.figures):
        files |= {f"{figure.name}.svg": figure.svg, f"{figure.name}.csv": figure.csv}
    return files


def _search_section(groups: list[Group]) -> Section:
    figures = [as_figure(data, draw_lines(data)) for data in search_figures(groups)]
    population = population_figure(groups)
    if population is not None:
        figures.insert(-1, as_figure(population, draw_population(population)))
    figures += [
        _cells_figure(f"cells_{number}", group)
        for number, group in enumerate(groups, start=1)
        if any("genotype" in run.result for run in group.runs)
    ]
    tables = _tables(groups, "Validation accuracy")
    limits = limit_table(groups)
    tables += [limits] if limits else []
    tables += selection_tables(groups)
    return Section("Searches", SEARCH_TEXT, tables, figures)


def _retrain_section(groups: list[Group]) -> Section:
    figures = [as_figure(data, draw_lines(data)) for data in retrain_figures(groups)]
    return Section("Retraining", RETRAIN_TEXT, _tables(groups, "Test error"), figures)


def _tables(groups: list[Group], what: str):
    tables = [
        outcome_table(groups, what),
        comparison_table(groups),
        settings_table(groups),
        run_table(groups),
    ]
    return [table for table in tables if table]


def as_figure(data: FigureData, svg: str) -> Figure:
    """A figure with its plot and with its rows as CSV."""
    csv = csv_text([Row._fields, *data.rows])
    return Figure(data.name, data.title, data.text, svg, csv)


def _cells_figure(name: str, group: Group) -> Figure:
    """The cells that the best run of a group returned."""
    runs = [run for run in group.runs if "genotype" in run.result]
    best = max(runs, key=lambda run: final(run) or 0.0)
    genotype = parse_genotype(best.result["genotype"])
    csv = csv_text([("kind", "node", "primitive", "source"), *_edges(genotype)])
    text = f"Of the best run by validation accuracy, {best.name}: {genotype.format()}."
    return Figure(
        name, f"Cells: {group.label}", text, draw_svg(genotype, best.caption), csv
    )


def _edges(genotype: Genotype | Topology) -> list[tuple]:
    """Kind, node, primitive and source of every edge of the cells."""
    return [
        (kind, node, primitive, source)
        for kind in genotype.kinds
        for primitive, source, node in genotype.edges_of(kind)
    ]
