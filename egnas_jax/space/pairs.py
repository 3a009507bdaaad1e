"""Reads the pairs of a cell in the forms in which repositories write them.

A pair is (primitive, source node). Some repositories nest the pairs by node, and some
add a third entry: the weight that the derivation saw, or the node that the edge ends
in. Both forms say the same as the flat list of pairs.
"""

import numbers
import operator
from collections.abc import Iterable
from typing import Any

from egnas_jax.space.primitive_names import check_primitive_name

Pair = tuple[str, int]

NUM_INPUTS = 2
PAIRS_PER_NODE = 2


def read_pairs(kind: str, pairs: Any) -> tuple[Pair, ...]:
    """The flat list of pairs that a cell is written as.

    Args:
      kind: of the cell, as the messages name it ("normal").
      pairs: a list of pairs or of lists of two pairs, one list for each node. A pair
        may have a third entry: a decimal number, which is dropped, or the number of the
        node that it ends in.

    Raises:
      ValueError: the message names the first wrong entry.
    """
    pairs = sequence(kind, pairs)
    if any(_is_node(entry) for entry in pairs):
        pairs = _flattened(kind, pairs)
    if not pairs or len(pairs) % PAIRS_PER_NODE:
        raise ValueError(
            f"{kind} holds {len(pairs)} (primitive, source) pairs. Every block takes "
            f"{PAIRS_PER_NODE}: give a positive even number."
        )
    return tuple(_read_pair(kind, index, pair) for index, pair in enumerate(pairs))


def sequence(where: str, value: Any) -> tuple:
    """A list-like value as a tuple; `where` names it in the error.

    Raises:
      ValueError: the value is not like a list.
    """
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        raise ValueError(f"{where}: give a list, got {str(value)[:80]!r}.")
    return tuple(value)


def integer(where: str, value: Any) -> int:
    """A whole number as int; True and 1.0 are refused.

    Raises:
      ValueError: the value is not a whole number.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ValueError(f"{where} must be a whole number, got {value!r}.")
    return operator.index(value)


def _is_node(entry):
    """Whether an entry is a list of pairs, not a pair: its own entries are lists."""
    return isinstance(entry, list | tuple) and any(
        isinstance(part, list | tuple) for part in entry
    )


def _flattened(kind, nodes):
    pairs = []
    for index, node in enumerate(nodes):
        if not _is_node(node) or len(node) != PAIRS_PER_NODE:
            raise ValueError(
                f"{kind}[{index}] = {str(node)[:80]}: the pairs are nested by node, "
                f"and every node takes {PAIRS_PER_NODE} (primitive, source) pairs."
            )
        pairs += node
    return pairs


def _read_pair(kind, index, pair):
    where = f"{kind}[{index}] = {str(pair)[:80]}"
    target = NUM_INPUTS + index // PAIRS_PER_NODE
    pair = sequence(where, pair)
    if len(pair) not in (2, 3):
        raise ValueError(
            f"{where}: give a pair (primitive, source node), or with a weight "
            f"(primitive, source node, 0.5)."
        )
    try:
        check_primitive_name(pair[0])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    source = integer(f"{where}: the source node", pair[1])
    if not 0 <= source < target:
        raise ValueError(
            f"{where}: node {target} cannot take node {source}, which does not come "
            f"before it. Allowed sources: 0 to {target - 1}."
        )
    for extra in pair[2:]:
        _check_third(where, extra, target)
    return pair[0], source


def _check_third(where, value, target):
    """Refuses a third entry that is neither a weight nor the pair's own node."""
    is_weight = isinstance(value, numbers.Real) and not hasattr(value, "__index__")
    if not is_weight and (isinstance(value, bool) or value != target):
        raise ValueError(
            f"{where}: the third entry is {value!r}, but must be a weight (a decimal "
            f"number, which is dropped) or {target}, the node that this pair ends in. "
            f"Leave it out."
        )
