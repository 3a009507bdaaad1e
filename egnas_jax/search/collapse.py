"""Measures how far a search has collapsed: sharp mixings, cells of skips and poolings.

Differentiable searches tend to end in cells without weights (RobustDARTS, Zela et al.,
ICLR 2020; DARTS+, Liang et al., 2019), so every epoch's record holds these metrics.

Dims: E edges of a cell, K primitives of an edge.
"""

import numpy as np

from egnas_jax.space import Genotype, Space, Topology, derive
from egnas_jax.space.primitive_names import FAMILIES
from egnas_jax.types import Mixing


def architecture_metrics(
    space: Space, mixing: Mixing, genotype: Genotype | Topology | None = None
) -> dict[str, float | int | str]:
    """Describes the architecture that a search has reached.

    Args:
      space: of the cells.
      mixing: the incumbent's, arrays of numpy or JAX.
      genotype: derived from it; None: by `space.derive`.

    Returns:
      For each cell kind `entropy_KIND` (nats, see `entropy`), `skip_KIND` and
      `pool_KIND` (edges of the cell derived now which skip or pool), and `genotype`,
      its text.
    """
    genotype = derive(space, mixing) if genotype is None else genotype
    metrics = {}
    for kind in space.kinds:
        kept = genotype.primitives_of(kind)
        metrics[f"entropy_{kind}"] = entropy(np.asarray(mixing.primitives[kind]))
        metrics[f"skip_{kind}"] = sum(FAMILIES[name] == "skip" for name in kept)
        metrics[f"pool_{kind}"] = sum(FAMILIES[name] == "pool" for name in kept)
    return metrics | {"genotype": genotype.format()}


def entropy(rows: np.ndarray) -> float:
    """Returns the mean entropy of a mixing's rows, in nats: ln K if even, 0 if one-hot.

    Args:
      rows: [E, K], weights that sum to 1 in each row.
    """
    rows = rows.astype(np.float64)
    logarithms = np.log(np.where(rows > 0, rows, 1.0))  # 0 ln 0 = 0
    return float(-np.mean(np.sum(rows * logarithms, axis=-1)))
