"""Scores of a supernet's cells equal those of networks that stand alone."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import plain_network
import pytest

import egnas_jax as eg
from egnas_jax.nn.lowering import compiler_options
from egnas_jax.nn.primitives import PRIMITIVES as PRIMITIVES_BY_NAME
from egnas_jax.proxies import (
    PROXIES,
    normal_kernels,
    of_mixing,
    of_network,
    score_cells,
)
from egnas_jax.search.relax import unweighted
from egnas_jax.studies.proxy_scores import ProxyStudy
from egnas_jax.types import Batch

PRIMITIVES = eg.SPACES["nasbench201"].primitives
CONFIG = eg.SupernetConfig(
    channels=4, layers=5, partial_channels=1, space="nasbench201"
)
KEY = jax.random.key(3)
FIRST = "params multiply_adds l2_norm snip naswot"
OTHERS = "grad_norm synflow fisher jacov"


def mixings_of(choices):
    return unweighted({"cell": jax.nn.one_hot(jnp.asarray(choices), len(PRIMITIVES))})


def make_batch(size=12, side=8):
    images = jax.random.normal(jax.random.key(1), (size, side, side, 3))
    return Batch(images, jnp.arange(size, dtype=jnp.int32) % 10)


def cross_entropy(logits, labels):
    logs = jax.nn.log_softmax(logits)
    return -jnp.mean(logs[jnp.arange(len(labels)), labels])


def length(array):
    return jnp.sqrt(jnp.sum(array**2))


def total(tree):
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(tree))


class Oracle:
    """The definitions, written down once more over `plain_network`."""

    def __init__(self, names, variables, batch, key):
        self.names, self.batch, self.key = names, batch, key
        parts = plain_network.kernels_of_cell(variables["params"], names)
        self.kernels, self.bias = parts
        key_kernels, self.key_noise = jax.random.split(key)
        normal = normal_kernels(key_kernels, variables)["params"]
        self.normal, _ = plain_network.kernels_of_cell(normal, names)

    def run(self, kernels, images, **options):
        return plain_network.forward(self.names, kernels, self.bias, images, **options)

    def loss(self, kernels, **options):
        logits, _ = self.run(kernels, self.batch.images, **options)
        return cross_entropy(logits, self.batch.labels)

    @functools.cached_property
    def gradients(self):
        return jax.grad(self.loss)(self.kernels)

    def l2_norm(self):
        return sum(length(kernel) for kernel in self.kernels.values())

    def grad_norm(self):
        return sum(length(gradient) for gradient in self.gradients.values())

    def snip(self):
        pairs = jax.tree.map(jnp.multiply, self.kernels, self.gradients)
        return total(jax.tree.map(jnp.abs, pairs))

    def grasp(self):
        # forward over reverse, where the proxy takes two reverse passes
        tangents = (self.gradients,)
        _, product = jax.jvp(jax.grad(self.loss), (self.kernels,), tangents)
        return -total(jax.tree.map(jnp.multiply, self.kernels, product))

    def synflow(self):
        ones = jnp.ones_like(self.batch.images[:1])
        kernels = jax.tree.map(jnp.abs, self.kernels)

        def flow(kernels):
            return jnp.sum(self.run(kernels, ones, norms=False)[0])

        return jnp.log(
            total(jax.tree.map(jnp.multiply, kernels, jax.grad(flow)(kernels)))
        )

    def fisher(self):
        _, seen = self.run(self.kernels, self.batch.images)
        factors = {
            k: jnp.ones((len(y), y.shape[-1])) for k, y in seen["output"].items()
        }
        sums = jax.grad(lambda f: self.loss(self.kernels, factors=f))(factors)
        return sum(0.5 * jnp.sum(jnp.mean(s**2, axis=0)) for s in sums.values())

    def jacov(self):
        def logits(images):
            return jnp.sum(self.run(self.kernels, images)[0])

        jacobian = jax.grad(logits)(self.batch.images)
        rows = np.asarray(jacobian, np.float64).reshape(len(jacobian), -1)
        values = np.linalg.eigvalsh(np.corrcoef(rows)) + 1e-5
        return -(np.log(values) + 1 / values).sum()

    def naswot(self):
        _, seen = self.run(self.kernels, self.batch.images)
        matrix = 0
        for x in seen["relu"]:
            code = np.asarray(x > 0, np.float64).reshape(len(x), -1)
            matrix = matrix + code @ code.T + (1 - code) @ (1 - code).T
        return np.linalg.slogdet(matrix)[1]

    def zen(self):
        first, second = (
            jax.random.normal(key, self.batch.images.shape)
            for key in jax.random.split(self.key_noise)
        )
        _, before = self.run(self.normal, first)
        _, after = self.run(self.normal, first + 0.01 * second)
        change = jnp.abs(before["features"] - after["features"]).sum(axis=(1, 2, 3))
        deviations = [0.5 * jnp.log(v.mean() + 1e-5) for v in before["variance"]]
        return jnp.log(change.mean()) + sum(deviations)


def draw_connected(number):
    """Cells that have a derived network."""
    rng, cells = np.random.default_rng(0), []
    while len(cells) < number:
        choices = rng.integers(0, len(PRIMITIVES), 6)
        used = choices > 0  # edges that are not `none`
        paths = used[3] or (used[0] and used[4]) or (used[1] and used[5])
        if paths or (used[0] and used[2] and used[5]):
            cells.append(choices)
    return np.stack(cells)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, names",
    [
        (3, FIRST),
        pytest.param(20, f"{FIRST} {OTHERS}", marks=pytest.mark.longest),
        # which take long to compile, and in the oracle
        pytest.param(20, "grasp zen", marks=pytest.mark.longest),
    ],
)
def test_scores_of_cells_are_those_of_networks_that_stand_alone(number, names):
    choices, batch = draw_connected(number), make_batch()
    net, names = eg.make_supernet(CONFIG), names.split()
    keys = jax.random.split(KEY, number)
    scores = score_cells(names, net, mixings_of(choices), batch, keys)
    frame = eg.NetworkConfig(channels=4, layers=5, auxiliary=False, drop_path=0.0)
    for row, cell in enumerate(choices):
        key_weights, key_score = jax.random.split(keys[row])
        variables = net.init(key_weights, (8, 8, 3))
        primitives = [PRIMITIVES[choice] for choice in cell]
        oracle = Oracle(primitives, variables, batch, key_score)
        topology = eg.Topology.of_choices(cell.tolist())
        sizes = {
            "params": eg.count_params(topology, frame),
            "multiply_adds": eg.multiply_adds(topology, frame, 8),
        }
        for name in names:
            if name in sizes:
                expected, tolerance = sizes[name], 0
            else:
                expected, tolerance = float(getattr(oracle, name)()), 1e-4
            np.testing.assert_allclose(
                scores[name][row],
                expected,
                rtol=tolerance,
                # terms of both signs cancel in the sum of grasp
                atol=1e-4 if name == "grasp" else 0,
                err_msg=f"{name} {primitives}",
            )


def derived_variables(topology, frame, params):
    """Variables of a derived network with the kernels of a supernet's cell."""
    variables = eg.make_network(topology, frame).init(KEY, (8, 8, 3))
    new = variables["params"] | {
        name: params[name] for name in ("stem", "blocks", "norm", "classifier")
    }
    for stage, stacks in enumerate(new["stages"]):
        for name, stack in stacks.items():
            source, primitive = name.split()
            leaving = plain_network.LEAVING[int(source)]
            used = [e for e in leaving if topology.primitives[e] == primitive]
            positions = jnp.asarray([leaving.index(edge) for edge in used])
            kernels = params["stages"][stage][int(source)][primitive]["conv"]
            stack["conv"] = kernels[:, positions]
    return variables | {"params": new}


