"""Evaluates the cells of selectors under a supernet's weights, as populations.

Dims: M candidates, B batches, N images of a batch, G kinds of cells.
"""

import jax
import numpy as np

from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.evaluate import evaluate_population
from egnas_jax.space import SPACES, Space
from egnas_jax.studies.selection.cells import CellWeights, Scores
from egnas_jax.types import Array, Mixing, PyTree

ROWS = 64  # candidates of a large population that an accelerator gets at once


class PopulationScore:
    """A `ScoreFn` that counts what it evaluates.

    Populations are filled up to one of two sizes, so that two programs serve all
    selectors: that of one edge's primitives or one node's edges, and a larger one. A
    CPU, which evaluates one candidate at a time in any case, has the small one alone.

    Attributes:
      variables: weights and batch_stats of the supernet; may be replaced by others.
      images_evaluated: candidates times images so far, without those that fill up.
    """

    def __init__(
        self,
        net: Supernet,
        variables: PyTree,
        images: Array,
        labels: Array,
        *,
        batch_stats: str,
        population_chunk: int | None = None,
    ):
        """Takes B batches of images.

        Args:
          net: the supernet, on one device.
          variables: its weights and batch_stats.
          images: f32[B, N, H, W, C].
          labels: i32[B, N].
          batch_stats: "batch" or "running".
          population_chunk: see `evaluate_population`.
        """
        self.variables = variables
        self.images_evaluated = 0
        self._net, self._space = net, SPACES[net.config.space]
        self._batches = list(zip(images, labels, strict=True))
        self._options = dict(batch_stats=batch_stats, population_chunk=population_chunk)
        self._sizes = _population_sizes(self._space)

    def __call__(self, cells: CellWeights, batch: int | None = None) -> Scores:
        """Evaluates candidates, see `ScoreFn`."""
        batches = self._batches if batch is None else [self._batches[batch]]
        number = len(cells.edges)
        self.images_evaluated += number * sum(len(labels) for _, labels in batches)
        size = self._sizes[number > self._sizes[0]]
        starts = range(0, number, size)
        parts = [self._evaluate(cells, start, size, batches) for start in starts]
        loss, correct = (
            np.concatenate([np.stack(part) for part in leaves], axis=1)[:, :number]
            for leaves in zip(*jax.device_get(parts), strict=True)
        )
        return mean_scores(loss, correct, sum(len(labels) for _, labels in batches))

    def _evaluate(self, cells, start, size, batches) -> tuple[list, list]:
        """Loss and correct answers of some candidates on each batch, B x [size]."""
        rows = np.minimum(np.arange(start, start + size), len(cells.edges) - 1)
        mixings = as_mixing(self._space, CellWeights(*(leaf[rows] for leaf in cells)))
        scores = [
            evaluate_population(
                self._net, self.variables, mixings, *batch, **self._options
            )
            for batch in batches
        ]
        return [score.loss for score in scores], [score.correct for score in scores]


def mean_scores(loss: np.ndarray, correct: np.ndarray, num_images: int) -> Scores:
    """Returns the scores of candidates over batches of equal size.

    Correct answers are added as whole numbers and divided once, so that candidates with
    equally many have equal accuracies. A mean of fractions would depend on how the
    answers are spread over the batches, and selectors have rules for ties.

    Args:
      loss: of each batch, f32[B, M].
      correct: number of correctly classified images of each batch, i32[B, M].
      num_images: of all batches together.
    """
    accuracy = correct.sum(axis=0, dtype=np.int64) / num_images
    return Scores(loss.mean(axis=0, dtype=np.float64), accuracy)


def _population_sizes(space: Space) -> tuple[int, int]:
    nodes = {target for _, target in space.edges}
    most = max(len(space.primitives), *(len(space.in_edges(node)) for node in nodes))
    return (most, most) if jax.default_backend() == "cpu" else (most, max(most, ROWS))


def as_mixing(space: Space, cells: CellWeights) -> Mixing:
    """Returns cells as the supernet takes them.

    Args:
      space: has the kinds.
      cells: leaves [..., G, E, K] and [..., G, E].
    """
    primitives, edges = _f32(cells.primitives), _f32(cells.edges)
    return Mixing(
        {kind: primitives[..., g, :, :] for g, kind in enumerate(space.kinds)},
        {kind: edges[..., g, :] for g, kind in enumerate(space.kinds)},
    )


def _f32(leaf: np.ndarray) -> np.ndarray:
    return np.asarray(leaf, np.float32)


def of_mixing(space: Space, mixing: Mixing) -> CellWeights:
    """Returns a mixing as arrays of the host; inverse of `as_mixing`.

    Args:
      space: has the kinds.
      mixing: leaves [E, K] and [E] of each kind.
    """
    return CellWeights(
        *(
            np.stack([_f32(leaf[kind]) for kind in space.kinds])
            for leaf in (mixing.primitives, mixing.edges)
        )
    )
