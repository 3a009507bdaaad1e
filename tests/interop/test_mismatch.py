"""What is at fault where torch weights do not fit: the configuration, or not."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from egnas_jax import interop
from egnas_jax.interop import supernet, transfer
from egnas_jax.interop.mismatch import check_names
from egnas_jax.nn.network import leaves_of
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.space import zoo

GENOTYPE = zoo["DARTS_V2"].genotype
CONFIG = NetworkConfig(4, 3, 7, auxiliary=False)
IMAGENET = NetworkConfig(4, 3, 7, auxiliary=False, frame="imagenet")
CHECK = "Check "  # what begins the advice to look at the configuration


def weights_of(genotype=GENOTYPE, config=CONFIG):
    """Torch weights of a network, all zero."""
    leaves = leaves_of(genotype, config, 3)
    zeros = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, np.float32),
        leaves,
        is_leaf=lambda leaf: hasattr(leaf, "shape"),
    )
    return interop.network_to_torch(zeros, genotype, config)


def message_of(weights, genotype=GENOTYPE, config=CONFIG):
    with pytest.raises(ValueError) as caught:
        interop.network_from_torch(weights, genotype, config, log=[].append)
    return str(caught.value)


def without(weights, *ends):
    return {name: w for name, w in weights.items() if not name.endswith(ends)}


@pytest.mark.parametrize(
    "genotype, changes",
    [
        (GENOTYPE, {"layers": 5}),
        (GENOTYPE, {"layers": 1}),
        (GENOTYPE, {"channels": 8}),
        (GENOTYPE, {"num_classes": 10}),
        (GENOTYPE, {"auxiliary": True}),
        (GENOTYPE, {"frame": "imagenet"}),
        (zoo["PDARTS"].genotype, {}),
        (zoo["AmoebaNet"].genotype, {}),
        (zoo["PDARTS"].genotype, {"layers": 6, "auxiliary": True}),
    ],
)
def test_another_configuration_is_at_fault(genotype, changes):
    other = dataclasses.replace(CONFIG, **changes)
    for ours, theirs in (
        ((GENOTYPE, CONFIG), (genotype, other)),
        ((genotype, other), (GENOTYPE, CONFIG)),
    ):
        assert CHECK in message_of(weights_of(*theirs), *ours)


DENSENET = {f"features.{i}.weight": np.zeros(3) for i in range(5)} | {
    "classifier.weight": np.zeros((7, 9)),
    "classifier.bias": np.zeros(7),
}
NOT_THE_CONFIGURATION = {
    "another network": (lambda w: DENSENET, r"^\d+ w.*unexpected.*2 of the 7 names"),
    "a loss": (
        lambda w: w | {"criterion.pos_weight": np.ones(7)},
        r"^1 weights are unexpected: criterion.pos_weight\. No network.*Leave it out",
    ),
    "numbers": (
        lambda w: w | {"drop_path_prob": 0.2, "epoch": 3},
        r"a weight drop_path_prob, epoch, whatever",
    ),
    "alphas": (
        lambda w: w | {"alphas_normal": np.ones((14, 8))},
        r"a weight alphas_normal, whatever.*Leave it out",
    ),
    "no statistics": (
        lambda w: without(w, "running_mean", "running_var"),
        r"missing: cells.*Running statistics.*state_dict\(\).*parameters\(\) do not",
    ),
    "no variances": (lambda w: without(w, "running_var"), r"Running statistics"),
    "a norm less": (
        lambda w: without(w, "stem.1.weight", "stem.1.bias"),
        r"missing: stem\.1\.bias, stem\.1\.weight\. Norms have a scale",
    ),
    "no first kernel": (
        lambda w: without(w, "stem.0.weight"),
        r"^1 weights are missing: stem\.0\.weight\. The weights of stem are incompl",
    ),
    "no bias": (
        lambda w: without(w, "classifier.bias"),
        r"^1 weights are missing: classifier\.bias\. The weights of classifier are in",
    ),
    "no classifier": (
        lambda w: without(w, "classifier.weight", "classifier.bias"),
        r"The weights of classifier are incomplete",
    ),
    "no stem": (
        lambda w: {n: v for n, v in w.items() if not n.startswith("stem")},
        r"The weights of stem are incomplete",
    ),
    "no kernel of a primitive": (
        lambda w: without(w, "cells.0._ops.0.op.5.weight"),
        r"The weights of cells\.0\._ops\.0 are incomplete",
    ),
    "no kernel of a preprocessing": (
        lambda w: without(w, "cells.1.preprocess1.op.1.weight"),
        r"The weights of cells\.1\.preprocess1 are incomplete",
    ),
    "a wrapped primitive": (
        lambda w: {n.replace("cells.0._ops.0.", "cells.0._ops.0.0."): w[n] for n in w},
        r"missing.*unexpected.*cells\.0\._ops\.0 are incomplete, or of a form",
    ),
    "a transposed classifier": (
        lambda w: w | {"classifier.weight": w["classifier.weight"].T},
        r"Weight classifier\.weight has shape \(64, 7\).*layout is \(7, 64\).*not at",
    ),
    "a kernel [H, W, in, out]": (
        lambda w: w | {"stem.0.weight": w["stem.0.weight"].transpose(2, 3, 1, 0)},
        r"Weight stem\.0\.weight has shape \(3, 3, 3, 12\).*another order of axes",
    ),
    "a flat kernel": (
        lambda w: w | {"stem.0.weight": w["stem.0.weight"].reshape(12, -1)},
        r"Weight stem\.0\.weight has shape \(12, 27\).*Transpose or reshape",
    ),
    "all of Keras": (
        lambda w: {
            n: v.T if v.ndim < 4 else v.transpose(2, 3, 1, 0) for n, v in w.items()
        },
        r"another order of axes",
    ),
    "a row": (
        lambda w: w | {"classifier.bias": w["classifier.bias"][None]},
        r"Weight classifier\.bias has shape \(1, 7\).*layout is \(7,\)",
    ),
}


@pytest.mark.parametrize(
    "change, message", NOT_THE_CONFIGURATION.values(), ids=NOT_THE_CONFIGURATION
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_configuration_that_explains_nothing_is_not_blamed(change, message, prefix):
    weights = {prefix + name: w for name, w in change(weights_of()).items()}
    text = message_of(weights)
    assert CHECK not in text
    if not prefix:
        assert re.search(message, text), text


def test_a_grey_kernel_of_another_layout_is_named():
    weights = weights_of() | {"stem.0.weight": np.zeros((3, 3, 1, 12))}
    assert "layout is (12, 1, 3, 3)" in message_of(weights)


def test_the_stem_of_the_other_frame_is_complete():
    weights = without(weights_of(config=IMAGENET), "stem1.1.weight")
    assert "The weights of stem1 are incomplete" in message_of(weights, config=IMAGENET)


@pytest.fixture(scope="module")
def search_names():
    """Names of a search network with norms after its poolings."""
    config = SupernetConfig(channels=4, layers=3, num_classes=4, pool_bn=True)
    init = make_supernet(config).init
    leaves = jax.eval_shape(lambda key: init(key, (8, 8, 3)), jax.random.key(0))
    return {
        place.name
        for place in supernet._places(config)
        if transfer._leaf(leaves, place.path) is not None
    }


@pytest.mark.parametrize("part", [r"_ops\.[01]\.1\.", r"cells\.2\.", r"_ops\.3\.op"])
def test_another_search_configuration_is_at_fault(search_names, part):
    fewer = {name for name in search_names if not re.search(part, name)}
    assert len(fewer) < len(search_names)
    for expected, names in ((fewer, search_names), (search_names, fewer)):
        with pytest.raises(ValueError, match="Check that the settings are those"):
            check_names(expected, names, "the settings")


def test_norms_with_scales_are_named_for_a_search_network(search_names):
    norms = [name.rpartition(".")[0] for name in search_names if "mean" in name]
    scaled = search_names | {f"{norm}.weight" for norm in norms}
    with pytest.raises(ValueError, match="unexpected: .*Norms have a scale") as caught:
        check_names(search_names, scaled, "the settings")
    assert CHECK not in str(caught.value)


def test_weights_of_another_primitive_are_at_fault():
    weights = {"1.weight": 0, "2.weight": 0, "3.running_mean": 0, "3.running_var": 0}
    with pytest.raises(ValueError, match="Check that the primitive and its channels"):
        interop.primitive_from_torch(weights, "dil_conv_3x3")
    del weights["2.weight"]
    with pytest.raises(ValueError, match="of the primitive are incomplete"):
        interop.primitive_from_torch(weights, "conv_7x1_1x7")
