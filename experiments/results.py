"""Writes docs/results.md from the records of experiments.

    python experiments/results.py            # writes the generated section anew
    python experiments/results.py --check    # exits with 1 where it is out of date
    python experiments/results.py add NAME RUN... --title T --claim C --command "..."

`add` makes results/NAME.json of finished runs, grouped as `egnas report` groups them. A
record is one JSON object: title, claim, command, machine, date, seconds (of all runs,
or null), columns, rows, note, caption (of its figure, or null). A column is a name, or
{"name": ..., "decimals": ...}; a cell is a text, a number, null, or {"mean": ...,
"spread": ..., "n": ...} (spread null for n = 1). The figure of a record is beside it as
results/NAME.svg, with its data as NAME.csv.
"""

import argparse
import os
import pathlib
import time

import jax

from egnas_jax.storage import records
from egnas_jax.studies.report.page import Figure
from egnas_jax.studies.report.run_tables import finals
from egnas_jax.studies.report.runs import Group, grouped, read_runs
from egnas_jax.studies.statistics import summarise
from egnas_jax.studies.tables import markdown_table

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDER = ROOT / "experiments" / "results"
DOCUMENT = ROOT / "docs" / "results.md"
BEGIN, END = (
    "<!-- results: python experiments/results.py -->",
    "<!-- end of results -->",
)
FIELDS = "title claim command machine date seconds columns rows note caption"


