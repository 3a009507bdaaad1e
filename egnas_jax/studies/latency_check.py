"""Compares predicted latencies with measured ones, over random cells.

Every cell is compiled once. Then all are measured in turn, several times over, and the
least of a cell's medians counts, because other programs of the machine can only slow a
measurement down.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from scipy import stats

from egnas_jax.nn.edge_costs import CountedNetwork, EdgeCosts
from egnas_jax.space import Genotype, Space, Topology, derive
from egnas_jax.space.paths import check_path
from egnas_jax.strategies.random_search import random_child
from egnas_jax.training.latency import compiled_network, median_seconds
from egnas_jax.types import Mixing

ROUNDS = 5


class LatencyCheck(NamedTuple):
    """Predicted and measured latencies of random cells.

    Attributes:
      predicted, measured: milliseconds of a batch, f64[n].
      spearman: their rank correlation.
    """

    predicted: np.ndarray
    measured: np.ndarray
    spearman: float


def check_latencies(
    space: Space,
    network: CountedNetwork,
    batch_size: int,
    costs: EdgeCosts,
    *,
    number: int = 100,
    on_cell: Callable[[int], None] = lambda done: None,
) -> LatencyCheck:
    """Measures random cells and compares them with a table.

    Args:
      space: of the cells.
      network: around the cells, with its images.
      batch_size: images of a batch.
      costs: the table, nanoseconds.
      number: number of cells, at least two.
      on_cell: called with the number of cells that are compiled.
    """
    predicted, programs = [], []
    shape = network.image_size, network.image_size, network.image_channels
    for mixing, genotype in itertools.islice(_random_cells(space), number):
        rows = [mixing.primitives[k] * mixing.edges[k][:, None] for k in space.kinds]
        predicted.append(costs.of_choices(np.stack(rows) > 0) / 1e6)
        compiled = compiled_network(genotype, network.config, shape, batch_size)
        programs.append(compiled)
        on_cell(len(programs))
    medians = [
        [1e3 * median_seconds(*program) for program in programs] for _ in range(ROUNDS)
    ]
    measured = np.min(medians, axis=0)
    correlation = float(stats.spearmanr(predicted, measured)[0])
    return LatencyCheck(np.asarray(predicted), measured, correlation)


def _random_cells(space: Space) -> Iterator[tuple[Mixing, Genotype | Topology]]:
    """Random cells, without those of which no network can be made."""
    draw = jax.jit(lambda key: random_child(key, space))
    for index in itertools.count():
        mixing = jax.tree.map(np.asarray, draw(jax.random.key(index)))
        genotype = derive(space, mixing)
        try:
            for kind in space.kinds:
                check_path(genotype, kind)
        except ValueError:
            continue
        yield mixing, genotype
