"""What torch checkpoints hold around the weights is taken, or named."""

import collections
import logging

import jax
import numpy as np
import pytest

from egnas_jax import interop
from egnas_jax.interop import supernet, transfer
from egnas_jax.nn.network import make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.space import zoo

GENOTYPE = zoo["DARTS_V2"].genotype
CONFIG = NetworkConfig(4, 3, 7, auxiliary=False)
OPTIMIZER = {"state": {0: {"momentum_buffer": np.zeros(3)}}, "param_groups": [{}]}


@pytest.fixture(scope="module")
def variables():
    """Variables of a derived network of which no two are equal."""
    init = make_network(GENOTYPE, CONFIG).init
    shapes = jax.eval_shape(lambda key: init(key, (8, 8, 3)), jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32), shapes)


@pytest.fixture(scope="module")
def weights(variables):
    return interop.network_to_torch(variables, GENOTYPE, CONFIG)


def prefixed(weights, prefix):
    return {prefix + name: weight for name, weight in weights.items()}


def read(checkpoint, notes=None):
    log = [].append if notes is None else notes.append
    return interop.network_from_torch(checkpoint, GENOTYPE, CONFIG, log=log)


WRAPPED = {
    "alone": (lambda w: w, []),
    "DataParallel": (lambda w: prefixed(w, "module."), ["'module.'"]),
    "compiled": (lambda w: prefixed(w, "_orig_mod.module."), ["'_orig_mod.module.'"]),
    "Lightning": (
        lambda w: {"epoch": 3, "state_dict": prefixed(w, "model.")},
        ["state_dict (beside epoch)", "'model.'"],
    ),
    "a record": (
        lambda w: {"epoch": 3, "state_dict": w, "optimizer": OPTIMIZER},
        ["entry state_dict (beside epoch, optimizer)"],
    ),
    "model": (lambda w: {"model": w}, ["entry model."]),
    "a record in a record": (
        lambda w: {"checkpoint": {"net": w, "best": 3.0}},
        ["entry checkpoint/net"],
    ),
    "an ordered dictionary": (collections.OrderedDict, []),
    "averaged": (
        lambda w: prefixed(w, "module.") | {"n_averaged": np.array(3)},
        ["'module.'"],
    ),
    "numbered": (lambda w: {0: w, 1: 3.0}, ["entry 0 (beside 1)."]),
    "numbered alone": (lambda w: {0: w}, ["entry 0."]),
    "counted by thop": (
        lambda w: w | {"total_ops": np.zeros(1), "cells.0.total_params": np.zeros(1)},
        [],
    ),
}


@pytest.mark.parametrize("wrap, said", WRAPPED.values(), ids=WRAPPED)
def test_wrapped_weights_are_read_and_it_is_said(wrap, said, weights, variables):
    notes = []
    jax.tree.map(np.testing.assert_array_equal, read(wrap(weights), notes), variables)
    assert len(notes) == len(said)
    for note, part in zip(notes, said, strict=True):
        assert part in note


def test_notes_go_to_the_logger_by_default(weights, caplog):
    with caplog.at_level(logging.WARNING, "egnas_jax"):
        interop.network_from_torch(prefixed(weights, "module."), GENOTYPE, CONFIG)
    assert "begin with 'module.'" in caplog.text


class Module:
    """What `torch.load` returns for a whole module."""

    def state_dict(self):
        return {}


class Optimizer(Module):
    """An optimizer has a state too, but no weights."""

    def step(self):
        pass


