"""Computes SNAS's resource term: the mean logarithm of three costs of every edge.

The costs of an edge are the sums of its primitives' weights, multiply-adds and memory
accesses, weighed as the mixing weighs the primitives.

Source: SNAS (Xie et al., ICLR 2019), section 2.3; operations.py and `--log_penalty` of
its reference. The reference divides the sums of the two kinds of cells by 6 and by 2,
which are the numbers of cells of its own network; here they are counted, unless
`PUBLISHED_CELLS` are given.

Dims: E edges, K primitives, H, W sides of an image.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

from egnas_jax.nn.cell_spec import out_edges
from egnas_jax.nn.supernet import SupernetConfig, cells_of
from egnas_jax.space import SPACES
from egnas_jax.types import Array

# Cells of each kind, as the reference counts them in networks of any depth.
PUBLISHED_CELLS = {"normal": 6, "reduce": 2}

# A function for each primitive: (channels, pixels of the output, whether its stride is
# 2) -> (weights, multiply-adds, memory accesses).
Costs = tuple[float, float, float]
Cost = Callable[[int, int, bool], Costs]


def _sep_conv(side: int) -> Cost:
    def costs(channels: int, pixels: int, strided: bool) -> Costs:
        size = 2 * channels * side**2 + 2 * channels**2
        accesses = pixels * channels * (11 if strided else 8) + size
        return size, size * pixels, accesses

    return costs


def _dil_conv(side: int) -> Cost:
    def costs(channels: int, pixels: int, strided: bool) -> Costs:
        size = channels * side**2 + channels**2
        accesses = pixels * channels * (7 if strided else 4) + size
        return size, size * pixels, accesses

    return costs


def _pool(channels: int, pixels: int, strided: bool) -> Costs:
    return 0, 9 * pixels * channels, pixels * channels * (5 if strided else 2)


def _skip_connect(channels: int, pixels: int, strided: bool) -> Costs:
    if not strided:
        return 0, 0, 2 * channels * pixels
    size = channels**2
    return size, size * pixels, 2 * pixels * (4 * channels + channels / 2) + size


def _none(channels: int, pixels: int, strided: bool) -> Costs:
    del channels, pixels, strided
    return 0, 0, 0


COSTS: dict[str, Cost] = {
    "none": _none,
    "avg_pool_3x3": _pool,
    "max_pool_3x3": _pool,
    "skip_connect": _skip_connect,
    "sep_conv_3x3": _sep_conv(3),
    "sep_conv_5x5": _sep_conv(5),
    "sep_conv_7x7": _sep_conv(7),
    "dil_conv_3x3": _dil_conv(3),
    "dil_conv_5x5": _dil_conv(5),
}


def check_costs(config: SupernetConfig) -> None:
    """Refuses a supernet whose edges SNAS assigns no costs.

    Raises:
      ValueError: a primitive of the space has no costs, or its macro structure is not
        that of DARTS.
    """
    space = SPACES[config.space]
    missing = [name for name in space.primitives if name not in COSTS]
    if missing or space.macro != "darts":
        what = f"no costs are known of {', '.join(missing)}"
        raise ValueError(
            f"strategy.resource_penalty is above 0, but in the space {config.space} "
            f"{what if missing else 'the macro structure is not that of DARTS'}. "
            f"Set strategy.resource_penalty=0, or take the space darts7 or darts8."
        )


def resource_tables(
    config: SupernetConfig, image_size: tuple[int, int]
) -> list[tuple[str, np.ndarray]]:
    """Returns the kind of every cell and the costs of its primitives.

    Args:
      config: the supernet; the primitives work on `channels / partial_channels`.
      image_size: H, W.

    Returns:
      (kind, f64[3, E, K]) of every cell, first to last; the three are weights,
      multiply-adds and memory accesses.
    """
    space, tables, halvings = SPACES[config.space], [], 0
    for cell in cells_of(config):
        halvings += cell.reduction
        pixels = (image_size[0] >> halvings) * (image_size[1] >> halvings)
        channels = cell.channels // config.partial_channels
        table = np.zeros((3, space.num_edges, len(space.primitives)))
        for outgoing in out_edges(space, cell.reduction):
            costs = [
                COSTS[name](channels, pixels, outgoing.stride == 2)
                for name in space.primitives
            ]
            table[:, outgoing.edges, :] = np.transpose(costs)[:, None]
        tables.append((cell.kind, table))
    return tables


def penalty(
    primitives: dict[str, Array],
    tables: list[tuple[str, np.ndarray]],
    num_cells: Mapping[str, int] | None = None,
) -> Array:
    """Returns the resource term of a mixing, f32[].

    A cost below 1 counts as 1, and has no gradient. The edges of a cell are added, the
    cells of a kind averaged, and the kinds added.

    Args:
      primitives: cell kind -> weights f32[E, K].
      tables: result of `resource_tables`.
      num_cells: cell kind -> number by which the sum over its cells is divided; None:
        the number of its cells.
    """
    of_kind = defaultdict(list)
    for kind, table in tables:
        # [E, K] and [3, E, K] -> [3, E]
        costs = jnp.sum(primitives[kind][None] * jnp.float32(table), axis=-1)
        logarithms = jnp.where(costs > 1.0, jnp.log(jnp.maximum(costs, 1.0)), 0.0)
        of_kind[kind].append(jnp.sum(jnp.mean(logarithms, axis=0)))
    if num_cells is None:
        return sum(jnp.mean(jnp.stack(cells)) for cells in of_kind.values())
    return sum(sum(cells) / num_cells[kind] for kind, cells in of_kind.items())
