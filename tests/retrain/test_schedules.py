"""Rates and probabilities of the recipe table, by hand."""

import dataclasses

import numpy as np
import pytest

from egnas_jax.retrain.config import drop_path, learning_rate
from egnas_jax.runs import retrain_config
from egnas_jax.space import zoo

CIFAR = retrain_config.build(zoo["DARTS_V2"].genotype, "cifar10")


def test_cifar_is_trained_as_the_report_says():
    expected = dict(
        epochs=600,
        batch_size=96,
        learning_rate=0.025,
        momentum=0.9,
        weight_decay=3e-4,
        clip_norm=5.0,
        auxiliary_weight=0.4,
        label_smoothing=0.0,
    )
    assert {name: getattr(CIFAR, name) for name in expected} == expected
    network, data = CIFAR.network, CIFAR.data
    assert (network.channels, network.layers, network.drop_path) == (36, 20, 0.3)
    assert (data.pad, data.flip, data.cutout) == (4, True, 16)


def test_half_a_cosine_by_epochs():
    rates = [learning_rate(CIFAR, epoch) for epoch in (0, 150, 300, 600)]
    np.testing.assert_allclose(
        rates, [0.025, 0.025 * (1 + 2**-0.5) / 2, 0.0125, 0], atol=1e-9
    )


def test_imagenet_warms_up_falls_along_a_line_and_ends_flatter():
    config = dataclasses.replace(
        CIFAR, learning_rate=0.5, epochs=250, warmup=5, schedule="linear"
    )
    rates = [learning_rate(config, epoch) for epoch in (0, 4, 5, 244, 245, 249)]
    by_hand = [0.1, 0.5, 0.5 * 240 / 245, 0.5 / 245, 0.5 * 5 / 1225, 0.5 / 1225]
    np.testing.assert_allclose(rates, by_hand)


def test_paths_are_dropped_ever_more_often():
    probabilities = [drop_path(CIFAR, epoch) for epoch in (0, 300, 599)]
    np.testing.assert_allclose(probabilities, [0, 0.15, 0.3 * 599 / 600])


@pytest.mark.parametrize(
    "setting, message",
    [
        ("schedule=cosin", "Did you mean cosine"),
        ("precision=float16", "must be one of float32, bfloat16"),
        ("accumulate=5", "divisible by accumulate, 5"),
        ("epochs=0", "epochs is 0, but must be from 1"),
        ("valid_share=1", "valid_share is 1.0, but must be from 0.0 to 0.9"),
        ("network.num_classes=3", "number of classes of the data"),
        ("network.chanels=3", "Did you mean network.channels"),
        ("genotype=NASNet", "Unknown path 'genotype'"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        retrain_config.build(zoo["DARTS_V2"].genotype, overrides=[setting])


def test_a_linear_schedule_needs_more_epochs_than_its_end_has():
    with pytest.raises(ValueError, match="needs more than 5"):
        dataclasses.replace(CIFAR, schedule="linear", epochs=5)


@pytest.mark.parametrize(
    "schedule, least, message",
    [
        ("cosine", 0.03, "must be at most learning_rate, 0.025"),
        ("linear", 0.01, "a linear schedule falls to 0"),
    ],
)
def test_a_least_rate_that_no_epoch_would_fall_to_is_refused(schedule, least, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CIFAR, schedule=schedule, learning_rate_min=least)


def test_a_configuration_survives_its_json():
    import json

    from egnas_jax.settings import as_dict

    stored = json.loads(json.dumps(as_dict(CIFAR)))
    assert retrain_config.from_dict(stored) == CIFAR
    with pytest.raises(TypeError, match="epochs is 2.5"):
        retrain_config.from_dict(stored | {"epochs": 2.5})
