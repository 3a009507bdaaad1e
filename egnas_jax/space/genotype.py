"""Defines the genotypes of the DARTS family: two cells, with a text and a JSON form.

Nodes of a cell are numbered 0 and 1 (its inputs), then 2, 3, ... (its blocks). Each
block sums two pairs (primitive, source node). The output concatenates the nodes of
`normal_concat` or `reduce_concat`.

Source: DARTS (Liu et al., ICLR 2019), `Genotype` and `genotype()` of its reference.
"""

import dataclasses
import json
import operator
from collections.abc import Iterable

from egnas_jax.lookup import lookup
from egnas_jax.space.base import PRIMITIVES
from egnas_jax.space.genotype_text import FIELDS, read_genotype, read_json_fields

Pair = tuple[str, int]

NUM_INPUTS = 2
PAIRS_PER_NODE = 2
KNOWN_PRIMITIVES = {name: name for name in PRIMITIVES}


@dataclasses.dataclass(frozen=True)
class Genotype:
    """The two cells that a network is built of.

    Attributes:
      normal, reduce: pairs (primitive, source node), two per block, in the order in
        which the derivation emitted them.
      normal_concat, reduce_concat: nodes whose channels make up the output.

    Raises:
      ValueError: a primitive is unknown, an edge does not point to a later node, the
        number of pairs is odd, or a source or an output is not a node.
    """

    normal: tuple[Pair, ...]
    normal_concat: tuple[int, ...]
    reduce: tuple[Pair, ...]
    reduce_concat: tuple[int, ...]

    def __post_init__(self):
        for kind in ("normal", "reduce"):
            pairs = _checked_pairs(kind, getattr(self, kind))
            num_nodes = NUM_INPUTS + len(pairs) // PAIRS_PER_NODE
            field = f"{kind}_concat"
            concat = _checked_concat(field, getattr(self, field), num_nodes)
            object.__setattr__(self, kind, pairs)
            object.__setattr__(self, field, concat)

    @classmethod
    def parse(cls, text: str) -> "Genotype":
        """Reads `Genotype(normal=[...], ...)` without evaluating the text.

        Raises:
          ValueError: the text is not a genotype; the message names the wrong part.
        """
        return cls(**read_genotype(text))

    @classmethod
    def from_json(cls, text: str) -> "Genotype":
        """Reads what `to_json` writes.

        Raises:
          ValueError: the text is not a JSON object with the four fields, or they are
            not a valid genotype.
        """
        return cls(**read_json_fields(text, FIELDS, "a genotype"))

    def format(self) -> str:
        """The text that torch repositories of this family print and read."""
        fields = (
            f"normal={list(self.normal)}",
            f"normal_concat={_format_concat(self.normal_concat)}",
            f"reduce={list(self.reduce)}",
            f"reduce_concat={_format_concat(self.reduce_concat)}",
        )
        return f"Genotype({', '.join(fields)})"

    def to_json(self) -> str:
        """One JSON object with the four fields."""
        return json.dumps(dataclasses.asdict(self))

    def blocks(self, kind: str) -> tuple[tuple[Pair, Pair], ...]:
        """The two pairs of each block of the cell of this kind, in node order."""
        pairs = getattr(self, kind)
        return tuple(zip(pairs[::2], pairs[1::2], strict=True))

    def concat(self, kind: str) -> tuple[int, ...]:
        """Output nodes of the cell of this kind."""
        return getattr(self, f"{kind}_concat")


def _checked_pairs(kind, pairs):
    """Pairs as tuples; raises ValueError that names the first wrong one."""
    pairs = _sequence(kind, pairs)
    if not pairs or len(pairs) % PAIRS_PER_NODE:
        raise ValueError(
            f"{kind} holds {len(pairs)} (primitive, source) pairs. Every block takes "
            f"{PAIRS_PER_NODE}: give a positive even number."
        )
    return tuple(_checked_pair(kind, index, pair) for index, pair in enumerate(pairs))


def _checked_pair(kind, index, pair):
    where = f"{kind}[{index}] = {str(pair)[:80]}"
    target = NUM_INPUTS + index // PAIRS_PER_NODE
    pair = _sequence(where, pair)
    if len(pair) != 2:
        raise ValueError(f"{where}: give a pair (primitive, source node).")
    try:
        primitive = lookup(KNOWN_PRIMITIVES, pair[0], "primitive")
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    source = _integer(f"{where}: the source node", pair[1])
    if not 0 <= source < target:
        raise ValueError(
            f"{where}: node {target} cannot take node {source}, which does not come "
            f"before it. Allowed sources: 0 to {target - 1}."
        )
    return primitive, source


def _checked_concat(field, concat, num_nodes):
    """Output nodes as a tuple; raises ValueError that names the first wrong one."""
    nodes = _sequence(field, concat)
    nodes = tuple(_integer(f"{field}: an output node", node) for node in nodes)
    # The output of a reduction cell cannot hold its inputs, which are twice as large.
    first = 0 if field == "normal_concat" else NUM_INPUTS
    unknown = [node for node in nodes if node not in range(first, num_nodes)]
    if unknown or len(set(nodes)) != len(nodes) or not nodes:
        problem = (
            f"no node {unknown[0]}" if unknown else "it must name nodes, each once"
        )
        raise ValueError(
            f"{field} = {str(list(nodes))[:80]}: {problem}. "
            f"Give at least one of the nodes {first} to {num_nodes - 1}."
        )
    return nodes


def _sequence(where, value):
    """A list-like value as a tuple; `where` names it in the error."""
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        raise ValueError(f"{where}: give a list, got {str(value)[:80]!r}.")
    return tuple(value)


def _integer(where, value):
    """A whole number as int; True and 1.0 are refused."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ValueError(f"{where} must be a whole number, got {value!r}.")
    return operator.index(value)


def _format_concat(nodes):
    """`range(a, b)` for consecutive nodes, as torch repositories print; else a list."""
    contiguous = range(nodes[0], nodes[-1] + 1)
    return str(contiguous if nodes == tuple(contiguous) else list(nodes))
