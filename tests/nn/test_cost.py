"""Counts of weights and multiply-adds equal published and hand-made ones."""

import json
import math

import numpy as np
import pytest

from egnas_jax.nn import network_cost
from egnas_jax.nn.cost import MULTIPLY_ADDS_CONVENTION, count_params, multiply_adds
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.space import DARTS_PRIMITIVES, Genotype, Topology, zoo

CIFAR10 = NetworkConfig()
CIFAR100 = NetworkConfig(num_classes=100)
IMAGENET = NetworkConfig(channels=48, layers=14, num_classes=1000, frame="imagenet")

# One reduction cell of 4 channels behind a stem of 6; TINY_SHAPES lists its weights.
TINY = Genotype(
    normal=[("none", 0), ("none", 1)],
    normal_concat=[2],
    reduce=[
        *[("conv_7x1_1x7", 0), ("skip_connect", 1)],
        *[("sep_conv_7x7", 2), ("none", 0)],
    ],
    reduce_concat=[3],
)
TINY_CONFIG = NetworkConfig(channels=2, layers=1)
TINY_SHAPES = [
    *[(6, 3, 3, 3), (6,), (6,)],  # stem
    *[(4, 6, 1, 1), (4,), (4,)] * 2,  # preprocessing of both inputs
    *[(4, 4, 1, 7), (4, 4, 7, 1), (4,), (4,)],
    *[(2, 4, 1, 1), (2, 4, 1, 1), (4,), (4,)],  # a skip of stride 2
    *[(4, 1, 7, 7), (4, 4, 1, 1), (4,), (4,)] * 2,
    *[(10, 4), (10,)],
]


@pytest.mark.parametrize("name", sorted(zoo))
def test_counts_equal_the_published_sizes(name):
    entry = zoo[name]
    assert count_params(entry.genotype, CIFAR10) == entry.params_cifar10
    assert count_params(entry.genotype, CIFAR100) == entry.params_cifar100
    assert count_params(entry.genotype, IMAGENET) == entry.params_imagenet


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DARTS_V2", 528_359_040),
        ("seed_l31", 400_238_208),
        ("PDARTS", 532_174_464),
        ("eg_nas_cifar10", 579_894_912),
    ],
)
def test_multiply_adds_equal_the_known_counts(name, expected):
    assert multiply_adds(zoo[name].genotype, CIFAR10) == expected


@pytest.mark.parametrize("file", ["amoebanet_c4_l3", "darts_v2_c8_l6"])
def test_counts_of_golden_networks_equal_torch(load_golden_network, file):
    arrays, genotype, config, _ = load_golden_network(f"network_{file}")
    assert count_params(genotype, config) == arrays["params"]
    assert count_params(genotype, config, auxiliary=True) == arrays["params_with_aux"]


def test_counts_with_the_head_equal_the_known_ones(golden_file):
    known = json.loads(golden_file("genotypes.json").read_text())
    for name, fields in known.items():
        count = count_params(zoo[name].genotype, CIFAR10, auxiliary=True)
        assert count == fields["params_c10_with_aux"], name


def test_the_auxiliary_head_on_imagenet_lacks_one_batch_norm():
    genotype, channels = zoo["DARTS_V2"].genotype, 4 * 4 * 48
    head = 128 * channels + 2 * 128 + 768 * 128 * 4 + 769 * 1000
    without = count_params(genotype, IMAGENET)
    assert count_params(genotype, IMAGENET, auxiliary=True) == without + head


def test_a_tiny_network_counted_by_hand():
    assert sum(map(math.prod, TINY_SHAPES)) == 984
    assert count_params(TINY, TINY_CONFIG) == 984
    grey = count_params(TINY, TINY_CONFIG, image_channels=1)
    assert grey == 984 - 2 * 6 * 9


def test_multiply_adds_of_a_tiny_network_counted_by_hand_on_an_odd_side():
    stem, preprocess = 162 * 25, 2 * 24 * 25  # 5 x 5 pixels
    asymmetric = 112 * 5 * 3 + 112 * 3 * 3  # the 1x7 convolution halves the width only
    rest = (16 + 2 * (196 + 16)) * 3 * 3
    total = stem + preprocess + asymmetric + rest + 40
    assert multiply_adds(TINY, TINY_CONFIG, image_size=5) == total == 11_938


