"""Genotypes of the DARTS family: two derived cells, their text and JSON forms.

Nodes of a cell are numbered 0 and 1 (its inputs), then 2, 3, ... (its blocks). Each
block sums two pairs (primitive, source node); the output concatenates the nodes of
`normal_concat` or `reduce_concat`.

Source: DARTS (Liu et al., ICLR 2019), `Genotype` and `genotype()` of its reference.
"""

import dataclasses
import json
import operator
from collections.abc import Iterable

from egnas_jax.lookup import lookup
from egnas_jax.space.base import PRIMITIVES
from egnas_jax.space.genotype_text import FIELDS, read_genotype

Pair = tuple[str, int]

NUM_INPUTS = 2
PAIRS_PER_NODE = 2
KNOWN_PRIMITIVES = {name: name for name in PRIMITIVES}


@dataclasses.dataclass(frozen=True)
class Genotype:
    """Two cells that a network is built of.

    Attributes:
      normal, reduce: pairs (primitive, source node), two per block, in the order in
        which they were emitted.
      normal_concat, reduce_concat: nodes whose channels make up the output.

    Raises:
      ValueError: an unknown primitive, an edge that does not point to a later node,
        an odd number of pairs, a source or an output that is no node.
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
        """Reads `Genotype(normal=[...], ...)`; never runs what the text holds.

        Raises:
          ValueError: the text is no genotype; the message names the piece.
        """
        return cls(**read_genotype(text))

    @classmethod
    def from_json(cls, text: str) -> "Genotype":
        """Reads what `to_json` writes.

        Raises:
          ValueError: no JSON object with the four fields, or no valid genotype.
        """
        try:
            fields = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"A genotype's JSON cannot be read: {error}.") from None
        if not isinstance(fields, dict) or set(fields) != set(FIELDS):
            found = sorted(fields) if isinstance(fields, dict) else fields
            raise ValueError(
                f"A genotype's JSON is an object with exactly the fields "
                f"{', '.join(FIELDS)}; found {str(found)[:200]}."
            )
        return cls(**fields)

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
        """The two pairs of each block of the cell of that kind, in node order."""
        pairs = getattr(self, kind)
        return tuple(zip(pairs[::2], pairs[1::2], strict=True))

    def concat(self, kind: str) -> tuple[int, ...]:
        """Output nodes of the cell of that kind."""
        return getattr(self, f"{kind}_concat")


def _checked_pairs(kind, pairs):
    """Pairs as tuples, or an error that names the first bad one."""
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
    """Output nodes as a tuple, or an error that names the first bad one."""
    nodes = _sequence(field, concat)
    nodes = tuple(_integer(f"{field}: an output node", node) for node in nodes)
    # The inputs of a reduction cell are twice as large as its output.
    first = 0 if field == "normal_concat" else NUM_INPUTS
    allowed = range(first, num_nodes)
    bad = next((node for node in nodes if node not in allowed), None)
    if bad is not None or len(set(nodes)) != len(nodes) or not nodes:
        problem = "it must name nodes, each once" if bad is None else f"no node {bad}"
        raise ValueError(
            f"{field} = {str(list(nodes))[:80]}: {problem}. "
            f"Give at least one of the nodes {first} to {num_nodes - 1}."
        )
    return nodes


def _sequence(where, value):
    """A list-like value as a tuple."""
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        raise ValueError(f"{where}: give a list, got {str(value)[:80]!r}.")
    return tuple(value)


def _integer(where, value):
    """A whole number as int; True and 1.0 are none."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ValueError(f"{where} must be a whole number, got {value!r}.")
    return operator.index(value)


def _format_concat(nodes):
    """`range(a, b)` where the nodes are consecutive, as torch repositories print."""
    contiguous = range(nodes[0], nodes[-1] + 1)
    return str(contiguous if nodes == tuple(contiguous) else list(nodes))
