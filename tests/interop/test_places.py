"""Torch names and leaves: what maps to what, and what is refused."""

import jax
import numpy as np
import pytest

from egnas_jax import interop
from egnas_jax.interop import places, transfer
from egnas_jax.interop.places import Place
from egnas_jax.nn.network import make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.space import zoo

SHARED_NORM = [
    Place("ops.0.mean", ("batch_stats", "mean"), (0,)),
    Place("ops.1.mean", ("batch_stats", "mean"), (0,)),
]
LEAVES = {"params": {}, "batch_stats": {"mean": jax.ShapeDtypeStruct((1, 2), "f4")}}


@pytest.mark.parametrize("frame, side", [("cifar", 8), ("imagenet", 64)])
def test_a_network_survives_the_way_to_torch_and_back(frame, side):
    genotype = zoo["DARTS_V2"].genotype
    config = NetworkConfig(4, 5, 7, auxiliary=False, frame=frame)
    init = make_network(genotype, config).init
    shapes = jax.eval_shape(lambda key: init(key, (side, side, 1)), jax.random.key(0))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32), shapes)
    weights = interop.network_to_torch(variables, genotype, config)
    restored = interop.network_from_torch(weights, genotype, config)
    jax.tree.map(np.testing.assert_array_equal, restored, variables)


def test_the_first_of_two_weights_that_share_a_leaf_is_read():
    weights = {"ops.1.mean": np.ones(2), "ops.0.mean": np.zeros(2)}
    tree = transfer.read(SHARED_NORM, weights, LEAVES, "settings")
    np.testing.assert_array_equal(tree["batch_stats"]["mean"], np.zeros((1, 2)))


def test_a_weight_without_a_leaf_is_unexpected():
    scale = Place("ops.0.weight", ("params", "scale"), (0,))
    names = [place.name for place in (scale, *SHARED_NORM)]
    weights = dict.fromkeys(names, np.zeros(2))
    with pytest.raises(ValueError, match=r"1 weights are unexpected: ops\.0\.weight"):
        transfer.read([scale, *SHARED_NORM], weights, LEAVES, "settings")


def test_counters_of_batches_are_ignored():
    weights = {place.name: np.zeros(2) for place in SHARED_NORM}
    weights["ops.0.num_batches_tracked"] = np.array(3)
    transfer.read(SHARED_NORM, weights, LEAVES, "settings")


@pytest.mark.parametrize("shape, channels", [((16, 5, 3, 3), 5), ((16,), 3), ((), 3)])
def test_image_channels_are_those_of_the_kernel_or_three(shape, channels):
    weights = {"stem.0.weight": np.zeros(shape)}
    assert places.image_channels(weights, "stem.0.weight") == channels
    assert places.image_channels({}, "stem.0.weight") == 3


def test_other_spaces_than_those_of_darts_are_refused():
    config = SupernetConfig(space="nasbench201", layers=5)
    with pytest.raises(ValueError, match="The space is nasbench201"):
        interop.supernet_from_torch({}, config)


@pytest.mark.parametrize("primitive", ["sep_conv_3x3", "dil_conv_5x5", "conv_7x1_1x7"])
def test_a_convolution_without_weights_is_refused(primitive):
    with pytest.raises(ValueError, match="weights are missing"):
        interop.primitive_from_torch({}, primitive)


@pytest.mark.parametrize("primitive", ["foo", "nor_conv_3x3", "sep_conv", None, ["a"]])
@pytest.mark.parametrize("weights", [{}, {"op.1.weight": np.zeros((4, 1, 3, 3))}])
def test_a_primitive_without_torch_names_is_refused(primitive, weights):
    with pytest.raises(ValueError, match="Unknown primitive of torch.*dil_conv_3x3"):
        interop.primitive_from_torch(weights, primitive)
