"""Reads the genotype of a text: a log, a module such as genotypes.py, JSON, a line.

Nothing is evaluated. A text that is JSON, or Python as a whole, is read as such, so
that comments do not count; any other text is searched for the written forms. Where a
text holds several genotypes the last one counts, as the last line of a log does.
"""

import json
import re
from typing import Any, NamedTuple

from egnas_jax.space.genotype import Genotype
from egnas_jax.space.genotype_forms import (
    NODES,
    PRIMITIVES,
    incomplete_pieces,
    text_pieces,
)
from egnas_jax.space.genotype_python import python_pieces
from egnas_jax.space.genotype_text import FIELDS, read_argument
from egnas_jax.space.topology import FIELD, Topology


class LastGenotype(NamedTuple):
    """The genotype of a text.

    Attributes:
      genotype: the last one in the text.
      count: how many the text holds.
    """

    genotype: Genotype | Topology
    count: int


def holds_genotype(text: str) -> bool:
    """Whether one of the written forms begins anywhere in a text."""
    try:
        return bool(text_pieces(text) or incomplete_pieces(text))
    except ValueError:
        return True  # one that is cut off


def last_genotype(text: str) -> LastGenotype | None:
    """Reads the last genotype of a text; None where it holds none.

    Args:
      text: anything that holds `Genotype(...)`, the fields of a genotype as JSON or as
        a Python dictionary, a cell of NAS-Bench-201 between bars, or `Structure(...)`.

    Raises:
      ValueError: the last genotype cannot be read; the message names the wrong part.
    """
    finders = (
        _in_json,
        _in_json_lines,
        python_pieces,
        text_pieces,
        incomplete_pieces,
    )
    for find in finders:
        pieces = find(text)
        if pieces:
            return LastGenotype(_read(pieces[-1]), len(pieces))
    return None


def _read(piece: str | dict) -> Genotype | Topology:
    """The genotype of one written form."""
    if isinstance(piece, dict):
        return Genotype(**{name: piece[name] for name in FIELDS})
    if piece.startswith("|"):
        return Topology.parse(piece)
    if re.match(PRIMITIVES, piece):
        return Topology(read_argument(piece))
    if re.match(NODES, piece):
        return _of_nodes(read_argument(piece))
    return Genotype.parse(piece)


def _of_nodes(nodes: Any) -> Topology:
    """The cell of NAS-Bench-201 whose nodes are lists of pairs (primitive, source)."""
    try:
        groups = ["".join(f"{name}~{node}|" for name, node in pairs) for pairs in nodes]
    except (TypeError, ValueError):
        raise ValueError(
            f"Structure(...) takes for each node a list of pairs (primitive, source); "
            f"got {str(nodes)[:80]}."
        ) from None
    return Topology.parse("+".join(f"|{group}" for group in groups))


def _in_json(text: str) -> list[str | dict]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return _in_value(value)


def _in_json_lines(text: str) -> list[str | dict]:
    """Pieces of a text whose every line is a JSON object, such as metrics.jsonl.

    Where the last record names the epoch that an early stop returns, no record of a
    later epoch counts.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or not all(line.lstrip().startswith("{") for line in lines):
        return []
    try:
        records = [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        return []
    return _in_value(records[: _num_counting(records)])


def _num_counting(records: list[dict]) -> int:
    """How many records count: those up to the epoch that an early stop returns.

    Only the last record names that epoch. Elsewhere `early_stop` is a flag, a patience
    or a setting that every record repeats, and says nothing about epochs.
    """
    stop = records[-1].get("early_stop")
    is_repeated = any("early_stop" in record for record in records[:-1])
    if type(stop) is not int or is_repeated:
        return len(records)
    numbers = [
        number
        for number, record in enumerate(records, 1)
        if type(record.get("epoch")) is int and record["epoch"] == stop
    ]
    return numbers[-1] if numbers else len(records)


def _in_value(value: Any) -> list[str | dict]:
    """Pieces in a JSON value. An object's own genotype counts before all it holds."""
    if isinstance(value, str):
        return text_pieces(value)
    if isinstance(value, list):
        return [piece for item in value for piece in _in_value(item)]
    if not isinstance(value, dict):
        return []
    if set(FIELDS) <= set(value):
        return [value]
    for name in ("genotype", FIELD):
        if pieces := _in_value(value.get(name)):
            return pieces
    return _in_value(list(value.values()))
