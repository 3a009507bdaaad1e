"""Defines search spaces as plain data.

The first nodes of a cell are its inputs. Every later node adds up its in-edges, and
each edge offers primitives.

Dims: E edges of a cell, K primitives of the space, D length of a flat alpha.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from egnas_jax.lookup import lookup
from egnas_jax.space.graph import (
    Edge,
    cell_name,
    check_used,
    checked_edges,
    reached_nodes,
)
from egnas_jax.space.pairs import integer
from egnas_jax.space.per_edge import LivePrimitives, checked_live, read_primitives
from egnas_jax.space.primitive_names import check_word
from egnas_jax.space.stages import Stage, stages_text

# All primitives that a network of the DARTS family may hold. A space offers some of
# them; the published cells (NASNet-A, AmoebaNet-A) use all of them.
DARTS_PRIMITIVES = (
    "none",
    "avg_pool_3x3",
    "max_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_7x1_1x7",
)
MAX_NODES = 64  # far beyond any useful cell: it catches typing errors


class Macro(NamedTuple):
    """How cells are put together to a network.

    Attributes:
      kinds: the kinds of cells.
      num_inputs: outputs of earlier cells that a cell reads.
      outputs: what the output of a cell may be.
      why: why the cells must be so, as a message says it.
    """

    kinds: tuple[str, ...]
    num_inputs: int
    outputs: tuple[str, ...]
    why: str


MACROS = {
    "darts": Macro(
        ("normal", "reduce"),
        2,
        ("concat", "last"),
        "a cell reads the outputs of the two cells before it, each through a 1x1 "
        "convolution, and two of the cells halve the image",
    ),
    "nasbench201": Macro(
        ("cell",),
        1,
        ("last",),
        "a cell reads the output of the cell before it as it is, so it has as many "
        "channels; residual blocks between the stages halve the image",
    ),
}
RULES = ("darts", "argmax")  # of derivation


@dataclasses.dataclass(frozen=True)
class Space:
    """A search space of cells, and all that differs between spaces.

    Attributes:
      name: its key in `SPACES`.
      primitives: the K primitives, in the order of the mixing's last axis. The
        constructor also takes edge -> names, and kind of cell -> either; then K counts
        those that any edge has, and `live` says which edge has which.
      kinds: the kinds of cells, in the order in which flat vectors hold them; None:
        those of the macro structure, which are the only ones that it can have.
      num_nodes: intermediate nodes of a cell.
      num_inputs: nodes that are inputs of a cell.
      edges: (source, target) of every edge, in the order of the mixing's edge axis,
        sorted by target, then by source; None: from every node to every later one.
        Nodes are numbered from the inputs.
      derive: how a genotype follows from a mixing. "darts": each node keeps its two
        strongest edges. "argmax": every edge keeps its strongest primitive. Or a
        function (space, mixing) -> Genotype or Topology, see `derive`.
      output: the output of a cell, "concat" of all its intermediate nodes, or its
        "last" node.
      macro: how cells make a network, a key of `MACROS`. The constructor also takes a
        list of `Stage`, for cells with two inputs; then it is "darts", and `stages` has
        the list.
      live: of each kind of cell and edge, the positions of its primitives; None: every
        edge has all.
      stages: text of the stages that the cells form (`space.stages`), other ones than
        those of the macro structure; None: these.

    Raises:
      ValueError: the graph has a cycle, an unknown node or a node without in-edge; a
        primitive is unknown; no primitives give a path from an input to the output; or
        the parts do not fit each other.
    """

    name: str
    primitives: tuple[str, ...] | Mapping[Any, Any]
    kinds: tuple[str, ...] | None = None
    num_nodes: int = 4
    num_inputs: int = 2
    edges: tuple[Edge, ...] | None = None
    derive: str | Callable = "darts"
    output: str = "concat"
    macro: str | Sequence[Stage] = "darts"
    live: LivePrimitives | None = None
    stages: str | None = None

    def __post_init__(self):
        where = f"The space {self.name}"
        self._read_sizes()
        self._read_stages(where)
        macro = lookup(MACROS, self.macro, "macro structure")
        kinds = macro.kinds if self.kinds is None else tuple(self.kinds)
        self._check_macro(macro, kinds)
        edges = checked_edges(where, self.edges, self.num_inputs, self.num_nodes)
        names, live = read_primitives(where, self.primitives, kinds, edges)
        if live is None:
            shape = len(kinds), len(edges), len(names)
            live = checked_live(f"{where}: live", self.live, shape)
        fields = {"kinds": kinds, "edges": edges, "primitives": names, "live": live}
        for field, value in fields.items():
            object.__setattr__(self, field, value)
        num_all = self.num_inputs + self.num_nodes
        check_used(where, edges, self.output_nodes, num_all)
        self._check_rule(where)
        self._check_paths(where)

    def _read_sizes(self):
        check_word(self.name, "a space", "my_space")
        for field in ("num_nodes", "num_inputs"):
            value = integer(f"The space {self.name}: {field}", getattr(self, field))
            if not 1 <= value <= MAX_NODES:
                raise ValueError(
                    f"The space {self.name}: {field} is {value!r}, but must be a whole "
                    f"number from 1 to {MAX_NODES}."
                )
            object.__setattr__(self, field, value)

    def _read_stages(self, where: str):
        """Brings a list of stages to its text, beside the macro structure of DARTS."""
        stages = self.stages
        if not isinstance(self.macro, str):
            stages = self.macro
            object.__setattr__(self, "macro", "darts")
        if stages is None:
            return
        if self.macro != "darts":
            raise ValueError(
                f"{where} has stages in the macro structure {self.macro}, but a list "
                f'of stages is one of cells with two inputs. Set macro="darts".'
            )
        text = stages_text(f"{where}: macro", stages, MACROS["darts"].kinds)
        object.__setattr__(self, "stages", text)

    def _check_macro(self, macro: Macro, kinds: Sequence[str]):
        """Refuses cells that the macro structure cannot put together."""
        for field, value, allowed in (
            ("kinds", tuple(kinds), (macro.kinds,)),
            ("num_inputs", self.num_inputs, (macro.num_inputs,)),
            ("output", self.output, macro.outputs),
        ):
            if value not in allowed:
                raise ValueError(
                    f"The space {self.name}: {field} is {value!r}, but in the macro "
                    f"structure {self.macro} must be "
                    f"{' or '.join(map(repr, allowed))}: {macro.why}."
                )

    def _check_rule(self, where: str):
        """Refuses a derivation that the cells do not allow."""
        if callable(self.derive):
            return
        if self.derive not in RULES:
            raise ValueError(
                f"{where}: derive is {self.derive!r}, but must be one of "
                f"{', '.join(RULES)}, or a function (space, mixing) -> genotype."
            )
        if self.derive != "darts":
            return
        hint = 'Set derive="argmax", or give a function.'
        if self.num_inputs != 2:
            raise ValueError(
                f'{where}: derive="darts" needs cells with two inputs, and these have '
                f"{self.num_inputs}. {hint}"
            )
        for target in self.nodes:
            if len(self.in_edges(target)) < 2:
                raise ValueError(
                    f'{where}: derive="darts" keeps two edges of each node, and node '
                    f"{target} has one. Add an edge to it. {hint}"
                )
        for kind in self.kinds:
            for edge, pair in enumerate(self.edges):
                if self.primitives_of(kind, edge) == ("none",):
                    raise ValueError(
                        f'{where}: derive="darts" never keeps none, and the edge '
                        f"{pair} of the {kind} cell has no other primitive. {hint}"
                    )

    def _check_paths(self, where: str):
        """Refuses cells whose output no genotype can connect to an input."""
        for kind in self.kinds:
            pairs = [
                pair
                for edge, pair in enumerate(self.edges)
                if set(self.primitives_of(kind, edge)) != {"none"}
            ]
            if not reached_nodes(pairs, self.num_inputs) & set(self.output_nodes):
                raise ValueError(
                    f"{where}: no genotype has a path from an input of the "
                    f"{cell_name(kind)} to its output nodes {list(self.output_nodes)}, "
                    f"because every edge on the way has no primitive but none. Give "
                    f"the edges of a path another one, such as skip_connect."
                )

    @property
    def num_edges(self) -> int:
        """E, the number of edges of one cell."""
        return len(self.edges)

    @property
    def dim(self) -> int:
        """D, the length of a flat vector with the alphas of all kinds of cells."""
        return len(self.kinds) * self.num_edges * len(self.primitives)

    @property
    def nodes(self) -> range:
        """The intermediate nodes of a cell, which edges lead to; its inputs precede."""
        return range(self.num_inputs, self.num_inputs + self.num_nodes)

    @property
    def output_nodes(self) -> tuple[int, ...]:
        """The nodes that make up the output of a cell, ascending."""
        return tuple(self.nodes) if self.output == "concat" else (self.nodes[-1],)

    @property
    def keeps_two_edges(self) -> bool:
        """Whether a derived node keeps two edges, and none of them is `none`.

        Otherwise every edge of a derived cell is there and has any primitive.
        """
        return self.derive == "darts"

    def in_edges(self, target: int) -> tuple[int, ...]:
        """Positions of the edges that lead to a node, by ascending source."""
        return tuple(e for e, (_, node) in enumerate(self.edges) if node == target)

    def primitives_of(self, kind: str, edge: int) -> tuple[str, ...]:
        """The primitives that an edge of a kind of cell has, in the space's order."""
        if self.live is None:
            return self.primitives
        positions = self.live[self.kinds.index(kind)][edge]
        return tuple(self.primitives[position] for position in positions)

    def layout(self) -> dict[str, Any]:
        """Everything that a supernet depends on, as plain data: all except `derive`."""
        fields = dataclasses.asdict(self)
        return {name: value for name, value in fields.items() if name != "derive"}
