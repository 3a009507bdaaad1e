"""Defines the genotypes with one kind of cell, whose every edge has a primitive.

The text form is that of NAS-Bench-201: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`. Every
node after the input has a group, which holds `primitive~source` for each of its edges.
An edge that the graph lacks is left out of its group.

Source: NAS-Bench-201 (Dong & Yang, ICLR 2020), `arch_str`.
"""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import ClassVar

from egnas_jax.space.base import MAX_NODES, Space
from egnas_jax.space.genotype_text import read_json_fields
from egnas_jax.space.graph import Edge, checked_edges, read_edges
from egnas_jax.space.nasbench201 import NASBENCH201
from egnas_jax.space.pairs import integer
from egnas_jax.space.primitive_names import check_primitive_name

FIELD = "cell"  # of the JSON form
NUM_INPUTS = 1

HOWTO = (
    "The text of a cell has a group for each node after the input, and in it "
    "PRIMITIVE~SOURCE for each edge to the node: |op~0|+|op~0|op~1|. One of "
    "NAS-Bench-201 has three groups and all edges, e.g. "
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|, "
    f"with {', '.join(NASBENCH201.primitives)}."
)


@dataclasses.dataclass(frozen=True, repr=False)
class Topology:
    """The cell that a network of stages is built of.

    Attributes:
      primitives: one per edge, in the order of the edges.
      edges: (source, target), sorted by target, then by source; node 0 is the input,
        and the last node is the output.

    Raises:
      ValueError: there are more or fewer primitives than edges, one of them is unknown,
        or the edges are no graph of a cell (see `space.graph`).
    """

    primitives: tuple[str, ...]
    edges: tuple[Edge, ...] = NASBENCH201.edges

    macro: ClassVar[str] = "nasbench201"  # the structure that its network has
    kinds: ClassVar[tuple[str, ...]] = NASBENCH201.kinds
    num_inputs: ClassVar[int] = NUM_INPUTS

    def __post_init__(self):
        names = self.primitives
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise ValueError(
                f"A cell is a list of primitives, got {str(names)[:80]!r}."
            )
        names, edges = tuple(names), tuple(read_edges("The cell", self.edges))
        num_nodes = max((target for _, target in edges), default=1)
        if edges != checked_edges("The cell", edges, NUM_INPUTS, num_nodes):
            raise ValueError(
                f"The edges of a cell must be sorted by target, then by source; got "
                f"{list(edges)}."
            )
        if len(names) != len(edges):
            raise ValueError(
                f"The cell has {len(edges)} edges, got {len(names)} primitives. {HOWTO}"
            )
        for name in names:
            check_primitive_name(name)
        object.__setattr__(self, "primitives", names)
        object.__setattr__(self, "edges", edges)

    def __repr__(self) -> str:
        if self.edges == NASBENCH201.edges:
            return f"Topology(primitives={self.primitives!r})"
        return f"Topology.parse({self.format()!r})"

    @classmethod
    def of_choices(
        cls, choices: Sequence[int], space: Space = NASBENCH201
    ) -> "Topology":
        """The cell whose edge e has primitive number choices[e] of a space.

        Raises:
          ValueError: there are more or fewer choices than edges, or one is no number of
            a primitive.
        """
        allowed = range(len(space.primitives))
        choices = [integer("A choice", choice) for choice in choices]
        for edge, choice in enumerate(choices):
            if choice not in allowed:
                raise ValueError(
                    f"Choice {choice} of edge {edge} is no primitive of the space "
                    f"{space.name}. Allowed: 0 to {allowed[-1]}, for "
                    f"{', '.join(space.primitives)}."
                )
        return cls(tuple(space.primitives[choice] for choice in choices), space.edges)

    @property
    def choices(self) -> tuple[int, ...]:
        """For each edge, the number of its primitive in NAS-Bench-201.

        Raises:
          ValueError: the cell is not one of NAS-Bench-201.
        """
        known = NASBENCH201.primitives
        if self.edges != NASBENCH201.edges or not set(self.primitives) <= set(known):
            raise ValueError(f"{self.format()} is no cell of NAS-Bench-201. {HOWTO}")
        return tuple(map(known.index, self.primitives))

    @property
    def lacking_edges(self) -> tuple[Edge, ...]:
        """The edges of a graph of as many nodes that the cell does not have."""
        nodes = range(self.edges[-1][1] + 1)
        return tuple(
            (source, target)
            for target in nodes
            for source in range(target)
            if (source, target) not in self.edges
        )

    @classmethod
    def parse(cls, text: str) -> "Topology":
        """Reads the text form.

        Raises:
          ValueError: the text is not a cell; the message names the wrong part.
        """
        if not isinstance(text, str):
            raise ValueError(f"A cell's text must be a str, got {text!r}. {HOWTO}")
        groups = text.strip().split("+")
        if len(groups) > MAX_NODES:
            raise ValueError(
                f"The text has {len(groups)} groups between `+`, but a cell has at "
                f"most {MAX_NODES} nodes. {HOWTO}"
            )
        pairs = [
            (name, (source, number))
            for number, group in enumerate(groups, start=1)
            for name, source in _node(number, group)
        ]
        names, edges = zip(*pairs, strict=True)
        return cls(names, edges)

    def format(self) -> str:
        """The text that NAS-Bench-201 uses for its cells."""
        groups = [""] * self.edges[-1][1]
        for name, source, target in self.edges_of():
            groups[target - 1] += f"{name}~{source}|"
        return "+".join(f"|{group}" for group in groups)

    @classmethod
    def from_json(cls, text: str) -> "Topology":
        """Reads what `to_json` writes.

        Raises:
          ValueError: the text is not a JSON object with the one field, or the field
            does not hold a cell.
        """
        fields = read_json_fields(text, [FIELD], "a cell with one input")
        return cls.parse(fields[FIELD])

    def to_json(self) -> str:
        """One JSON object whose only field holds the text form."""
        return json.dumps({FIELD: self.format()})

    def edges_of(self, kind: str = FIELD) -> tuple[tuple[str, int, int], ...]:
        """(primitive, source, target) of each edge of the cell."""
        del kind  # there is one
        return tuple(
            (name, *edge)
            for name, edge in zip(self.primitives, self.edges, strict=True)
        )

    def primitives_of(self, kind: str = FIELD) -> tuple[str, ...]:
        """The primitives of the cell, an entry for each edge."""
        del kind  # there is one
        return self.primitives

    def concat(self, kind: str = FIELD) -> tuple[int, ...]:
        """The output node of the cell."""
        del kind  # there is one
        return (self.edges[-1][1],)


def _node(number, group):
    """Primitives and sources of the edges that end in one node, by ascending source."""
    parts = group.strip().split("|")
    if len(parts) < 3 or parts[0] or parts[-1]:
        raise ValueError(
            f"Node {number} takes `op~source` between bars, one for each of its edges; "
            f"got {group.strip()[:80]!r}. {HOWTO}"
        )
    pairs, first = [], 0
    for part in parts[1:-1]:
        name, _, source = part.partition("~")
        allowed = range(first, number)
        if source not in map(str, allowed):
            known = ", ".join(map(str, allowed)) or "none is left"
            raise ValueError(
                f"Node {number} takes `op~source` by ascending source (here {known}), "
                f"got {part[:80]!r}. {HOWTO}"
            )
        pairs.append((name, int(source)))
        first = int(source) + 1
    return pairs