def random_cell(rng, num_blocks):
    pairs = [
        (str(rng.choice(DARTS_PRIMITIVES)), int(rng.integers(2 + index // 2)))
        for index in range(2 * num_blocks)
    ]
    count = int(rng.integers(1, num_blocks + 1))
    concat = rng.permutation(num_blocks)[:count] + 2
    return pairs, concat.tolist()


class TorchLikeCount:
    """Counts weights and multiply-adds layer by layer, from the shapes of states."""

    def __init__(self):
        self.params = self.multiply_adds = 0

    def conv(self, state, fan_out, kernel, stride=1, pad=0, dilation=1, groups=1):
        fan_in, *sides = state
        kernel, stride, pad = (np.broadcast_to(v, 2) for v in (kernel, stride, pad))
        sides = [
            (side + 2 * p - dilation * (k - 1) - 1) // s + 1
            for side, k, s, p in zip(sides, kernel, stride, pad, strict=True)
        ]
        weights = fan_in // groups * fan_out * int(np.prod(kernel))
        self.params += weights
        self.multiply_adds += weights * math.prod(sides)
        return (fan_out, *sides)

    def norm(self, state):
        self.params += 2 * state[0]
        return state

    def halve(self, state, fan_out):
        first = self.conv(state, fan_out // 2, 1, 2)
        shifted = (state[0], state[1] - 1, state[2] - 1)
        assert self.conv(shifted, fan_out // 2, 1, 2) == first
        return self.norm((fan_out, *first[1:]))

    def primitive(self, name, state, stride):
        channels = state[0]
        if name in ("none", "avg_pool_3x3", "max_pool_3x3"):
            return (channels, *((side - 1) // stride + 1 for side in state[1:]))
        if name == "skip_connect":
            return self.halve(state, channels) if stride == 2 else state
        if name == "conv_7x1_1x7":
            state = self.conv(state, channels, (1, 7), (1, stride), (0, 3))
            return self.norm(
                self.conv(state, channels, (7, 1), (stride, 1), (3, 0)),
            )
        side = int(name[-1])
        dilation = 2 if name.startswith("dil") else 1
        pad = dilation * (side - 1) // 2
        for step in (stride, 1) if name.startswith("sep") else (stride,):
            state = self.conv(state, channels, side, step, pad, dilation, channels)
            state = self.norm(self.conv(state, channels, 1))
        return state

    def cell(self, genotype, kind, states, channels, reduced_before):
        older, newer = states
        if reduced_before:
            older = self.halve(older, channels)
        else:
            older = self.norm(self.conv(older, channels, 1))
        nodes = [older, self.norm(self.conv(newer, channels, 1))]
        pairs = getattr(genotype, kind)
        for first in range(0, len(pairs), 2):
            ends = {
                self.primitive(name, nodes[source], 1 + (kind[0] == "r" and source < 2))
                for name, source in pairs[first : first + 2]
            }
            assert len(ends) == 1  # both can be added
            nodes += ends
        chosen = getattr(genotype, f"{kind}_concat")
        return (channels * len(chosen), *nodes[chosen[0]][1:])

    def network(self, genotype, config, side):
        channels, image = config.channels, (3, side, side)
        if config.frame == "cifar":
            older = newer = self.norm(self.conv(image, 3 * channels, 3, 1, 1))
        else:
            half = self.norm(self.conv(image, channels // 2, 3, 2, 1))
            older = self.norm(self.conv(half, channels, 3, 2, 1))
            newer = self.norm(self.conv(older, channels, 3, 2, 1))
        reduced_before = config.frame == "imagenet"
        for index in range(config.layers):
            reduction = index in (config.layers // 3, 2 * config.layers // 3)
            channels *= 1 + reduction
            kind = "reduce" if reduction else "normal"
            out = self.cell(genotype, kind, (older, newer), channels, reduced_before)
            older, newer, reduced_before = newer, out, reduction
        self.params += (newer[0] + 1) * config.num_classes
        self.multiply_adds += newer[0] * config.num_classes
        return self


@pytest.mark.parametrize("seed", range(20))
def test_counts_of_random_genotypes_equal_those_made_layer_by_layer(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, size=2)
    genotype = Genotype(*random_cell(rng, sizes[0]), *random_cell(rng, sizes[1]))
    frame, side = (("cifar", 24), ("imagenet", 96))[seed % 2]
    config = NetworkConfig(6, int(rng.integers(1, 9)), 7, frame=frame)
    expected = TorchLikeCount().network(genotype, config, side)
    assert count_params(genotype, config) == expected.params
    assert multiply_adds(genotype, config, side) == expected.multiply_adds


@pytest.mark.parametrize("genotype", [TINY, Topology(("nor_conv_3x3",) * 6)])
@pytest.mark.parametrize("size", [0, -32, 32.0, True, None])
def test_an_image_size_that_is_not_a_positive_whole_number_is_refused(genotype, size):
    config = network_cost.PUBLISHED[genotype.macro]
    message = f"image_size is {size}, but must be a whole number from 1"
    with pytest.raises(ValueError, match=message):
        network_cost.multiply_adds(genotype, config, size)
    message = f"image_channels is {size}, but must be a whole number from 1"
    for count in (network_cost.multiply_adds, network_cost.count_params):
        with pytest.raises(ValueError, match=message):
            count(genotype, config, image_channels=size)


def test_the_convention_says_what_is_counted():
    assert "classifier" in MULTIPLY_ADDS_CONVENTION
    assert "not counted" in MULTIPLY_ADDS_CONVENTION
