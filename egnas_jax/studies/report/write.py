"""A report of some runs in a directory: report.html, report.md, figures, their data."""

import csv
import io
import json
import pathlib

from egnas_jax.space import (
    SPACES,
    Genotype,
    Topology,
    draw_svg,
    parse_genotype,
)
from egnas_jax.storage import records
from egnas_jax.studies.report.curves import (
    Figure,
    Row,
    population_figure,
    retrain_figures,
    search_figures,
)
from egnas_jax.studies.report.draw import draw_lines, draw_population
from egnas_jax.studies.report.page import Picture, Section, html_page, markdown
from egnas_jax.studies.report.runs import Group, Run, grouped, read_runs
from egnas_jax.studies.report.tables import (
    comparison_table,
    final,
    outcome_table,
    run_table,
    settings_table,
)

MANIFEST = "report.json"
SEARCH_TEXT = (
    "Accuracy is the supernet's under the method's own mixing on validation images. It "
    "compares settings of one method; cells are compared by retraining them."
)
RETRAIN_TEXT = (
    "The result is the test error after the last epoch; the least one of all epochs is "
    "chosen by the test set, so it is not shown as a result."
)


def write_report(paths: list[str], out: str) -> pathlib.Path:
    """Writes a report; the page's path.

    Args:
      paths: runs, as `runs.read_runs` takes them.
      out: directory, new, empty or of an earlier report, whose files are replaced.

    Raises:
      ValueError: nothing to report, an unreadable record, or `out` is something else.
    """
    folder = pathlib.Path(out)
    old = _earlier_files(folder)
    runs = read_runs(paths)
    title = "Report of " + (runs[0].name if len(runs) == 1 else f"{len(runs)} runs")
    sections = _sections(runs)
    files = {
        "report.md": markdown(title, sections),
        "report.html": html_page(title, sections),
    }
    for section in sections:
        for picture in section.pictures:
            files[f"{picture.name}.svg"] = picture.svg
            files[f"{picture.name}.csv"] = picture.csv
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in set(old) - set(files):
            (folder / name).unlink(missing_ok=True)
        # first, so that a report that was cut short can be written again
        manifest = {"runs": [run.name for run in runs], "files": sorted(files)}
        records.write_json(folder / MANIFEST, manifest)
        for name, text in files.items():
            records.write_text(folder / name, text)
    except OSError as error:
        raise ValueError(
            f"{folder} cannot be written ({error.strerror}). Name another --out."
        ) from None
    return folder / "report.html"


def _earlier_files(folder: pathlib.Path) -> list[str]:
    """Files of an earlier report in this folder; an error where it holds others."""
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file, not a directory. Name another --out.")
    if not (folder / MANIFEST).is_file():
        if any(folder.iterdir()):
            raise ValueError(
                f"{folder} is not empty and holds no report (no {MANIFEST}). Name "
                f"another --out."
            )
        return []
    try:
        names = json.loads((folder / MANIFEST).read_text())["files"]
        # names alone: an altered list must not lead out of the folder
        return [name for name in names if pathlib.PurePath(name).name == name]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{folder / MANIFEST} was altered. Remove {folder}, or name another --out."
        ) from None


def _sections(runs: list[Run]) -> list[Section]:
    sections = []
    for kind, make in (("search", _search), ("retrain", _retrain)):
        groups = grouped([run for run in runs if run.kind == kind])
        if groups:
            sections.append(make(groups))
    return sections


def _search(groups: list[Group]) -> Section:
    pictures = [
        picture_of(figure, draw_lines(figure)) for figure in search_figures(groups)
    ]
    population = population_figure(groups)
    if population is not None:
        pictures.insert(-1, picture_of(population, draw_population(population)))
    pictures += [
        _cells(f"cells_{number}", group)
        for number, group in enumerate(groups, start=1)
        if any("genotype" in run.result for run in group.runs)
    ]
    return _section("Searches", SEARCH_TEXT, "Validation accuracy", groups, pictures)


def _retrain(groups: list[Group]) -> Section:
    figures = retrain_figures(groups)
    pictures = [picture_of(figure, draw_lines(figure)) for figure in figures]
    return _section("Retraining", RETRAIN_TEXT, "Test error", groups, pictures)


def _section(title, text, what, groups, pictures) -> Section:
    tables = [
        outcome_table(groups, what),
        comparison_table(groups),
        settings_table(groups),
        run_table(groups),
    ]
    return Section(title, text, [table for table in tables if table], pictures)


def picture_of(figure: Figure, svg: str) -> Picture:
    """A figure as drawn, with its rows as CSV."""
    data = _csv([Row._fields, *figure.rows])
    return Picture(figure.name, figure.title, figure.text, svg, data)


def _cells(name: str, group: Group) -> Picture:
    """Both cells of a group's best run, as it returned them."""
    runs = [run for run in group.runs if "genotype" in run.result]
    best = max(runs, key=lambda run: final(run) or 0.0)
    genotype = parse_genotype(best.result["genotype"])
    rows = [("kind", "node", "primitive", "source"), *_edges(genotype)]
    text = f"Of the best run by validation accuracy, {best.name}: {genotype.format()}."
    title = f"Cells: {group.label}"
    return Picture(name, title, text, draw_svg(genotype), _csv(rows))


def _edges(genotype: Genotype | Topology) -> list[tuple]:
    """Kind, node, primitive and source of every edge of a genotype's cells."""
    if isinstance(genotype, Topology):
        edges = zip(genotype.primitives, SPACES["nasbench201"].edges, strict=True)
        return [
            ("cell", node, primitive, source) for primitive, (source, node) in edges
        ]
    return [
        (kind, node, primitive, source)
        for kind in ("normal", "reduce")
        for node, pairs in enumerate(genotype.blocks(kind), start=2)
        for primitive, source in pairs
    ]


def _csv(rows) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
