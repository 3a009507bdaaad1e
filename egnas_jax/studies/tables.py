"""Formats tables as Markdown and CSV."""

import csv
import io
import math
from collections.abc import Iterable, Sequence


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[object]], note: str = ""
) -> str:
    """A table in Markdown, with a note below it."""

    def line(cells):
        texts = (str(cell).replace("|", "\\|") for cell in cells)
        return f"| {' | '.join(texts)} |"

    lines = [line(header), "|---" * len(header) + "|", *map(line, rows)]
    return "\n".join([*lines, *(["", note] if note else []), ""])


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, the header first."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def interval_text(value: float, low: float, high: float) -> str:
    """A value and its bounds, "0.512 (0.401 to 0.623)"; NaN bounds are left out."""
    bounds = "" if math.isnan(low) else f" ({low:.3f} to {high:.3f})"
    return f"{value:.3f}{bounds}"
