"""Reads the primitives of a space, which may differ between its edges.

Dims: E edges of a cell, K primitives of the space: those that any edge has.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from egnas_jax.space.graph import Edge
from egnas_jax.space.primitive_names import check_primitive_name

# kind of cell -> edge -> positions of its primitives, ascending
LivePrimitives = tuple[tuple[tuple[int, ...], ...], ...]


def read_primitives(
    where: str, primitives: Any, kinds: Sequence[str], edges: Sequence[Edge]
) -> tuple[tuple[str, ...], LivePrimitives | None]:
    """Returns all primitives of a space, and which of them its edges have.

    Args:
      where: what they belong to, as messages name it ("The space mine").
      primitives: names; or edge -> names; or kind of cell -> one of these.
      kinds: the kinds of cells.
      edges: of a cell, E.

    Returns:
      The K names, in the order in which they first stand in `primitives`; and their
      positions by kind and edge, or None where every edge has all.

    Raises:
      ValueError: a name is unknown or stands twice, an edge has no names, or an edge or
        a kind is unknown or missing.
    """
    names = _by_kind_and_edge(where, primitives, kinds, edges)
    union = tuple(dict.fromkeys(n for rows in names for row in rows for n in row))
    live = tuple(
        tuple(tuple(sorted(map(union.index, row))) for row in rows) for rows in names
    )
    return union, _unless_all(live, len(union))


def checked_live(
    where: str, live: Any, shape: tuple[int, int, int]
) -> LivePrimitives | None:
    """Returns positions of primitives by kind and edge, checked; None where all.

    Args:
      where: see `read_primitives`.
      live: lists of positions by kind and edge, or None.
      shape: numbers of kinds, E and K.

    Raises:
      ValueError: there are other numbers of kinds or edges, or the positions of an edge
        are not ascending numbers below K.
    """
    if live is None:
        return None
    kinds, edges, allowed = shape[0], shape[1], range(shape[2])
    live = tuple(tuple(tuple(row) for row in rows) for rows in live)
    if [len(rows) for rows in live] != [edges] * kinds:
        raise ValueError(
            f"{where} has edges {[len(rows) for rows in live]} by kind of cell, but "
            f"must have {edges} for each of the {kinds}."
        )
    for row in (row for rows in live for row in rows):
        if not row or list(row) != sorted(set(row) & set(allowed)):
            raise ValueError(
                f"{where} gives an edge the primitives {list(row)}, but an edge needs "
                f"at least one of 0 to {allowed[-1]}, ascending."
            )
    return _unless_all(live, shape[2])


def _unless_all(live, num_primitives):
    everything = tuple(range(num_primitives))
    return None if all(row == everything for rows in live for row in rows) else live


def _by_kind_and_edge(where, primitives, kinds, edges):
    """Names of every edge of every kind of cell."""
    by_kind = [primitives] * len(kinds)
    if isinstance(primitives, Mapping) and any(isinstance(k, str) for k in primitives):
        if set(primitives) != set(kinds):
            raise ValueError(
                f"{where} has primitives for {', '.join(map(str, primitives))}. Give "
                f"them for each kind of cell: {', '.join(kinds)}."
            )
        by_kind = [primitives[kind] for kind in kinds]
    return [_by_edge(where, names, edges) for names in by_kind]


def _by_edge(where, primitives, edges):
    """Names of every edge."""
    if not isinstance(primitives, Mapping):
        return [_names(where, primitives)] * len(edges)
    for what, wrong in (
        ("the unknown edge", [edge for edge in primitives if edge not in edges]),
        ("no primitives for the edge", [e for e in edges if e not in primitives]),
    ):
        if wrong:
            raise ValueError(
                f"{where} has {what} {wrong[0]}. Give primitives for each of its "
                f"edges: {', '.join(map(str, edges))}."
            )
    return [_names(f"{where}, edge {edge}", primitives[edge]) for edge in edges]


def _names(where, names) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise ValueError(
            f"{where} needs a list of names of primitives, at least one; got {names!r}."
        )
    for name in names:
        try:
            check_primitive_name(name)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if list(names).count(name) > 1:
            raise ValueError(f"{where} has the primitive {name} twice: keep one.")
    return tuple(names)
