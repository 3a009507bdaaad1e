"""Computes the rules of P-DARTS that need no network: dropout, pruning, derivation.

P-DARTS searches in stages of growing depth. Between two stages every edge loses its
weakest primitives; after the last one an edge has one primitive left. Skip connections
are held back twice: by dropout in the search, and by a limit in the normal cell.

Source: P-DARTS (Chen et al., ICCV 2019); train_search.py of its reference.

Dims: G kinds of cells, E edges of a cell, K primitives of the space.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from egnas_jax.nn.supernet_config import LivePrimitives
from egnas_jax.space import Space
from egnas_jax.space.pairs import PAIRS_PER_NODE, Pair
from egnas_jax.types import Array


class PrunedCell(NamedTuple):
    """A cell after the last stage.

    Attributes:
      choices: the primitive of every edge, i64[E].
      edges: the kept edges, ascending.
    """

    choices: np.ndarray
    edges: tuple[int, ...]

    def skips(self, space: Space) -> list[int]:
        """Returns the kept edges whose primitive is `skip_connect`."""
        return [
            edge
            for edge in self.edges
            if space.primitives[self.choices[edge]] == "skip_connect"
        ]

    def pairs(self, space: Space) -> tuple[Pair, ...]:
        """Returns the pairs (primitive, source) of a genotype, by ascending source."""
        return tuple(
            (space.primitives[self.choices[edge]], space.edges[edge][0])
            for edge in self.edges
        )


def dropout_factor(
    epoch: Array | int, epochs: Array | int, warmup: Array | int
) -> Array:
    """Returns the dropout behind skips as a multiple of that of the stage's start.

    It falls on a line in the warm-up, returns to 1 after it, and falls from there by a
    factor of exp(-0.2) an epoch.

    Args:
      epoch: of the stage, from 0.
      epochs: of the stage.
      warmup: epochs of the stage in which the weights alone train.

    Returns:
      f32[].
    """
    epoch, epochs, warmup = (
        jnp.asarray(number, jnp.float32) for number in (epoch, epochs, warmup)
    )
    on_a_line = (epochs - epoch - 1) / epochs
    return jnp.where(epoch < warmup, on_a_line, jnp.exp(-0.2 * (epoch - warmup)))


def prune(
    space: Space, weights: np.ndarray, live: np.ndarray, dropped: int, *, last: bool
) -> np.ndarray:
    """Returns which primitives are live after a stage: the weakest of an edge are not.

    Ties drop the earlier primitive.

    Args:
      space: names the primitives.
      weights: softmax of alpha over the live primitives, 0 elsewhere, f32[E, K].
      live: bool[E, K].
      dropped: primitives that every edge loses.
      last: whether it is the last stage, after which `none` goes first.

    Returns:
      bool[E, K].
    """
    live = live.copy()
    for edge, row in enumerate(live):
        count = dropped
        if last and "none" in space.primitives:
            none = space.primitives.index("none")
            count -= int(row[none])
            row[none] = False
        for _ in range(count):
            candidates = np.flatnonzero(row)
            row[candidates[np.argmin(weights[edge, candidates])]] = False
    return live


def final_cell(
    space: Space, weights: np.ndarray, live: np.ndarray, dropped: int
) -> PrunedCell:
    """Returns the cell after the last stage.

    The first node keeps both edges; every later one the two whose strongest primitive,
    `none` aside, is strongest. Ties keep the higher edge, the reverse of DARTS.

    Args:
      space: has the edges.
      weights: of the last stage, see `prune`.
      live: bool[E, K], of which one primitive an edge is left.
      dropped: primitives that every edge loses.
    """
    left = prune(space, weights, live, dropped, last=True)
    columns = [k for k, name in enumerate(space.primitives) if name != "none"]
    strengths = weights[:, columns].max(axis=1)
    kept = []
    for node in space.nodes:
        by_strength = sorted(space.in_edges(node), key=lambda edge: strengths[edge])
        kept += sorted(by_strength[-PAIRS_PER_NODE:])
    return PrunedCell(left.argmax(axis=1), tuple(kept))


def limit_skips(
    space: Space,
    weights: np.ndarray,
    live: np.ndarray,
    dropped: int,
    *,
    limit: int | None,
) -> PrunedCell:
    """Returns the cell with at most `limit` skips.

    As long as it has more, the weakest of them loses its weight, and primitives and
    edges of the whole cell are chosen anew. Ties weaken the lower edge. A lower limit
    goes on where a higher one stopped. Skips whose edges have no other primitive stay.

    Args:
      space, weights, live, dropped: see `final_cell`.
      limit: largest number of skips; the authors recommend 2. None: any.
    """
    cell = final_cell(space, weights, live, dropped)
    if limit is None:
        return cell
    weights = weights.copy()
    while len(skips := cell.skips(space)) > limit:
        skip = space.primitives.index("skip_connect")
        weighted = [edge for edge in skips if weights[edge, skip] > 0]
        if not weighted:
            break
        weakest = min(weighted, key=lambda edge: weights[edge, skip])
        weights[weakest, skip] = 0.0
        cell = final_cell(space, weights, live, dropped)
    return cell


def live_of(masks: np.ndarray) -> LivePrimitives:
    """Returns the live primitives of masks [G, E, K]; undoes `live_masks`."""
    return tuple(
        tuple(tuple(np.flatnonzero(row).tolist()) for row in edges) for edges in masks
    )