def read_records(folder: pathlib.Path = FOLDER) -> list[dict]:
    """Reads the records of a folder, each with the name of its "figure" or None.

    Raises:
      ValueError: a file is no record; with its name and what is wrong.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        figure = path.with_suffix(".svg")
        name = figure.name if figure.exists() else None
        found.append(_checked(path) | {"figure": name})
    return found


def _checked(path: pathlib.Path) -> dict:
    """A record, if it is one."""
    record = records.read_object(path, "See experiments/results.py.")
    if wrong := ", ".join(sorted(set(record) ^ set(FIELDS.split()))):
        raise ValueError(f"{path} lacks or adds: {wrong}. See experiments/results.py.")
    widths = {len(row) for row in record["rows"]}
    if widths != {len(record["columns"])}:
        raise ValueError(
            f"{path} has {len(record['columns'])} columns, but rows of "
            f"{sorted(widths)} cells."
        )
    return record


def section(found: list[dict]) -> str:
    """The generated section of the page, its markers included.

    Args:
      found: records, as `read_records` returns them.
    """
    return "\n".join([BEGIN, "", *map(_part, found), END])


def _part(record: dict) -> str:
    """Title, claim, table, command and figure of one record."""
    seconds = record["seconds"]
    took = "" if seconds is None else f", {seconds:,.0f} s"
    parts = [
        f"## {record['title']}",
        record["claim"],
        _table(record).rstrip("\n"),
        f"`{record['command']}`; {record['machine']}, {record['date']}{took}.",
    ]
    if record["figure"]:
        place = os.path.relpath(FOLDER / record["figure"], DOCUMENT.parent)
        parts.append(f"![{record['title']}]({place})")
        parts += [record["caption"]] if record["caption"] else []
    return "\n\n".join(parts) + "\n"


def _table(record: dict) -> str:
    columns = [
        column if isinstance(column, dict) else {"name": column, "decimals": 2}
        for column in record["columns"]
    ]
    rows = [
        tuple(
            _cell_text(cell, column["decimals"])
            for cell, column in zip(row, columns, strict=True)
        )
        for row in record["rows"]
    ]
    names = tuple(column["name"] for column in columns)
    return markdown_table(names, rows, record["note"])


def _cell_text(value: object, decimals: int) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        spread = "" if value["spread"] is None else f" ± {value['spread']:.{decimals}f}"
        return f"{value['mean']:z,.{decimals}f}{spread} (n = {value['n']})"
    return f"{value:z,.{decimals}f}"


def rewritten(text: str, found: list[dict]) -> str:
    """The page with its generated section made anew.

    Raises:
      ValueError: it lacks one of the markers, or holds one twice.
    """
    if (text.count(BEGIN), text.count(END)) != (1, 1):
        raise ValueError(f"{DOCUMENT} must hold {BEGIN!r} and {END!r} once each.")
    before, rest = text.split(BEGIN)
    return before + section(found) + rest.split(END)[1]


def of_runs(paths: list[str], title: str, claim: str, command: str) -> dict:
    """The record of finished runs, with a row for each group.

    Machine and date are those that the runs wrote.

    Raises:
      ValueError: there are no runs, one has not ended, or searches are among
        retrainings.
    """
    runs = read_runs(paths)
    if unfinished := ", ".join(run.name for run in runs if run.unfinished):
        raise ValueError(f"Not ended: {unfinished}. Resume them, or leave them out.")
    kinds = {run.kind for run in runs}
    if len(kinds) > 1:
        raise ValueError(
            "The runs are searches and retrainings; make a record of each."
        )
    metrics = {"search": "validation accuracy (%)", "retrain": "test error (%)"}
    groups = grouped(runs)
    environments = [run.environment for run in runs if run.environment]
    machines = sorted(set(map(_machine, environments)))
    dates = sorted({environment["time"][:10] for environment in environments})
    return {
        "title": title,
        "claim": claim,
        "command": command,
        "machine": "; ".join(machines) or "unknown machine",
        "date": " to ".join(dict.fromkeys(dates[:1] + dates[-1:])) or "undated",
        "seconds": sum(map(_seconds, groups)),
        "columns": [
            "group",
            {"name": metrics[kinds.pop()], "decimals": 2},
            {"name": "seconds of all its runs", "decimals": 0},
        ],
        "rows": [[group.label, _outcome(group), _seconds(group)] for group in groups],
        "note": "Last epoch; mean ± standard deviation over seeds.",
        "caption": None,
    }


def _outcome(group: Group) -> dict:
    summary = summarise([100 * value for value in finals(group)])
    return {"mean": summary.mean, "spread": summary.spread, "n": summary.n}


def _seconds(group: Group) -> float:
    return sum(line.get("seconds") or 0.0 for run in group.runs for line in run.lines)


def _machine(environment: dict) -> str:
    return f"{environment['device_kind']}, jax {environment['versions']['jax']}"


def write(
    path: pathlib.Path,
    table: dict,
    details: object,
    kept: str | None = None,
    figure: Figure | None = None,
) -> None:
    """Writes and prints the record of an experiment that has just run here.

    Args:
      path: FILE.json of the record; everything goes to FILE-details.json.
      table: the record without machine, date and caption.
      details: other results, as JSON.
      kept: name in results/, or None to keep the record out of there.
      figure: of the record, for FILE.svg and FILE.csv.
    """
    device = jax.devices()[0].device_kind
    record = records.plain(
        {
            **table,
            "caption": figure and figure.text,
            "machine": f"{os.cpu_count()} cores, {device}, jax {jax.__version__}",
            "date": time.strftime("%Y-%m-%d"),
        }
    )
    _put(path, record, figure)
    whole = {"record": record, "details": records.plain(details)}
    records.write_json(path.with_name(f"{path.stem}-details.json"), whole)
    if kept is not None:
        _put(FOLDER / f"{kept}.json", record, figure)
    print(section([record | {"figure": None}]))


def keep(
    options: argparse.Namespace,
    name: str,
    table: dict,
    details: object,
    figure: Figure | None = None,
) -> None:
    """Calls `write` for an experiment without sizes.

    Args:
      options: of `command_line.make_parser`.
      name: of the experiment.
      table, details, figure: see `write`.
    """
    kept = name if options.record else None
    write(options.out / f"{name}.json", table, details, kept, figure)


def _put(path: pathlib.Path, record: dict, figure: Figure | None) -> None:
    """Writes a record and its figure, in the place of another record and its own."""
    records.write_json(path, record)
    contents = (figure.svg, figure.csv) if figure else (None, None)
    for suffix, content in zip((".svg", ".csv"), contents, strict=True):
        if content is None:
            path.with_suffix(suffix).unlink(missing_ok=True)
        else:
            records.write_text(path.with_suffix(suffix), content)


def main(arguments: list[str] | None = None) -> None:
    """Writes or checks the page; adds a record first where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    text = "write nothing; exit with 1 where the page is out of date"
    parser.add_argument("--check", action="store_true", help=text)
    commands = parser.add_subparsers(dest="action")
    add = commands.add_parser("add", help="make a record of finished runs")
    add.add_argument("name")
    add.add_argument("runs", nargs="+", metavar="RUN")
    for option in ("title", "claim", "command"):
        add.add_argument(f"--{option}", required=True)
    options = parser.parse_args(arguments)
    if options.action == "add":
        if options.check:
            parser.error("--check writes nothing, so it adds no record. Leave it out.")
        try:
            made = of_runs(options.runs, options.title, options.claim, options.command)
        except ValueError as error:
            parser.error(str(error))
        _put(FOLDER / f"{options.name}.json", made, None)
    text = DOCUMENT.read_text()
    page = rewritten(text, read_records())
    if not options.check:
        records.write_text(DOCUMENT, page)
    elif page != text:
        raise SystemExit(
            f"{DOCUMENT} is not what the records give. Run: python "
            f"experiments/results.py"
        )


if __name__ == "__main__":
    main()
