"""Writes the document's results from the records of experiments.

    python experiments/results.py                 # writes the section anew
    python experiments/results.py --check         # fails where it would change
    python experiments/results.py add NAME RUN... --title T --claim C --command "..."

`add` makes results/NAME.json of finished runs, grouped as `egnas report` does. A record
is one JSON object: title, claim, command, machine, date, seconds (of all runs, or
null), columns, rows, note, caption (of its picture, or null). A column is a name, or
{"name": ..., "decimals": ...}; a cell is a text, a number, null, or {"mean": ...,
"spread": ..., "n": ...} (spread null for n = 1). Its picture, where it has one, stands
beside it as results/NAME.svg, with its data as NAME.csv.
"""

import argparse
import json
import os
import pathlib
import sys
import time

import jax

from egnas_jax.storage import records
from egnas_jax.studies.report.page import Figure
from egnas_jax.studies.report.run_tables import finals
from egnas_jax.studies.report.runs import Group, grouped, read_runs
from egnas_jax.studies.statistics import summarise
from egnas_jax.studies.tables import markdown_table

FOLDER = pathlib.Path(__file__).with_name("results")
# holds the results between the two markers
DOCUMENT = pathlib.Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = (
    "<!-- results: python experiments/results.py -->",
    "<!-- end of results -->",
)
FIELDS = {
    "title",
    "claim",
    "command",
    "machine",
    "date",
    "seconds",
    "columns",
    "rows",
    "note",
    "caption",
}


def read_records(folder: pathlib.Path = FOLDER) -> list[dict]:
    """Records of a folder by name of file.

    Raises:
      ValueError: a file is no record; with its name and what is wrong.
    """
    return [
        _checked(path) | {"picture": picture if (folder / picture).exists() else None}
        for path in sorted(folder.glob("*.json"))
        for picture in (f"{path.stem}.svg",)
    ]


def _checked(path: pathlib.Path) -> dict:
    try:
        found = dict(json.loads(path.read_text()))
    except (ValueError, TypeError):
        raise ValueError(f"{path} holds no JSON object.") from None
    if set(found) != FIELDS:
        wrong = ", ".join(sorted(set(found) ^ FIELDS))
        raise ValueError(f"{path} lacks or adds: {wrong}. See experiments/results.py.")
    widths = {len(row) for row in found["rows"]}
    if widths != {len(found["columns"])}:
        raise ValueError(
            f"{path} has {len(found['columns'])} columns, but rows of {sorted(widths)} "
            f"cells."
        )
    return found


def section(records: list[dict]) -> str:
    """The section with its markers; records as `read_records` returns them."""
    parts = [BEGIN, ""]
    for found in records:
        columns = [
            column if isinstance(column, dict) else {"name": column, "decimals": 2}
            for column in found["columns"]
        ]
        rows = [
            tuple(
                _cell(cell, column["decimals"])
                for cell, column in zip(row, columns, strict=True)
            )
            for row in found["rows"]
        ]
        names = tuple(column["name"] for column in columns)
        seconds = found["seconds"]
        took = "" if seconds is None else f", {seconds:,.0f} s"
        parts += [
            f"### {found['title']}",
            "",
            found["claim"],
            "",
            markdown_table(names, rows, found["note"]),
            f"`{found['command']}`; {found['machine']}, {found['date']}{took}.",
            "",
        ]
        if found["picture"]:
            place = os.path.relpath(FOLDER / found["picture"], DOCUMENT.parent)
            parts += [f"![{found['title']}]({place})", ""]
            parts += [found["caption"], ""] if found["caption"] else []
    return "\n".join([*parts, END])


def _cell(value, decimals: int) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        spread = "" if value["spread"] is None else f" ± {value['spread']:.{decimals}f}"
        return f"{value['mean']:,.{decimals}f}{spread} (n = {value['n']})"
    return f"{value:,.{decimals}f}"


def rewritten(text: str, records: list[dict]) -> str:
    """The text of the document with its section made anew.

    Raises:
      ValueError: it lacks one of the markers, or holds one twice.
    """
    if (text.count(BEGIN), text.count(END)) != (1, 1):
        raise ValueError(f"{DOCUMENT.name} must hold {BEGIN!r} and {END!r} once each.")
    before, rest = text.split(BEGIN)
    return before + section(records) + rest.split(END)[1]


