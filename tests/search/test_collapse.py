"""The figures of an architecture and of a population, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.search.collapse import architecture_metrics, entropy
from egnas_jax.space import SPACES, Space
from egnas_jax.strategies.population_statistics import quantiles
from egnas_jax.types import Mixing

SPACE = Space("tiny", ("max_pool_3x3", "skip_connect", "sep_conv_3x3"), num_nodes=2)


def test_entropy_is_ln_k_where_even_and_zero_where_one_hot():
    assert entropy(np.full((2, 3), 1 / 3)) == pytest.approx(np.log(3))
    assert entropy(np.eye(3)) == 0.0
    # one row even between two of them, one certain
    rows = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    assert entropy(rows) == pytest.approx(np.log(2) / 2)


def test_skips_and_poolings_are_counted_in_the_cell_that_would_be_derived():
    pool, skip, conv = np.eye(3, dtype=np.float32)
    # five edges; of node 3's three the last is the weakest and dropped
    normal = np.stack([skip, pool, skip, conv, 0.4 * pool + 0.3 * skip + 0.3 * conv])
    mixing = Mixing(
        {"normal": normal, "reduce": np.stack([conv] * 5)},
        {kind: np.ones(5, np.float32) for kind in SPACE.kinds},
    )
    metrics = architecture_metrics(SPACE, mixing)
    assert (metrics["skip_normal"], metrics["pool_normal"]) == (2, 1)
    assert (metrics["skip_reduce"], metrics["pool_reduce"]) == (0, 0)
    assert metrics["entropy_reduce"] == 0.0
    assert metrics["genotype"].startswith(
        "Genotype(normal=[('skip_connect', 0), ('max_pool_3x3', 1), "
        "('skip_connect', 0), ('sep_conv_3x3', 1)]"
    )


def test_quantiles_are_numpys_without_nan():
    values = np.array([[3.0, np.nan, 1.0], [2.0, 7.0, 4.0]], np.float32)
    found = quantiles(loss=jnp.asarray(values))
    expected = np.nanquantile(values, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose([float(v) for v in found.values()], expected, rtol=1e-6)
    places = ("min", "q1", "median", "q3", "max")
    assert list(found) == [f"population_loss_{place}" for place in places]
    assert np.isnan(float(quantiles(loss=jnp.full(3, jnp.nan))["population_loss_max"]))


def test_skips_and_poolings_of_the_only_cell_are_counted_too():
    space = SPACES["nasbench201"]
    names = [
        "skip_connect",
        "avg_pool_3x3",
        "none",
        "skip_connect",
        "nor_conv_1x1",
        "skip_connect",
    ]
    rows = np.eye(5)[[space.primitives.index(name) for name in names]]
    metrics = architecture_metrics(space, Mixing({"cell": rows}, {"cell": np.ones(6)}))
    assert (metrics["skip_cell"], metrics["pool_cell"]) == (3, 1)
    assert metrics["entropy_cell"] == 0.0
    assert metrics["genotype"].startswith("|skip_connect~0|+|avg_pool_3x3~0|")
