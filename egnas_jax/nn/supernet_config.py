"""Configures a supernet, and plans its cells.

Dims: C channels, L cells, k of partial channels.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from egnas_jax.lookup import lookup
from egnas_jax.nn import lowering
from egnas_jax.nn.cell_plan import (
    LARGEST_SIZES,
    CellPlan,
    plan_cells,
    plan_stages,
    run_key,
)
from egnas_jax.nn.precision import PRECISIONS
from egnas_jax.settings import check_choices, check_field_types, check_ranges
from egnas_jax.space import SPACES, Space
from egnas_jax.space.per_edge import LivePrimitives, checked_live
from egnas_jax.space.stages import network_stages

RANGES = {
    "channels": (2, LARGEST_SIZES["channels"]),
    "layers": (1, LARGEST_SIZES["layers"]),
    "num_classes": (2, LARGEST_SIZES["num_classes"]),
    "partial_channels": (1, 4096),
    "stem_multiplier": (1, 64),
}


@dataclass(frozen=True)
class SupernetConfig:
    """The size and the space of a supernet.

    Attributes:
      channels: C of the first cell; doubled by each reduction.
      layers: number of cells L; those at L // 3 and 2 L // 3 halve the image. In
        NAS-Bench-201 L = 3 N + 2: three stages of N cells, and two residual blocks,
        which halve the image. Where the space has a list of stages, L is the number of
        all their cells.
      num_classes: width of the classifier.
      partial_channels: k; C / k channels go through the primitives (1: all).
      space: a key of `SPACES`.
      pool_bn: whether a batch norm follows the poolings (in DARTS, but not in EG-NAS).
      stem_multiplier: the stem has this times C channels (not in NAS-Bench-201).
      lowering: implementation of the kernels: "grouped", "shifted", "dense", "matrix",
        "fused" (on a GPU), or "auto" for what `nn.lowering.choice` selects by backend
        and image size. The results are equal up to rounding.
      live: of each kind of cell and edge, the positions of the primitives that it has,
        in the order of the space; None: as the space says. The others have no arrays
        and are not computed, whatever their weight in a mixing. Not a setting of a
        search: P-DARTS decides it between its stages.
      dtype: dtype of the activations, "float32" or "bfloat16". Parameters, batch_stats,
        sums and logits are float32 in either case (nn/precision.py).

    Raises:
      ValueError: a value has the wrong type or is out of its range, k does not divide
        the channels, the space, lowering or dtype is unknown, or `live` does not fit
        the space.
    """

    channels: int = 16
    layers: int = 8
    num_classes: int = 10
    partial_channels: int = 4
    space: str = "darts7"
    pool_bn: bool = False
    stem_multiplier: int = 3
    lowering: str = "auto"
    dtype: str = "float32"
    live: LivePrimitives | None = None

    def __post_init__(self):
        if isinstance(self.space, Space):
            raise ValueError(
                f"supernet.space is the space {self.space.name} itself, but must be "
                f"its name: give {self.space.name!r}. A space of your own is added by "
                f"egnas_jax.register_space before."
            )
        space = lookup(SPACES, self.space, "space")
        lookup(lowering.CHOICES, self.lowering, "lowering")
        check_choices(self, {"dtype": PRECISIONS}, "supernet.")
        check_ranges(self, RANGES, "supernet.")
        check_field_types(self, "supernet.")
        if self.channels % self.partial_channels or self.channels % 2:
            raise ValueError(
                f"supernet.channels is {self.channels}, but must be even and divisible "
                f"by supernet.partial_channels, {self.partial_channels}: "
                f"change one of the two."
            )
        if space.macro == "nasbench201":
            self._check_stages()
        if space.stages is not None:
            self._check_list_of_stages(space)
        if self.live is not None:
            shape = len(space.kinds), space.num_edges, len(space.primitives)
            checked_live(f"supernet.live in the space {space.name}", self.live, shape)

    def _check_stages(self):
        """Refuses settings that a network of NAS-Bench-201 cannot have."""
        if self.layers < 5 or (self.layers - 2) % 3:
            near = 3 * max(1, round((self.layers - 2) / 3)) + 2
            raise ValueError(
                f"supernet.layers is {self.layers}, but in the space {self.space} must "
                f"be 3 N + 2: three stages of N cells and two residual blocks. "
                f"Nearest: {near}; the benchmark has 17."
            )
        if self.stem_multiplier != 3:
            raise ValueError(
                f"supernet.stem_multiplier is {self.stem_multiplier}, but in the space "
                f"{self.space} the stem has the channels of the cells: leave it out."
            )

    def _check_list_of_stages(self, space: Space):
        """Refuses settings that a network of the space's stages cannot have."""
        try:
            cells = cells_of(self)
        except ValueError as error:
            raise ValueError(f"supernet.{error}") from None
        widths = {cell.channels for cell in cells}
        if any(width % self.partial_channels for width in widths):
            raise ValueError(
                f"supernet.partial_channels is {self.partial_channels}, but must "
                f"divide the channels of all stages of the space {space.name}: "
                f"{', '.join(map(str, sorted(widths)))}."
            )


def as_live(nested: Sequence | None) -> LivePrimitives | None:
    """Returns live primitives in the form of `SupernetConfig`, from lists of JSON."""
    if nested is None:
        return None
    return tuple(tuple(tuple(edge) for edge in edges) for edges in nested)


def live_primitives(
    config: SupernetConfig, kind: str
) -> tuple[tuple[int, ...], ...] | None:
    """Returns the primitives of the edges of a kind of cell, see `CellSpec.live`."""
    space = SPACES[config.space]
    live = space.live if config.live is None else config.live
    return None if live is None else live[space.kinds.index(kind)]


def cells_of(config: SupernetConfig) -> tuple[CellPlan, ...]:
    """Plans the cells of a supernet, first to last."""
    space = SPACES[config.space]
    if space.macro == "nasbench201":
        return plan_stages(space.kinds[0], config.channels, config.layers)
    width, nodes = config.stem_multiplier * config.channels, len(space.output_nodes)
    stages = network_stages(space.stages, config.layers)
    outputs = dict.fromkeys(space.kinds, nodes)
    return plan_cells(stages, config.channels, (width, width), outputs)


def groups_of(config: SupernetConfig) -> tuple[tuple[int, ...], ...]:
    """Groups neighbouring cells that are equal apart from their preprocessing."""
    cells = cells_of(config)
    key = functools.partial(run_key, cells)
    groups = itertools.groupby(range(len(cells)), key=key)
    return tuple(tuple(group) for _, group in groups)
