"""Genotypes that keep every edge: a node's sum is written as a chain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.nn.cost import count_params
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.primitive_cost import edge_params
from egnas_jax.space import SPACES, Genotype
from egnas_jax.space.all_edges import derive_all_edges
from egnas_jax.types import Mixing

SPACE = SPACES["darts8"]
NONE, SKIP, SEP, DIL = (
    SPACE.primitives.index(name)
    for name in ("none", "skip_connect", "sep_conv_3x3", "dil_conv_5x5")
)


def mixing_of(choices):
    rows = {kind: np.eye(8, dtype=np.float32)[choices[kind]] for kind in SPACE.kinds}
    return Mixing(rows, {kind: np.ones(14, np.float32) for kind in SPACE.kinds})


def summed(cell, concat, images):
    """The outputs of a cell whose primitives are numbers; images are numbers too."""
    factor = {
        "none": 0.0,
        "skip_connect": 1.0,
        "sep_conv_3x3": 2.0,
        "dil_conv_5x5": 3.0,
    }
    states = list(images)
    for first, second in zip(cell[::2], cell[1::2], strict=True):
        states.append(
            sum(factor[name] * states[source] for name, source in (first, second))
        )
    return [states[node] for node in concat]


def expected_sums(choices, images):
    factor = {NONE: 0.0, SKIP: 1.0, SEP: 2.0, DIL: 3.0}
    states = [*images, 0.0, 0.0, 0.0, 0.0]
    for choice, (source, target) in zip(choices, SPACE.edges, strict=True):
        states[target] += factor[choice] * states[source]
    return states[2:]


@pytest.mark.parametrize("seed", range(5))
def test_a_chain_computes_the_sum_of_all_edges(seed):
    draw = np.random.default_rng(seed)
    choices = {kind: draw.choice([NONE, SKIP, SEP, DIL], 14) for kind in SPACE.kinds}
    genotype = derive_all_edges(SPACE, mixing_of(choices))
    images = 1.0, 10.0
    for kind in SPACE.kinds:
        outputs = summed(getattr(genotype, kind), genotype.concat(kind), images)
        assert outputs == expected_sums(choices[kind], images)
    assert Genotype.parse(genotype.format()) == genotype


def test_every_edge_counts_once_in_the_parameters():
    choices = {kind: np.full(14, SEP) for kind in SPACE.kinds}
    genotype = derive_all_edges(SPACE, mixing_of(choices))
    assert genotype.normal.count(("sep_conv_3x3", 0)) == 4
    assert len(genotype.blocks("normal")) == 10  # 1 + 2 + 3 + 4 links
    assert genotype.normal_concat == (2, 4, 7, 11)
    config = NetworkConfig(channels=8, layers=3, auxiliary=False)
    edge = edge_params("sep_conv_3x3", channels=8, stride=1)
    choices["normal"] = np.full(14, SKIP)
    skips = derive_all_edges(SPACE, mixing_of(choices))
    difference = count_params(genotype, config) - count_params(skips, config)
    assert difference == 14 * edge


def test_a_node_whose_edges_are_all_none_keeps_two_pairs_of_none():
    choices = {kind: np.full(14, NONE) for kind in SPACE.kinds}
    choices["normal"][1] = SEP
    genotype = derive_all_edges(SPACE, mixing_of(choices))
    assert genotype.normal[:4] == (
        ("sep_conv_3x3", 1),
        ("none", 0),
        ("none", 0),
        ("none", 1),
    )
    assert genotype.reduce == (("none", 0), ("none", 1)) * 4


def test_links_of_a_chain_are_no_edges_of_the_cell():
    choices = {kind: np.full(14, SEP) for kind in SPACE.kinds}
    choices["normal"][[0, 13]] = SKIP
    genotype = derive_all_edges(SPACE, mixing_of(choices))
    found = genotype.primitives_of("normal")
    assert sorted(found) == ["sep_conv_3x3"] * 12 + ["skip_connect"] * 2
    assert len(genotype.normal) == 20


def test_a_mixing_on_the_device_is_read_too():
    choices = {kind: np.full(14, DIL) for kind in SPACE.kinds}
    on_device = jax.tree.map(jnp.asarray, mixing_of(choices))
    assert derive_all_edges(SPACE, on_device).reduce[0] == ("dil_conv_5x5", 0)
