"""Reads and writes the files of a selection."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

from egnas_jax.space import Genotype, Space, Topology, parse_genotype
from egnas_jax.storage import records
from egnas_jax.studies.selection.cells import CellWeights, cell_of_edges
from egnas_jax.studies.selection.options import SelectionOptions
from egnas_jax.studies.selection.selectors import SELECTORS
from egnas_jax.studies.selection.table import selection_markdown, selector_rows

FILE = "selection.json"


def read_earlier(
    folder: str | pathlib.Path, space: Space, digest: str, log: Callable[[str], None]
) -> dict:
    """Reads what an earlier call wrote, if it selected from the same weights.

    Args:
      folder: a folder that may hold selection.json.
      space: of the cells.
      digest: of the run's weights.
      log: called with a note on a file that will be replaced.

    Returns:
      Its contents, checked; {} where there are none of these weights.
    """
    path = pathlib.Path(folder) / FILE
    if not path.is_file():
        return {}
    try:
        earlier = records.read_object(path)
        if earlier["digest"] == digest:
            _check(earlier, space)
            return earlier
        log(f"The cells in {path} are of other weights and will be replaced.")
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        log(
            f"{path} was altered, or is of an earlier version ({error!r}), and will "
            f"be replaced."
        )
    return {}


def _check(result: dict, space: Space) -> None:
    """Raises where contents of selection.json lack what new rows stand beside."""
    rows = result["selectors"]
    selector_rows(result)
    genotypes_of(rows)
    cells_of(space, rows)
    for name in [row["selector"] for row in rows]:
        SELECTORS[name]
    for field in dataclasses.fields(SelectionOptions):
        result[field.name]


def genotypes_of(rows: Sequence[dict]) -> dict[str, Genotype | Topology]:
    """Returns the genotypes of rows by the names of the selectors.

    Args:
      rows: of selection.json.
    """
    return {row["selector"]: parse_genotype(row["genotype"]) for row in rows}


def cells_of(space: Space, rows: Sequence[dict]) -> dict[str, CellWeights]:
    """Returns the cells of rows by the names of the selectors.

    Args:
      space: of the cells.
      rows: of selection.json.
    """
    return {row["selector"]: cell_of_edges(space, row["cell"]) for row in rows}


def write(
    folder: str | pathlib.Path,
    result: dict,
    genotypes: Mapping[str, Genotype | Topology],
) -> None:
    """Writes selection.json, selection.md and the genotypes, making the folder.

    Genotypes that an earlier call wrote for other selectors are removed.

    Args:
      folder: a run directory, or any other.
      result: contents of selection.json.
      genotypes: name of the selector -> its cell.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, genotype in genotypes.items():
        records.write_text(_genotype_file(folder, name), genotype.to_json())
    records.write_text(folder / "selection.md", selection_markdown(result))
    records.write_json(folder / FILE, result)
    for name in set(SELECTORS) - set(genotypes):
        _genotype_file(folder, name).unlink(missing_ok=True)


def _genotype_file(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / f"selection_{name}.json"
