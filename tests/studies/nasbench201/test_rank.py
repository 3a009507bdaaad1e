"""Rank correlation of a supernet's scores with a table."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from egnas_jax.nn.supernet import Supernet, SupernetConfig
from egnas_jax.space import Topology
from egnas_jax.studies import rank_correlation
from egnas_jax.studies.nasbench201.correlation import rank_correlations
from egnas_jax.studies.nasbench201.figure import draw_ranks

GAINS = jnp.asarray([0.0, 1.0, 2.0, 4.0, 3.0])


def test_correlations_are_scipys_and_their_intervals_hold_them():
    rng = np.random.default_rng(1)
    ours = rng.integers(0, 20, 80).astype(float)  # ties
    theirs = ours + rng.normal(0, 8, 80)
    found = rank_correlations(ours, theirs, resamples=300, seed=0)
    tau = stats.kendalltau(ours, theirs).statistic
    rho = stats.spearmanr(ours, theirs).statistic
    assert found["kendall"]["value"] == pytest.approx(tau)
    assert found["spearman"]["value"] == pytest.approx(rho)
    for entry in found.values():
        assert entry["low"] < entry["value"] < entry["high"]
        assert 0.1 < entry["high"] - entry["low"] < 0.5
    # Fisher's z gives Spearman's interval nearly
    low, high = np.tanh(np.arctanh(rho) + np.asarray([-1, 1]) * 1.96 * 1.03 / 77**0.5)
    assert found["spearman"]["low"] == pytest.approx(low, abs=0.06)
    assert found["spearman"]["high"] == pytest.approx(high, abs=0.06)


def test_minus_infinity_ranks_last_by_hand():
    found = rank_correlations(
        np.asarray([-np.inf, 1.0, 2.0]),
        np.asarray([5.0, 6.0, 7.0]),
        resamples=20,
        seed=0,
    )
    assert found["kendall"]["value"] == found["spearman"]["value"] == 1.0


def test_a_score_that_is_the_same_for_all_has_no_correlation():
    found = rank_correlations(
        np.ones(5), np.asarray([1.0, 5.0, 2.0, 4.0, 3.0]), resamples=20, seed=0
    )
    assert np.isnan([found[name][part] for name in found for part in found[name]]).all()


def knowing_net():
    """A "supernet" whose logit of the right class grows with a cell's gains, the later
    edges counting a little more, as the made-up table has them."""

    def apply(variables, images, mixing, train=False, many=False):
        weight = 1 + jnp.arange(6) / 100
        gain = jnp.sum((mixing.primitives["cell"] @ GAINS) * weight)
        scale = variables["params"] * (1.0 if train else -1.0)
        right = jnp.mean(images, axis=(1, 2, 3))
        return jnp.stack([0.0 * right, scale * gain * right / 10], axis=1), {}

    config = SupernetConfig(layers=5, space="nasbench201", num_classes=2)
    return Supernet(config, None, apply)


@pytest.mark.parametrize("batch_stats, sign", [("batch", 1.0), ("running", -1.0)])
def test_a_supernet_that_knows_the_table_ranks_it(table, batch_stats, sign):
    images, labels = jnp.ones((4, 4, 4, 1)), jnp.ones(4, jnp.int32)
    ranked = rank_correlation.Ranked(
        knowing_net(), {"params": jnp.float32(1.0)}, 7, images, labels
    )
    result = rank_correlation.rank(
        ranked, table, sample=60, seed=2, batch_stats=batch_stats, resamples=20
    )
    assert (result["epochs"], result["cells"], result["images"]) == (7, 60, 4)
    sample, entry = result["sample"], result["correlations"][0]
    assert (entry["supernet"], entry["table"]) == ("loss", "valid_accuracy_12_epochs")
    # two losses of 60 may round to one number: a tie
    assert entry["kendall"]["value"] == pytest.approx(sign, abs=2e-3)
    assert entry["spearman"]["value"] == pytest.approx(sign, abs=2e-3)
    assert len(set(sample["cell"])) == 60
    # the made-up test accuracies prefer another primitive
    assert abs(result["correlations"][1]["kendall"]["value"]) < 0.95
    valid = np.asarray(sample["valid_accuracy_12_epochs"])
    best = valid.argmax() if sign > 0 else valid.argmin()
    assert result["best_by_supernet"] == sample["cell"][best]
    assert result["best_test_accuracy"] == sample["test_accuracy_200_epochs"][best]
    gains = [
        sum(
            (1 + e / 100) * float(GAINS[c])
            for e, c in enumerate(Topology.parse(t).choices)
        )
        for t in sample["cell"]
    ]
    np.testing.assert_allclose(valid, (30 + np.asarray(gains)) / 100, rtol=1e-5)
    assert draw_ranks(result, "ranks").count("<svg") == 1
