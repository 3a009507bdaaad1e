"""The derived network of a cell with one input: values, sizes, weights of torch."""

import dataclasses

import jax
import numpy as np
import pytest

from egnas_jax import count_params, interop, multiply_adds
from egnas_jax.nn.network import make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.network_cost import PUBLISHED
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.nn.topology_cost import topology_multiply_adds, topology_params
from egnas_jax.space import SPACES, Topology
from egnas_jax.types import Mixing

CELL = Topology.parse(
    "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+"
    "|skip_connect~0|none~1|nor_conv_3x3~2|"
)
GRAPH = Topology.parse("|sep_conv_3x3~0|+|max_pool_3x3~1|+|skip_connect~0|none~1|")
CONFIG = NetworkConfig(
    channels=4, layers=8, num_classes=3, auxiliary=False, drop_path=0.3
)
SMALL = dataclasses.replace(CONFIG, layers=5)


def shapes_of(cell, config, image_shape=(8, 8, 2)):
    net = make_network(cell, config)
    return jax.eval_shape(lambda: net.init(jax.random.key(0), image_shape))


def size(tree):
    return sum(np.prod(leaf.shape, dtype=int) for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def problem():
    """The network of the cell with random arrays, and images."""
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32),
        shapes_of(CELL, CONFIG),
    )
    images = rng.standard_normal((4, 8, 8, 2)).astype(np.float32)
    return make_network(CELL, CONFIG), variables, images


@pytest.mark.parametrize("cell", [CELL, GRAPH], ids=["nasbench201", "graph"])
def test_the_arrays_are_as_many_as_the_count(cell):
    params = shapes_of(cell, CONFIG)["params"]
    assert size(params) == count_params(cell, CONFIG, image_channels=2)


def test_counts_of_the_published_network_are_those_of_the_benchmark():
    published = PUBLISHED["nasbench201"]
    assert count_params(CELL, published) == topology_params(CELL, 10)
    assert multiply_adds(CELL, published) == topology_multiply_adds(CELL, 10)
    assert size(shapes_of(CELL, published, (32, 32, 3))["params"]) == topology_params(
        CELL, 10
    )


def as_supernet(variables):
    """The variables of the network as those of a supernet, whose cells lack affines."""
    edges = zip(SPACES["nasbench201"].edges, CELL.primitives, strict=True)
    names = [(source, name, f"{source} {name}") for (source, _), name in edges]
    moved = {}
    for collection, tree in variables.items():
        stages = [
            [
                {n: stage[key] for s, n, key in names if s == source and key in stage}
                for source in range(3)
            ]
            for stage in tree["stages"]
        ]
        moved[collection] = {**tree, "stages": stages}
    for stage in moved["params"]["stages"]:
        for state in stage:
            for name, leaves in state.items():
                state[name] = {**leaves, "norm": {}}
    return moved


def with_trivial_affines(path, leaf):
    name = path[-1].key
    if path[0].key == "stages" and name in ("scale", "bias"):
        return np.full_like(leaf, name == "scale")
    return leaf


@pytest.mark.parametrize("train", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_network_computes_what_its_supernet_computes_under_its_cell(
    train, problem, assert_close, quick_jit
):
    net, variables, images = problem
    params = jax.tree.map_with_path(with_trivial_affines, variables["params"])
    variables = {**variables, "params": params}
    live = (tuple((choice,) for choice in CELL.choices),)
    config = SupernetConfig(
        channels=4,
        layers=8,
        num_classes=3,
        partial_channels=1,
        space="nasbench201",
        live=live,
    )
    moved = as_supernet(variables)
    rows = np.eye(5, dtype=np.float32)[list(CELL.choices)]
    mixing = Mixing({"cell": rows}, {"cell": np.ones(6, np.float32)})
    supernet = quick_jit(make_supernet(config).apply, static_argnums=3)
    expected, _ = supernet(moved, images, mixing, train)
    logits, head, stats = quick_jit(
        lambda v, x: net.apply(v, x, train=train),
    )(variables, images)
    assert head is None
    assert_close(logits, expected)
    assert jax.tree.structure(stats) == jax.tree.structure(variables["batch_stats"])


def test_paths_are_dropped_but_never_identities(problem, quick_jit):
    net, variables, images = problem
    apply = quick_jit(
        lambda v, x, key: net.apply(v, x, train=True, key=key, drop_path=0.5)[0]
    )
    first, second = (apply(variables, images, jax.random.key(k)) for k in (0, 1))
    assert np.abs(np.asarray(first - second)).max() > 1e-3
    net = make_network(Topology(["skip_connect"] * 6), SMALL)
    arrays = net.init(jax.random.key(0), (8, 8, 2))
    apply = quick_jit(
        lambda v, x, key: net.apply(v, x, train=True, key=key, drop_path=0.5)[0]
    )
    first, second = (apply(arrays, images, jax.random.key(k)) for k in (0, 1))
    np.testing.assert_array_equal(first, second)


def test_weights_go_to_torch_and_back(problem):
    _, variables, _ = problem
    weights = interop.network_to_torch(variables, CELL, CONFIG)
    assert sum(w.size for w in weights.values()) == size(variables)
    assert weights["cells.0.layers.0.op.1.weight"].shape == (4, 4, 3, 3)
    assert weights["cells.2.conv_a.op.1.weight"].shape == (8, 4, 3, 3)
    assert weights["cells.2.downsample.1.weight"].shape == (8, 4, 1, 1)
    assert weights["cells.7.layers.5.op.1.weight"].shape == (16, 16, 3, 3)
    assert weights["lastact.0.running_var"].shape == (16,)
    back = interop.network_from_torch(weights, CELL, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, variables, back)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"layers": 7}, r"layers is 7, but .* 3 N \+ 2 .*NetworkConfig\(layers=8\),"),
        ({"layers": 2}, r"\(layers=5\), .* --set network.layers=5\. NAS-Bench"),
        (
            {"auxiliary": True},
            r"auxiliary is True, but .* no auxiliary head, .*"
            r"\(auxiliary=False\), .* --set network.auxiliary=false\. ",
        ),
        (
            {"frame": "imagenet", "layers": 10, "auxiliary": True},
            r"\(layers=11, auxiliary=False, frame='cifar'\), on the command line --set "
            "network.layers=11 --set network.auxiliary=false --set network.frame=cifar",
        ),
    ],
)
def test_settings_that_the_network_cannot_have_are_refused(changes, message):
    config = NetworkConfig(**{"channels": 4, "layers": 8, "auxiliary": False} | changes)
    with pytest.raises(ValueError, match=message):
        make_network(CELL, config)


def test_a_cell_without_a_path_is_refused():
    with pytest.raises(
        ValueError, match="^The cell has no path from an input to its output nodes"
    ):
        make_network(Topology(["none"] * 6), CONFIG)
