"""Presets, schedules by hand, and settings that are refused."""

import dataclasses
import json

import numpy as np
import pytest

from egnas_jax.retrain.config import drop_path, learning_rate
from egnas_jax.runs.retrain_config import from_dict, retrain_config, with_genotype
from egnas_jax.settings import as_dict, assignments

CIFAR = with_genotype(retrain_config("cifar10"), "DARTS_V2")


def test_cifar_is_trained_as_in_the_darts_family():
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


def test_the_cosine_falls_by_epochs_from_the_first_rate_to_0():
    rates = [learning_rate(CIFAR, epoch) for epoch in (0, 150, 300, 600)]
    np.testing.assert_allclose(
        rates, [0.025, 0.025 * (1 + 2**-0.5) / 2, 0.0125, 0], atol=1e-9
    )


def test_the_linear_schedule_warms_up_falls_and_ends_flatter():
    config = dataclasses.replace(
        CIFAR, learning_rate=0.5, epochs=250, warmup=5, schedule="linear"
    )
    rates = [learning_rate(config, epoch) for epoch in (0, 4, 5, 244, 245, 249)]
    by_hand = [0.1, 0.5, 0.5 * 240 / 245, 0.5 / 245, 0.5 * 5 / 1225, 0.5 / 1225]
    np.testing.assert_allclose(rates, by_hand)


def test_the_drop_path_probability_rises_linearly():
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
        ("image_size=0", "image_size is 0, but must be from 1"),
        ("network.num_classes=3", "number of classes of the data"),
        ("network.chanels=3", "Did you mean network.channels"),
        ("genotype=NASNet", "Unknown path 'genotype'"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        retrain_config(settings=assignments([setting]))


def test_a_linear_schedule_needs_more_epochs_than_its_tail():
    with pytest.raises(ValueError, match="needs more than 5"):
        dataclasses.replace(CIFAR, schedule="linear", epochs=5)


@pytest.mark.parametrize(
    "schedule, least, message",
    [
        ("cosine", 0.03, "must be at most learning_rate, 0.025"),
        ("linear", 0.01, "a linear schedule falls to 0"),
    ],
)
def test_a_minimum_rate_that_no_epoch_reaches_is_refused(schedule, least, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CIFAR, schedule=schedule, learning_rate_min=least)


@pytest.mark.parametrize(
    "genotype, message",
    [
        ("DARTS_V3", "Did you mean DARTS_V2"),
        ("Genotype(normal=[])", "Genotype"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", "auxiliary is True"),
    ],
)
def test_a_bad_genotype_is_refused(genotype, message):
    with pytest.raises(ValueError, match=message):
        with_genotype(CIFAR, genotype)


def test_a_configuration_is_restored_from_its_json():
    stored = json.loads(json.dumps(as_dict(CIFAR)))
    assert from_dict(stored) == CIFAR
    with pytest.raises(ValueError, match="epochs is 2.5"):
        from_dict(stored | {"epochs": 2.5})


def test_a_stored_configuration_with_a_removed_setting_is_restored():
    assert from_dict(as_dict(CIFAR) | {"eval_batch_size": 256}) == CIFAR
