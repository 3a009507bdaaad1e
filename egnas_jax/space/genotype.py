"""Defines the genotypes of the DARTS family: two cells, with a text and a JSON form.

Nodes of a cell are numbered 0 and 1 (its inputs), then 2, 3, ... (its blocks). Each
block sums two pairs (primitive, source node). The output concatenates the nodes of
`normal_concat` or `reduce_concat`.

Source: DARTS (Liu et al., ICLR 2019), `Genotype` and `genotype()` of its reference.
"""

import dataclasses
import json
from typing import ClassVar

from egnas_jax.space.genotype_text import FIELDS, read_fields, read_json_fields
from egnas_jax.space.pairs import (
    NUM_INPUTS,
    PAIRS_PER_NODE,
    Pair,
    integer,
    read_pairs,
    sequence,
)


@dataclasses.dataclass(frozen=True)
class Genotype:
    """The two cells that a network is built of.

    Attributes:
      normal, reduce: pairs (primitive, source node), two per block, in the order in
        which the derivation emitted them. The constructor also takes pairs that are
        nested by node or have a weight as a third entry (see `read_pairs`).
      normal_concat, reduce_concat: nodes whose channels make up the output.

    Raises:
      ValueError: a primitive is unknown, an edge does not point to a later node, the
        number of pairs is odd, or a source or an output is not a node.
    """

    normal: tuple[Pair, ...]
    normal_concat: tuple[int, ...]
    reduce: tuple[Pair, ...]
    reduce_concat: tuple[int, ...]

    macro: ClassVar[str] = "darts"  # the structure that its network has
    kinds: ClassVar[tuple[str, ...]] = ("normal", "reduce")
    num_inputs: ClassVar[int] = NUM_INPUTS
    lacking_edges: ClassVar[tuple] = ()  # a node takes two of its edges

    def __post_init__(self):
        for kind in ("normal", "reduce"):
            pairs = read_pairs(kind, getattr(self, kind))
            num_nodes = NUM_INPUTS + len(pairs) // PAIRS_PER_NODE
            field = f"{kind}_concat"
            concat = _checked_concat(field, getattr(self, field), num_nodes)
            object.__setattr__(self, kind, pairs)
            object.__setattr__(self, field, concat)

    @classmethod
    def parse(cls, text: str) -> "Genotype":
        """Reads `Genotype(normal=[...], ...)` without evaluating the text.

        A dictionary of the four fields is read too.

        Raises:
          ValueError: the text is not a genotype; the message names the wrong part.
        """
        return cls(**read_fields(text))

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

    def edges_of(self, kind: str) -> tuple[tuple[str, int, int], ...]:
        """(primitive, source, target) of each edge of the cell of this kind."""
        return tuple(
            (primitive, source, NUM_INPUTS + index // PAIRS_PER_NODE)
            for index, (primitive, source) in enumerate(getattr(self, kind))
        )

    def primitives_of(self, kind: str) -> tuple[str, ...]:
        """The primitives that the cell of this kind kept, an entry for each edge.

        A `skip_connect` from a node that is no output only continues the chain of a
        node with more than two edges (space/all_edges.py), and is left out. Where the
        output is a single node, chains cannot be told from edges, and all count.
        """
        outputs, pairs = self.concat(kind), getattr(self, kind)
        if len(outputs) == 1:
            return tuple(primitive for primitive, _ in pairs)
        return tuple(
            primitive
            for primitive, source in pairs
            if primitive != "skip_connect" or source < NUM_INPUTS or source in outputs
        )


def _checked_concat(field, concat, num_nodes):
    """Output nodes as a tuple; raises ValueError that names the first wrong one."""
    nodes = sequence(field, concat)
    nodes = tuple(integer(f"{field}: an output node", node) for node in nodes)
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


def _format_concat(nodes):
    """`range(a, b)` for consecutive nodes, as torch repositories print; else a list."""
    contiguous = range(nodes[0], nodes[-1] + 1)
    return str(contiguous if nodes == tuple(contiguous) else list(nodes))