@pytest.mark.slow
def test_a_derived_network_has_the_score_of_its_mixing():
    (choices,), batch = [[3, 2, 3, 1, 0, 4]], make_batch(6)
    topology = eg.Topology.of_choices(choices)
    config = dataclasses.replace(CONFIG, layers=8)  # two cells, which run as a loop
    net = eg.make_supernet(config)
    frame = eg.NetworkConfig(channels=4, layers=8, auxiliary=False, drop_path=0.0)
    mixing = jax.tree.map(lambda leaf: leaf[0], mixings_of([choices]))
    of_supernet = net.init(KEY, (8, 8, 3))
    of_cell = derived_variables(topology, frame, of_supernet["params"])
    derived = of_network(eg.make_network(topology, frame))

    options = compiler_options((1, 1))  # compiles with few optimisations
    for name in ("params", "multiply_adds", "l2_norm", "naswot"):
        ours, others = (
            jax.jit(
                functools.partial(PROXIES[name].score, network),
                compiler_options=options,
            )(variables, batch, KEY)
            for network, variables in (
                (derived, of_cell),
                (of_mixing(net, mixing), of_supernet),
            )
        )
        np.testing.assert_allclose(ours, others, rtol=1e-4, err_msg=name)


def test_a_cell_has_the_same_score_in_any_company():
    net, batch = eg.make_supernet(CONFIG), make_batch(4, 4)
    choices, keys = [[3, 1, 0, 2, 4, 3], [0] * 6, [2] * 6], jax.random.split(KEY, 3)
    mixings = mixings_of(choices)

    def l2_norms(rows, **options):
        chosen = jax.tree.map(lambda leaf: leaf[rows], mixings)
        return score_cells(["l2_norm"], net, chosen, batch, keys[rows], **options)[
            "l2_norm"
        ]

    rows, others = jnp.asarray([0, 1, 2]), jnp.asarray([2, 0, 2])
    together = l2_norms(rows)
    np.testing.assert_allclose(l2_norms(rows, at_a_time=2), together, rtol=1e-6)
    np.testing.assert_allclose(l2_norms(others), together[others], rtol=1e-6)
    # the second cell has no convolutions, the first one three, the third one six
    assert together[1] < together[0] < together[2]


def test_unknown_names_and_spaces_of_unknown_layers_are_refused(monkeypatch):
    net = eg.make_supernet(CONFIG)
    with pytest.raises(
        ValueError, match="Unknown proxy 'synflo'.*Did you mean synflow"
    ):
        score_cells(["synflo"], net, mixings_of([[0] * 6]), make_batch(), KEY[None])
    own = PRIMITIVES_BY_NAME["nor_conv_1x1"]._replace(kernel=None)
    monkeypatch.setitem(PRIMITIVES_BY_NAME, "nor_conv_1x1", own)
    with pytest.raises(ValueError, match="whose layers are unknown: nor_conv_1x1"):
        of_mixing(net, mixings_of([0] * 6))
    with pytest.raises(ValueError, match="whose layers are unknown"):
        ProxyStudy("nasbench201", ("snip",), 3)


def test_one_image_is_refused_where_all_cells_would_have_one_score():
    net, batch = eg.make_supernet(CONFIG), make_batch(1, 4)
    # the correlation of one gradient with itself is 1, whatever the cell
    with pytest.raises(ValueError, match="images is 1, but jacov compares images"):
        score_cells(["params", "jacov"], net, mixings_of([[3] * 6]), batch, KEY[None])


def test_a_network_with_an_auxiliary_head_is_refused():
    network = eg.make_network(eg.zoo["DARTS_V2"].genotype, eg.NetworkConfig(4, 3))
    with pytest.raises(ValueError, match="auxiliary=False"):
        of_network(network)
