"""Scores of proxies become ranks, which all have one unit."""

import jax.numpy as jnp
import numpy as np
from scipy import stats

from egnas_jax.proxies.ranks import lower_scores, share_of_lower


def test_ranks_of_equal_and_missing_scores():
    scores = jnp.asarray([3.0, -1.0, 3.0, jnp.nan, 7.5, -jnp.inf])
    assert lower_scores(scores).tolist() == [3, 2, 3, 0, 5, 0]
    shares = [0.5, 1 / 3, 0.5, 0, 5 / 6, 0]
    np.testing.assert_allclose(share_of_lower(scores), shares, rtol=1e-6)


def test_ranks_are_those_of_scipy_and_of_no_unit():
    drawn = np.random.default_rng(0).integers(0, 40, 100).astype(np.float32)
    expected, scores = stats.rankdata(drawn, method="min") - 1, jnp.asarray(drawn)
    assert lower_scores(scores).tolist() == expected.tolist()
    rescaled = jnp.exp(scores / 8) * 1e6
    np.testing.assert_array_equal(share_of_lower(rescaled), share_of_lower(scores))
