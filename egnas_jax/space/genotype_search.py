"""Finds genotypes in texts: logs, modules such as genotypes.py, JSON, printed lines.

Nothing is evaluated. A text that is JSON, or Python as a whole, is read as such, so
that comments do not count; any other text is searched for the written forms. Where a
text holds several genotypes the last one counts, as the last line of a log does.
"""

import ast
import html
import io
import json
import re
import tokenize
import warnings
from typing import Any, NamedTuple

from egnas_jax.space.genotype import Genotype
from egnas_jax.space.genotype_text import FIELDS, MAX_CHARACTERS, read_argument
from egnas_jax.space.topology import FIELD, Topology

# An assignment, a class or a function of this name is no genotype; a call is.
CALL = r"(?<!class )(?<!def )\bGenotype\s*\("
NODES = r"\b(?:Cell)?Structure\s*\(\s*[\[(]"
PRIMITIVES = r"\bTopology\s*\(\s*(?:primitives\s*=\s*)?[\[(]"  # as Python prints it
FIELDS_OBJECT = r"""\{\s*["'](?:normal|reduce)(?:_concat)?["']\s*:"""
BARS = r"\|[^\s|+'\"]*~[^\s+'\"]*\|(?:\s*\+\s*\|[^\s+'\"]+\|)*"
WRITTEN = re.compile("|".join((CALL, NODES, PRIMITIVES, FIELDS_OBJECT, BARS)))
CALLS = ("Genotype", "Structure", "CellStructure", "Topology")
MAX_MODULE = 1_000_000  # characters that are parsed as Python; longer texts are logs


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
    return WRITTEN.search(html.unescape(text)) is not None


def last_genotype(text: str) -> LastGenotype | None:
    """Reads the last genotype of a text; None where it holds none.

    Args:
      text: anything that holds `Genotype(...)`, the fields of a genotype as JSON or as
        a Python dictionary, a cell of NAS-Bench-201 between bars, or `Structure(...)`.

    Raises:
      ValueError: the last genotype cannot be read; the message names the wrong part.
    """
    for find in (_in_json, _in_json_lines, _in_python, _in_any):
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
        return _in_any(value)
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


def _in_python(text: str) -> list[str | dict]:
    """Pieces of a Python module, in the order of the text."""
    if len(text) > MAX_MODULE:
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in the text
            nodes = list(ast.walk(ast.parse(text.strip())))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []
    found = [node for node in nodes if _is_written(node)]
    found.sort(key=lambda node: (node.lineno, node.col_offset))
    lines = io.StringIO(text.strip(), newline=None).readlines()
    return [_segment(lines, node) for node in found]


def _is_written(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in CALLS
        case ast.Dict(keys=keys):
            names = [key.value for key in keys if isinstance(key, ast.Constant)]
            return "normal" in names and "reduce" in names
        case ast.Constant(value=str(value)):
            return re.fullmatch(BARS, value.strip()) is not None
    return False


def _segment(lines: list[str], node: ast.expr) -> str:
    """The text of a node, from the form itself on: `genotypes.` before it is left out.

    Columns of a syntax tree count bytes.
    """
    if isinstance(node, ast.Constant):
        return node.value.strip()
    rows = [line.encode() for line in lines[node.lineno - 1 : node.end_lineno]]
    rows[-1] = rows[-1][: node.end_col_offset]
    rows[0] = rows[0][node.col_offset :]
    text = b"".join(rows).decode()
    if isinstance(node, ast.Dict):
        return text
    name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
    return text[text.index(name) :]


def _in_any(text: str) -> list[str | dict]:
    """Pieces of any text. All but the last one are left uncut, as only it is read."""
    text = html.unescape(text)  # a drawing or a report holds the text as HTML
    found = list(WRITTEN.finditer(text))
    if not found:
        return []
    last = found[-1]
    is_bars = last.group().startswith("|")
    piece = last.group() if is_bars else _through_bracket(text[last.start() :])
    return [*(match.group() for match in found[:-1]), piece]


def _through_bracket(text: str) -> str:
    """The text up to the bracket that closes its first one.

    Raises:
      ValueError: the bracket is not closed.
    """
    text, depth = text[: MAX_CHARACTERS + 1], 0
    lines = text.split("\n")
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            is_closed = token.string in (")", "]", "}")
            depth += (token.string in ("(", "[", "{")) - is_closed
            if is_closed and depth == 0:
                row, column = token.end
                return "\n".join([*lines[: row - 1], lines[row - 1][:column]])
    except (tokenize.TokenError, SyntaxError):
        pass
    raise ValueError(
        f"The last genotype of the text is cut off: its bracket is not closed within "
        f"{MAX_CHARACTERS} characters, {' '.join(text.split())[:80]!r}. Give a whole "
        f"genotype."
    )
