"""From mixing to genotype."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.space import SPACES, derive
from egnas_jax.types import Mixing

DARTS7, DARTS8 = SPACES["darts7"], SPACES["darts8"]


def softmax(alpha):
    exp = np.exp(alpha - alpha.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def make_mixing(normal, reduce=None, edges=None):
    reduce = normal if reduce is None else reduce
    edges = np.ones(14, np.float32) if edges is None else edges
    return Mixing(
        {"normal": normal, "reduce": reduce}, {"normal": edges, "reduce": edges}
    )


def test_golden_genotypes_come_out_ties_included(load_golden):
    data = load_golden("derive")
    expected = json.loads(str(data["genotypes"]))
    assert len(expected) == 200
    for alpha, (normal, reduce) in zip(data["alpha"], expected, strict=True):
        weights = softmax(alpha.astype(np.float32))
        genotype = derive(DARTS7, make_mixing(*weights))
        assert genotype.normal == tuple(map(tuple, normal))
        assert genotype.reduce == tuple(map(tuple, reduce))
        assert genotype.normal_concat == genotype.reduce_concat == (2, 3, 4, 5)


def test_all_ties_keep_the_first_two_edges_and_the_first_primitive():
    genotype = derive(DARTS7, make_mixing(np.full((14, 7), 1 / 7, np.float32)))
    assert genotype.normal == (("avg_pool_3x3", 0), ("avg_pool_3x3", 1)) * 4


def test_edges_are_emitted_by_descending_score():
    weights = np.zeros((14, 7), np.float32)
    weights[5:9, 3] = [0.1, 0.9, 0.2, 0.7]  # edges 0 to 3 into the third node
    genotype = derive(DARTS7, make_mixing(weights))
    assert genotype.normal[4:6] == (("sep_conv_3x3", 1), ("sep_conv_3x3", 3))


def test_none_never_wins_and_lends_no_strength_to_its_edge():
    weights = np.zeros((14, 8), np.float32)
    weights[2:5, 0] = [0.1, 0.2, 0.9]  # `none`
    weights[2:5, 4] = [0.5, 0.4, 0.1]
    genotype = derive(DARTS8, make_mixing(weights))
    assert genotype.normal[2:4] == (("sep_conv_3x3", 0), ("sep_conv_3x3", 1))


def test_edge_weights_scale_the_scores():
    weights = np.full((14, 7), 0.1, np.float32)
    edges = np.ones(14, np.float32)
    edges[13] = 2.0  # from the fourth node's last source
    genotype = derive(DARTS7, make_mixing(weights, edges=edges))
    assert genotype.normal[6:] == (("avg_pool_3x3", 4), ("avg_pool_3x3", 0))


def test_scores_are_compared_in_float32():
    weights = np.full((14, 7), 0.1)
    weights[1, 0] = 0.1 + 1e-12  # a tie in float32, not in float64
    genotype = derive(DARTS7, make_mixing(weights))
    assert genotype.normal[:2] == (("avg_pool_3x3", 0), ("avg_pool_3x3", 1))


def test_device_arrays_and_host_arrays_give_the_same():
    weights = np.random.default_rng(0).random((14, 7), np.float32)
    device = make_mixing(jnp.asarray(weights), edges=jnp.ones(14))
    assert derive(DARTS7, device) == derive(DARTS7, make_mixing(weights))


def test_bad_mixings_are_refused_with_what_is_wrong():
    weights = np.zeros((14, 7), np.float32)
    with pytest.raises(ValueError, match=r"shape \(14, 8\); got shape \(14, 7\)"):
        derive(DARTS8, make_mixing(weights))
    with pytest.raises(ValueError, match="lacks the kind 'reduce'"):
        derive(DARTS7, Mixing({"normal": weights}, {"normal": np.ones(14)}))
    weights[3, 2] = np.nan
    with pytest.raises(ValueError, match="1 values not finite"):
        derive(DARTS7, make_mixing(weights))