def of_runs(paths: list[str], title: str, claim: str, command: str) -> dict:
    """The record of finished runs, a row a group; machine and date as they wrote them.

    Raises:
      ValueError: no runs, or searches among retrainings.
    """
    runs = read_runs(paths)
    kinds = {run.kind for run in runs}
    if len(kinds) > 1:
        raise ValueError(
            "The runs are searches and retrainings; make a record of each."
        )
    what = {"search": "validation accuracy (%)", "retrain": "test error (%)"}[
        kinds.pop()
    ]
    groups = grouped(runs)
    written = [run.environment for run in runs if run.environment]
    machines = sorted({_machine(own) for own in written})
    dates = sorted({own["time"][:10] for own in written})
    return {
        "title": title,
        "claim": claim,
        "command": command,
        "machine": "; ".join(machines) or "unknown machine",
        "date": " to ".join(dict.fromkeys(dates[:1] + dates[-1:])) or "undated",
        "seconds": sum(map(_seconds, groups)),
        "columns": [
            "group",
            {"name": what, "decimals": 2},
            {"name": "seconds of all its runs", "decimals": 0},
        ],
        "rows": [[group.label, _outcome(group), _seconds(group)] for group in groups],
        "note": "Last epoch; mean ± standard deviation over seeds.",
        "caption": None,
    }


def _outcome(group: Group) -> dict:
    of = summarise([100 * value for value in finals(group)])
    return {"mean": of.mean, "spread": of.spread, "n": of.n}


def _seconds(group: Group) -> float:
    return sum(line.get("seconds") or 0.0 for run in group.runs for line in run.lines)


def _machine(environment: dict) -> str:
    return f"{environment['device_kind']}, jax {environment['versions']['jax']}"


def write(
    path: pathlib.Path,
    table: dict,
    details: object,
    kept: str | None = None,
    picture: Figure | None = None,
) -> None:
    """The record of an experiment that has just run here; printed, too.

    Args:
      path: FILE.json of the record; FILE-details.json gets everything.
      table: the record without machine, date and caption.
      details: other figures, as JSON.
      kept: name in results/, or None to keep it out of there.
      picture: of the record, for FILE.svg and FILE.csv.
    """
    device = jax.devices()[0].device_kind
    made = records.plain(
        {
            **table,
            "caption": picture and picture.text,
            "machine": f"{os.cpu_count()} cores, {device}, jax {jax.__version__}",
            "date": time.strftime("%Y-%m-%d"),
        }
    )
    _put(path, made, picture)
    whole = {"record": made, "details": records.plain(details)}
    records.write_json(path.with_name(f"{path.stem}-details.json"), whole)
    if kept is not None:
        _put(FOLDER / f"{kept}.json", made, picture)
    print(section([made | {"picture": None}]))


def keep(
    options: argparse.Namespace,
    name: str,
    table: dict,
    details: object,
    picture: Figure | None = None,
) -> None:
    """`write` for an experiment that has no sizes; options of `methods.add_out`."""
    kept = name if options.record else None
    write(options.out / f"{name}.json", table, details, kept, picture)


def _put(path: pathlib.Path, made: dict, picture: Figure | None) -> None:
    """A record with its picture, in the place of another one with its own."""
    records.write_json(path, made)
    contents = (picture.svg, picture.csv) if picture else (None, None)
    for suffix, content in zip((".svg", ".csv"), contents, strict=True):
        if content is None:
            path.with_suffix(suffix).unlink(missing_ok=True)
        else:
            records.write_text(path.with_suffix(suffix), content)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check",
        action="store_true",
        help=f"write nothing, and fail where {DOCUMENT.name} would change",
    )
    commands = parser.add_subparsers(dest="action")
    add = commands.add_parser("add", help="a record of finished runs")
    add.add_argument("name")
    add.add_argument("runs", nargs="+", metavar="RUN")
    for option in ("title", "claim", "command"):
        add.add_argument(f"--{option}", required=True)
    options = parser.parse_args(arguments)
    if options.action == "add":
        made = of_runs(options.runs, options.title, options.claim, options.command)
        _put(FOLDER / f"{options.name}.json", made, None)
    text = DOCUMENT.read_text()
    new_text = rewritten(text, read_records())
    if not options.check:
        records.write_text(DOCUMENT, new_text)
    elif new_text != text:
        print(
            f"The results in {DOCUMENT.name} are not those of {FOLDER.parent.name}/"
            f"{FOLDER.name}. Run `python experiments/results.py`.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
