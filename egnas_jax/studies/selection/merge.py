"""Keeps cells of an earlier selection beside those of a new one."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from egnas_jax.studies.selection.selectors import SELECTORS, used_options


class Merged(NamedTuple):
    """Rows of two selections from the same weights.

    Attributes:
      options: fields of `SelectionOptions` that are true of all rows.
      rows: those of selection.json, in the order of `SELECTORS`.
      removed: names of the earlier selectors that no row is left of.
    """

    options: dict[str, Any]
    rows: list[dict]
    removed: list[str]


def merge(
    earlier: Mapping[str, Any], rows: Sequence[dict], options: Mapping[str, Any]
) -> Merged:
    """Keeps the rows of other selectors that were selected by the same options.

    Only options that the selector of a row uses have to be the same. An option that no
    new selector uses has the value that the kept rows had.

    Args:
      earlier: contents of a selection.json of the same weights; {} without one.
      rows: of the new selectors.
      options: of the new selectors, all fields of `SelectionOptions`.
    """
    names = [row["selector"] for row in rows]
    used = used_options(names)
    changed = {name for name in used if earlier.get(name) != options[name]}
    others = {
        row["selector"]: row
        for row in earlier.get("selectors", ())
        if row["selector"] not in names
    }
    kept = [row for name, row in others.items() if not changed & used_options([name])]
    if kept:
        inherited = {name: earlier[name] for name in set(options) - used}
        options = {**options, **inherited}
    by_name = {row["selector"]: row for row in [*kept, *rows]}
    return Merged(
        options=dict(options),
        rows=[by_name[name] for name in SELECTORS if name in by_name],
        removed=[name for name in others if name not in by_name],
    )
