"""Defines the genotypes of NAS-Bench-201: one cell with one primitive on every edge.

The text form is the benchmark's own: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`. Every node
after the input has a group, which holds `primitive~source` for each of its edges.

Source: NAS-Bench-201 (Dong & Yang, ICLR 2020), `arch_str`.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Sequence

from egnas_jax.lookup import lookup
from egnas_jax.space.genotype_text import read_json_fields
from egnas_jax.space.nasbench201 import NASBENCH201

KNOWN_PRIMITIVES = {name: name for name in NASBENCH201.primitives}
FIELD = "cell"  # of the JSON form

HOWTO = (
    "Allowed: |op~0|+|op~0|op~1|+|op~0|op~1|op~2| with op of "
    f"{', '.join(NASBENCH201.primitives)}, e.g. "
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|."
)


@dataclasses.dataclass(frozen=True)
class Topology:
    """The cell that a network of NAS-Bench-201 is built of.

    Attributes:
      primitives: one per edge, in the order of the space's edges.

    Raises:
      ValueError: the number of primitives is not six, or one of them is unknown.
    """

    primitives: tuple[str, ...]

    def __post_init__(self):
        names = self.primitives
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise ValueError(
                f"A cell is a list of primitives, got {str(names)[:80]!r}."
            )
        names = tuple(names)
        if len(names) != NASBENCH201.num_edges:
            raise ValueError(
                f"A cell of NAS-Bench-201 has {NASBENCH201.num_edges} edges, got "
                f"{len(names)} primitives. {HOWTO}"
            )
        names = tuple(lookup(KNOWN_PRIMITIVES, name, "primitive") for name in names)
        object.__setattr__(self, "primitives", names)

    @classmethod
    def of_choices(cls, choices: Sequence[int]) -> "Topology":
        """The cell whose edge e has the space's primitive number choices[e]."""
        return cls(tuple(NASBENCH201.primitives[choice] for choice in choices))

    @property
    def choices(self) -> tuple[int, ...]:
        """For each edge, the number of its primitive in the space."""
        return tuple(map(NASBENCH201.primitives.index, self.primitives))

    @classmethod
    def parse(cls, text: str) -> "Topology":
        """Reads the benchmark's text.

        Raises:
          ValueError: the text is not a cell; the message names the wrong part.
        """
        if not isinstance(text, str):
            raise ValueError(f"A cell's text must be a str, got {text!r}. {HOWTO}")
        groups, targets = text.strip().split("+"), NASBENCH201.num_nodes
        if len(groups) != targets:
            raise ValueError(
                f"Not a cell of NAS-Bench-201: {text.strip()[:80]!r} has {len(groups)} "
                f"groups between `+`, not {targets}. {HOWTO}"
            )
        nodes = [_node(number, group) for number, group in enumerate(groups, 1)]
        return cls(tuple(itertools.chain.from_iterable(nodes)))

    def format(self) -> str:
        """The text that the benchmark uses for the cell."""
        groups = [""] * NASBENCH201.num_nodes
        for (source, target), name in zip(
            NASBENCH201.edges, self.primitives, strict=True
        ):
            groups[target - NASBENCH201.num_inputs] += f"{name}~{source}|"
        return "+".join(f"|{group}" for group in groups)

    @classmethod
    def from_json(cls, text: str) -> "Topology":
        """Reads what `to_json` writes.

        Raises:
          ValueError: the text is not a JSON object with the one field, or the field
            does not hold a cell.
        """
        fields = read_json_fields(text, [FIELD], "a cell of NAS-Bench-201")
        return cls.parse(fields[FIELD])

    def to_json(self) -> str:
        """One JSON object whose only field holds the text form."""
        return json.dumps({FIELD: self.format()})


def _node(number, group):
    """Primitives of the edges that end in one node, by ascending source."""
    parts = group.strip().split("|")
    if len(parts) != number + 2 or parts[0] or parts[-1]:
        raise ValueError(
            f"Node {number} takes {number} `op~source` between bars, got "
            f"{group.strip()[:80]!r}. {HOWTO}"
        )
    names = []
    for source, part in enumerate(parts[1:-1]):
        name, _, read_source = part.partition("~")
        if read_source != str(source):
            raise ValueError(
                f"Node {number} takes its edges in the order of their sources: "
                f"`op~{source}` was expected, got {part[:80]!r}. {HOWTO}"
            )
        names.append(name)
    return names
