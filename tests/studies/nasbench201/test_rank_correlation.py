"""Rank correlation of a supernet's scores with a table."""

import jax.numpy as jnp
import numpy as np
import pytest
from untrained_runs import untrained_run

import egnas_jax as eg
from egnas_jax.nn.supernet import Supernet, SupernetConfig
from egnas_jax.space import Topology
from egnas_jax.studies import rank_correlation
from egnas_jax.studies.nasbench201.table_plots import draw_ranks

GAINS = jnp.asarray([0.0, 1.0, 2.0, 4.0, 3.0])  # those of the table's validation


def supernet_with_known_ranks():
    """A "supernet" whose correct logit grows with a cell's gains in the table.

    With running statistics the logit falls instead.
    """

    def apply(variables, images, mixing, train=False, many_mixings=False):
        weight = 1 + jnp.arange(6) / 100
        gain = jnp.sum((mixing.primitives["cell"] @ GAINS) * weight)
        scale = variables["params"] * (1.0 if train else -1.0)
        brightness = jnp.mean(images, axis=(1, 2, 3))
        logit = scale * gain * brightness / 10
        return jnp.stack([0.0 * brightness, logit], axis=1), {}

    config = SupernetConfig(layers=5, space="nasbench201", num_classes=2)
    return rank_correlation.RankingSupernet(
        net=Supernet(config, None, apply),
        variables={"params": jnp.float32(1.0)},
        epochs=7,
        images=jnp.ones((4, 4, 4, 1)),
        labels=jnp.ones(4, jnp.int32),
    )


@pytest.mark.parametrize("batch_stats, sign", [("batch", 1.0), ("running", -1.0)])
def test_a_supernet_that_knows_the_table_ranks_it(table, batch_stats, sign):
    result = rank_correlation.rank(
        supernet_with_known_ranks(),
        table,
        sample=60,
        seed=2,
        batch_stats=batch_stats,
        resamples=20,
    )
    assert (result["epochs"], result["cells"], result["images"]) == (7, 60, 4)
    sample, entry = result["sample"], result["correlations"][0]
    assert (entry["supernet"], entry["table"]) == ("loss", "valid_accuracy_12_epochs")
    # two of 60 losses may round to the same number, which is a tie
    assert entry["kendall"]["value"] == pytest.approx(sign, abs=2e-3)
    assert entry["spearman"]["value"] == pytest.approx(sign, abs=2e-3)
    assert len(set(sample["cell"])) == 60
    # by test accuracy another primitive is best
    assert abs(result["correlations"][1]["kendall"]["value"]) < 0.95
    valid = np.asarray(sample["valid_accuracy_12_epochs"])
    best = valid.argmax() if sign > 0 else valid.argmin()
    assert result["best_by_supernet"] == sample["cell"][best]
    assert result["best_test_accuracy"] == sample["test_accuracy_200_epochs"][best]
    choices = np.asarray([Topology.parse(cell).choices for cell in sample["cell"]])
    gains = np.asarray(GAINS)[choices] @ (1 + np.arange(6) / 100)
    np.testing.assert_allclose(valid, (30 + gains) / 100, rtol=1e-5)
    assert draw_ranks(result, "ranks").count("<svg") == 1


def test_a_run_that_trained_no_weights_ranks_no_cells():
    settings = {"strategy.fitness": "proxy:params", "supernet.layers": 5}
    config = eg.search_config(
        "digits", strategy="random_search", space="nasbench201", settings=settings
    )
    with pytest.raises(ValueError, match="without a step of the weights"):
        rank_correlation.from_run(untrained_run(config), 64, seed=0)
