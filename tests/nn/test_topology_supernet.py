"""The search network of NAS-Bench-201 equals a numpy network; published sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax import evaluate_population, interop
from egnas_jax.nn.supernet import SupernetConfig, cells_of, groups_of, make_supernet
from egnas_jax.nn.supernet_cost import supernet_multiply_adds
from egnas_jax.nn.topology_cost import topology_multiply_adds, topology_params
from egnas_jax.search.relax import softmax_mixing
from egnas_jax.space import SPACES, Topology

# Two cells per stage, so that the loop over equal cells runs.
CONFIG = SupernetConfig(
    channels=4, layers=8, num_classes=3, partial_channels=1, space="nasbench201"
)
EDGES = SPACES["nasbench201"].edges


@pytest.fixture(scope="module")
def problem():
    """Variables without a trivial norm, images, labels and alpha."""
    rng = np.random.default_rng(0)
    variables = make_supernet(CONFIG).init(jax.random.key(0), (8, 8, 2))
    # In numpy, because compiling hundreds of small programs takes a minute.
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(leaf + 0.1 * rng.random(leaf.shape, np.float32)),
        jax.device_get(variables),
    )
    images = jnp.asarray(rng.standard_normal((6, 8, 8, 2), np.float32))
    labels = jnp.asarray(rng.integers(0, 3, 6), jnp.int32)
    alpha = jnp.asarray(rng.standard_normal((6, 5), np.float32))
    return variables, images, labels, {"cell": alpha}


class Reference:
    """The network edge by edge, in numpy and float64, on arrays [N, C, H, W]."""

    def __init__(self, variables, train):
        as_double = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
        self.params, self.stats = as_double["params"], as_double["batch_stats"]
        self.train = train

    def conv(self, x, kernel, stride=1):
        side = kernel.shape[-1]
        padded = np.pad(x, [(0, 0), (0, 0), (side // 2,) * 2, (side // 2,) * 2])
        height, width = (size // stride for size in x.shape[2:])
        out = 0.0
        for i in range(side):
            for j in range(side):
                rows = slice(i, i + stride * (height - 1) + 1, stride)
                columns = slice(j, j + stride * (width - 1) + 1, stride)
                tap = padded[:, :, rows, columns]
                out = out + np.einsum("nchw,oc->nohw", tap, kernel[:, :, i, j])
        return out

    def norm(self, x, params, stats):
        """Batch norm of one edge."""
        mean, var = stats["mean"], stats["var"]
        if self.train:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
        x = (x - mean[:, None, None]) / np.sqrt(var[:, None, None] + 1e-5)
        if params:
            x = x * params["scale"][:, None, None] + params["bias"][:, None, None]
        return x

    def pool(self, x):
        one = np.pad(np.ones_like(x), [(0, 0), (0, 0), (1, 1), (1, 1)])
        x = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
        total, count = (
            sum(
                a[:, :, i : i + a.shape[2] - 2, j : j + a.shape[3] - 2]
                for i in range(3)
                for j in range(3)
            )
            for a in (x, one)
        )
        return total / count

    def cell(self, x, mixing, params, stats):
        nodes = [x]
        for target in (1, 2, 3):
            total = 0.0
            for edge, (source, end) in enumerate(EDGES):
                if end != target:
                    continue
                # The edges that leave one state are stacked by ascending target.
                place = [e for e, (s, _) in enumerate(EDGES) if s == source].index(edge)
                state, weights = nodes[source], mixing[edge]
                total = total + weights[1] * state + weights[4] * self.pool(state)
                for position, name in ((2, "nor_conv_1x1"), (3, "nor_conv_3x3")):
                    kernel = params[source][name]["conv"][place]
                    y = self.conv(np.maximum(state, 0), kernel)
                    norm = stats[source][name]["norm"]
                    y = self.norm(y, {}, {k: v[place] for k, v in norm.items()})
                    total = total + weights[position] * y
            nodes.append(total)
        return nodes[-1]

    def single_norm(self, x, params, stats):
        """Batch norm outside the cells, whose arrays have one edge."""
        params, stats = ({k: v[0] for k, v in t.items()} for t in (params, stats))
        return self.norm(x, params, stats)

    def block(self, x, params, stats):
        y = x
        for name, stride in (("first", 2), ("second", 1)):
            y = self.conv(np.maximum(y, 0), params[name], stride)
            y = self.single_norm(y, params[f"{name}_norm"], stats[f"{name}_norm"])
        mean = (
            x[:, :, ::2, ::2]
            + x[:, :, 1::2, ::2]
            + x[:, :, ::2, 1::2]
            + x[:, :, 1::2, 1::2]
        ) / 4
        return y + self.conv(mean, params["shortcut"])

    def logits(self, images, mixing):
        params, stats = self.params, self.stats
        x = np.transpose(np.asarray(images, np.float64), (0, 3, 1, 2))
        x = self.conv(x, params["stem"]["conv"])
        x = self.single_norm(x, params["stem"]["norm"], stats["stem"])
        for stage in range(3):
            if stage:
                x = self.block(
                    x, params["blocks"][stage - 1], stats["blocks"][stage - 1]
                )
            for index in range(2):
                cell = jax.tree.map(
                    lambda leaf, i=index: leaf[i],
                    (params["stages"][stage], stats["stages"][stage]),
                )
                x = self.cell(x, mixing, *cell)
        x = np.maximum(self.single_norm(x, params["norm"], stats["norm"]), 0)
        head = params["classifier"]
        return x.mean((2, 3)) @ head["kernel"].T + head["bias"]


def cross_entropy(logits, labels):
    logits = logits - logits.max(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[rows, labels])


def softmax(alpha):
    exp = np.exp(np.asarray(alpha, np.float64))
    return exp / exp.sum(axis=-1, keepdims=True)


@pytest.mark.slow
def test_a_training_step_equals_the_numpy_network_and_finite_differences(problem):
    variables, images, labels, alpha = problem

    @jax.jit
    def step(params, alpha):
        def loss(params, alpha):
            logits, _ = make_supernet(CONFIG).apply(
                {**variables, "params": params},
                images,
                softmax_mixing(alpha),
                train=True,
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return jnp.mean(losses), logits

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, alpha)

    (_, logits), gradients = step(variables["params"], alpha)
    reference = Reference(variables, train=True).logits(images, softmax(alpha["cell"]))
    np.testing.assert_allclose(logits, reference, atol=2e-5 * np.abs(reference).max())

    rng = np.random.default_rng(0)
    direction = jax.tree.map(
        lambda leaf: rng.standard_normal(leaf.shape), (variables["params"], alpha)
    )
    slope = sum(
        float(np.sum(np.asarray(g, np.float64) * d))
        for g, d in zip(*map(jax.tree.leaves, (gradients, direction)), strict=True)
    )

    def loss_at(t):
        params, shifted_alpha = jax.tree.map(
            lambda leaf, d: np.asarray(leaf, np.float64) + t * d,
            (variables["params"], alpha),
            direction,
        )
        net = Reference({**variables, "params": params}, train=True)
        logits = net.logits(images, softmax(shifted_alpha["cell"]))
        return cross_entropy(logits, np.asarray(labels))

    # Because of the kinks of ReLUs the central difference is accurate to 1e-3 only.
    difference = (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6
    np.testing.assert_allclose(slope, difference, rtol=1e-3)


@pytest.mark.slow
def test_evaluation_of_a_population_equals_the_numpy_network(problem):
    variables, images, labels, alpha = problem
    one_hot = jax.nn.one_hot(jnp.asarray([3, 0, 2, 1, 4, 3]), 5)
    cells = jnp.stack([jax.nn.softmax(alpha["cell"]), one_hot])
    mixings = softmax_mixing({"cell": jnp.log(cells + 1e-30)})
    scores = evaluate_population(
        make_supernet(CONFIG), variables, mixings, images, labels
    )
    net = Reference(variables, train=False)
    for index, cell in enumerate(np.asarray(cells, np.float64)):
        logits = net.logits(images, cell)
        np.testing.assert_allclose(
            scores.loss[index], cross_entropy(logits, np.asarray(labels)), rtol=1e-5
        )
        assert scores.correct[index] == np.sum(logits.argmax(axis=1) == labels)


# Published sizes of the smallest and the largest network on CIFAR-10 and CIFAR-100.
@pytest.mark.parametrize(
    "name, classes, params, millions",
    [
        ("none", 10, 73306, 7.78305),
        ("none", 100, 79156, 7.7889),
        ("nor_conv_3x3", 10, 1531546, 220.11969),
        ("nor_conv_3x3", 100, 1537396, 220.12554),
    ],
)
def test_sizes_are_the_published_ones(name, classes, params, millions):
    cell = Topology((name,) * 6)
    assert topology_params(cell, classes) == params
    # The benchmark counts the classifier's bias.
    assert topology_multiply_adds(cell, classes) + classes == round(millions * 1e6)


def test_sizes_of_cells_with_several_primitives_are_the_published_ones():
    cell = Topology.parse(
        "|skip_connect~0|+|none~0|nor_conv_3x3~1|+"
        "|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    assert topology_params(cell) == 802426
    cell = Topology.parse(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+"
        "|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    assert round(topology_params(cell) / 1e6, 3) == 1.289
    assert round(topology_multiply_adds(cell) / 1e6, 2) == 184.73


def test_the_size_of_a_cell_of_1x1_convolutions_counted_by_hand():
    # 15 cells with 6 edges each; an edge has C^2 weights and a norm.
    edges = 5 * 6 * sum(c * c + 2 * c for c in (16, 32, 64))
    assert topology_params(Topology(("nor_conv_1x1",) * 6)) == 73306 + edges


def test_the_arithmetic_counts_the_weights_of_the_supernet():
    shapes = jax.eval_shape(
        lambda: make_supernet(CONFIG).init(jax.random.key(0), (8, 8, 3))
    )
    leaves = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    # Every edge has both convolutions, whose norms have no weights during a search.
    without_cells = topology_params(Topology(("none",) * 6), 3, channels=4, layers=8)
    assert leaves == without_cells + 2 * 6 * sum(10 * c * c for c in (4, 8, 16))


def test_the_arithmetic_adds_up_the_multiply_adds_of_all_primitives():
    def count(name):
        cell = Topology((name,) * 6)
        return topology_multiply_adds(cell, 3, 8, channels=4, layers=8)

    without_cells = count("none")
    expected = count("nor_conv_1x1") + count("nor_conv_3x3") - without_cells
    assert supernet_multiply_adds(CONFIG, 8) == expected


def test_three_stages_are_three_groups_of_equal_cells():
    assert [cell.channels for cell in cells_of(CONFIG)] == [4, 4, 8, 8, 16, 16]
    assert groups_of(CONFIG) == ((0, 1), (2, 3), (4, 5))


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(layers=6), "must be 3 N .* Nearest: 5"),
        (dict(layers=3), "Nearest: 5"),
        (dict(stem_multiplier=2), "leave it out"),
    ],
)
def test_settings_that_the_benchmark_does_not_have_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SupernetConfig(**{"layers": 5, **settings}, space="nasbench201")


def test_torch_weights_of_the_space_are_refused():
    with pytest.raises(ValueError, match="macro structure of DARTS"):
        interop.supernet_from_torch({}, CONFIG)