REFUSED = {
    "two entries": (
        lambda w: {"state_dict": w, "ema": prefixed(w, "module."), "epoch": 3},
        "2 entries of the checkpoint hold a network: state_dict, ema. Pass one",
    ),
    "two networks": (
        lambda w: prefixed(w, "model.") | prefixed(w, "ema."),
        "holds 2 networks, whose names begin with 'ema.', 'model.'",
    ),
    "no network": (
        lambda w: {"epoch": 3, "optimizer": OPTIMIZER},
        r"No entry of the checkpoint \(epoch, optimizer\) holds a weight stem\.0",
    ),
    "another network": (
        lambda w: {"conv1.weight": np.zeros((3, 3)), "fc.bias": np.zeros(3)},
        r"None of the 2 names given \(conv1.weight, fc.bias\).*is not at fault",
    ),
    "nothing": (lambda w: {}, "No weights were given"),
    "a module": (lambda w: Module(), "of type Module.*Pass its state_dict"),
    "a path": (lambda w: "model.pt", "of type str.*torch.load"),
    "a list": (lambda w: [w], "of type list"),
    "a module in a record": (
        lambda w: {"model": Module(), "epoch": 1},
        r"whole modules \(model\), not their weights\. Pass the state_dict\(\)",
    ),
    "modules below others": (
        lambda w: {"a": {"net": Module(), "ema": Module()}, "optimizer": Optimizer()},
        r"whole modules \(a/net, a/ema\)",
    ),
    "no numbers": (
        lambda w: w | {"classifier.bias": "seven"},
        r"Weight classifier\.bias is no array of numbers.*detach",
    ),
    "a search network": (
        lambda w: w | {"cells.0._ops.0._ops.3.op.1.weight": np.zeros(3)},
        "search network.*supernet_from_torch",
    ),
}


@pytest.mark.parametrize("wrap, message", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_named(wrap, message, weights):
    with pytest.raises(ValueError, match=message) as caught:
        read(wrap(weights))
    assert "Check" not in str(caught.value)  # the configuration


def test_a_prefix_is_recognised_without_the_first_kernel(weights):
    without = {name: w for name, w in weights.items() if name != "stem.0.weight"}
    notes = []
    with pytest.raises(ValueError, match=r"^1 weights are missing: stem\.0\.weight"):
        read({"state_dict": prefixed(without, "module.")}, notes)
    assert "'module.'" in notes[1]


def search_weights(config):
    """Torch names of a search network, with zeros."""
    init = make_supernet(config).init
    leaves = jax.eval_shape(lambda key: init(key, (8, 8, 3)), jax.random.key(0))
    weights = {}
    for place in supernet._places(config):
        leaf = transfer._leaf(leaves, place.path)
        if leaf is not None:
            part = np.zeros(leaf.shape, np.float32)[place.index]
            weights[place.name] = np.zeros(transfer._torch_shape(place, part))
    return weights


def test_a_search_network_is_read_without_its_alphas():
    config = SupernetConfig(channels=4, layers=3, num_classes=4, partial_channels=2)
    weights = prefixed(search_weights(config), "module.")
    alphas = {"module.alphas_normal": np.ones((14, 8)), "module._betas": np.ones(14)}
    notes = []
    checkpoint = {"epoch": 3, "state_dict": weights | alphas}
    tree = interop.supernet_from_torch(checkpoint, config, log=notes.append)
    assert not any(leaf.any() for leaf in jax.tree.leaves(tree))
    assert len(notes) == 3
    assert "alphas_normal, _betas are no weights" in notes[2]


def test_a_derived_network_is_no_search_network(weights):
    with pytest.raises(ValueError, match="network_from_torch"):
        interop.supernet_from_torch(weights, SupernetConfig(layers=3))


def test_a_primitive_is_read_below_a_prefix_and_with_counters():
    weights = {
        "op.1.weight": np.full((4, 1, 3, 3), 2.0),
        "op.2.weight": np.full((4, 4, 1, 1), 3.0),
        "op.3.running_mean": np.full(4, 4.0),
        "op.3.running_var": np.full(4, 5.0),
    }
    counter = {"op.3.num_batches_tracked": np.array(7)}
    notes = []
    plain = interop.primitive_from_torch(weights, "dil_conv_3x3", log=notes.append)
    assert not notes
    wrapped = prefixed(weights | counter, "cells.0._ops.1.")
    below = interop.primitive_from_torch(wrapped, "dil_conv_3x3", log=notes.append)
    jax.tree.map(np.testing.assert_array_equal, below, plain)
    assert len(notes) == 1
