"""Every implementation of a kernel computes the same, values and gradients.

The oracle is XLA's own operation under autodiff (`nn.lowering.reference`), and the
oracle of that a sum written out in numpy.

Dims: E edges, C, O channels read and made, H, W sides, N images, T kernel side.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.nn import lowering
from egnas_jax.nn.cell import init_cell, mixed_cell
from egnas_jax.nn.init import is_leaf
from egnas_jax.nn.lowering import dense, reference
from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.space import Space

RNG = np.random.default_rng(0)
EDGES, CHANNELS, OUTPUTS = 3, 2, 4

# Programs that run once had better compile fast.
quick_jit = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def close(ours, theirs, tolerance=1e-5):
    """Leaf by leaf, relative to the largest value of the leaf."""

    def compare(a, b):
        assert a.shape == b.shape
        scale = max(np.abs(b).max(), 1e-6)
        np.testing.assert_allclose(a / scale, b / scale, atol=tolerance)

    jax.tree.map(compare, jax.device_get(ours), jax.device_get(theirs))


def by_definition(x, kernel, stride, dilation):
    """Depthwise convolution in float64: of each output pixel the sum over its taps."""
    side = kernel.shape[-1]
    pad = dilation * (side - 1) // 2
    x = np.pad(np.float64(x), [(0, 0)] * 2 + [(pad, pad)] * 2 + [(0, 0)])
    spans = [(size - 2 * pad - 1) // stride + 1 for size in x.shape[2:4]]
    out = np.zeros((len(kernel), x.shape[1], *spans, x.shape[-1]))
    for h, w, i, j in np.ndindex(*spans, side, side):
        pixel = x[:, :, h * stride + i * dilation, w * stride + j * dilation]
        out[:, :, h, w] += np.float64(kernel)[:, :, i, j, None] * pixel
    return out


WINDOWS = [  # states, side, stride, dilation, (H, W)
    (1, 3, 1, 1, (6, 5)),
    (1, 5, 2, 1, (6, 8)),
    (1, 3, 2, 2, (8, 6)),
    (1, 5, 1, 2, (7, 6)),
    (EDGES, 3, 2, 1, (8, 6)),
    (EDGES, 5, 1, 1, (5, 6)),
    (EDGES, 7, 1, 1, (8, 8)),
]


@pytest.mark.parametrize("states, side, stride, dilation, pixels", WINDOWS)
def test_the_reference_is_the_sum_over_taps(states, side, stride, dilation, pixels):
    x, kernel = (
        normal(states, CHANNELS, *pixels, 3),
        normal(EDGES, CHANNELS, side, side),
    )
    ours = reference.depthwise(x, kernel, stride, dilation)
    close(ours, by_definition(x, kernel, stride, dilation))


def convolved(way, x, depthwise, pointwise, stride, dilation):
    """Depthwise and pointwise convolution of every edge."""
    if way == "dense":
        return lowering.folded(x, depthwise, pointwise, stride, dilation)
    y = lowering.depthwise(x, depthwise, stride, dilation, implementation=way)
    return jnp.einsum("eoc,echwn->eohwn", pointwise, y)


@pytest.mark.parametrize("states, side, stride, dilation, pixels", WINDOWS)
def test_convolutions_are_equal(states, side, stride, dilation, pixels):
    arguments = (
        normal(states, CHANNELS, *pixels, 3),
        normal(EDGES, CHANNELS, side, side),
        normal(EDGES, OUTPUTS, CHANNELS),
    )

    def everything(way):
        def total(*arguments):
            out = convolved(way, *arguments, stride, dilation)
            return jnp.sum(jnp.sin(out)), out  # no cotangent like another

        run = jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)
        return quick_jit(run)(*arguments)

    expected = everything("grouped")
    for way in ("shifted", "dense"):
        close(everything(way), expected)


@pytest.mark.parametrize(
    "window, strides, padding, pixels",
    [
        ((3, 3), (1, 1), (1, 1), (6, 5)),
        ((3, 3), (2, 2), (1, 1), (5, 8)),
        ((1, 7), (1, 2), (0, 3), (4, 8)),
        ((7, 1), (2, 1), (3, 0), (8, 4)),
        ((1, 1), (2, 2), (0, 0), (6, 4)),
        ((2, 2), (1, 1), (0, 0), (3, 3)),
    ],
)
def test_a_convolution_by_a_product_equals_xlas(window, strides, padding, pixels):
    arguments = normal(CHANNELS, *pixels, 3), normal(OUTPUTS, CHANNELS, *window)

    def everything(convolve):
        def total(*arguments):
            out = convolve(*arguments, strides, padding)
            return jnp.sum(jnp.sin(out)), out

        run = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
        return quick_jit(run)(*arguments)

    close(everything(dense._product), everything(dense.convolution))


def test_a_cpu_runs_no_convolution_of_xla_and_other_backends_do(monkeypatch):
    arguments = normal(CHANNELS, 6, 6, 3), normal(OUTPUTS, CHANNELS, 3, 3)

    def lowered():
        run = jax.jit(lambda *given: lowering.convolve(*given, (1, 1), (1, 1)))
        return run.lower(*arguments).as_text().count("stablehlo.convolution")

    assert lowered() == 0
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert lowered() == 1


POOLINGS = [  # name, arguments, (H, W)
    *(
        (name, (stride,), pixels)
        for name in ("avg_pool", "max_pool")
        for stride in (1, 2)
        for pixels in ((6, 8), (5, 7))
    ),
    ("halve", (), (6, 8)),
]


@pytest.mark.parametrize("pool, arguments, pixels", POOLINGS)
def test_poolings_are_equal(pool, arguments, pixels):
    # no two equal, so that every maximum is one pixel's
    x = jnp.asarray(RNG.permutation(2 * 3 * np.prod(pixels)), jnp.float32)
    x = x.reshape(1, 2, *pixels, 3)

    def everything(way):
        def total(x):
            out = getattr(lowering, pool)(x, *arguments, implementation=way)
            return jnp.sum(jnp.sin(out)), out

        return quick_jit(jax.value_and_grad(total, has_aux=True))(x)

    close(everything("shifted"), everything("grouped"))


# a pooling, and both blocks of a convolution
SPACE = Space("small", ("max_pool_3x3", "sep_conv_3x3"), num_nodes=1)


@pytest.fixture(scope="module")
def cell_arguments():
    params, stats = init_cell(SPACE, CHANNELS, True, True)

    def drawn(described, low):
        def draw(leaf):
            return RNG.uniform(low, 1.5, leaf.shape).astype(np.float32)

        return jax.tree.map(draw, described, is_leaf=is_leaf)

    inputs = normal(4, 8, 8, 4), normal(4, 8, 8, 4)
    mixing = normal(SPACE.num_edges, 2), normal(SPACE.num_edges)
    return drawn(params, -1.5), drawn(stats, 0.5), inputs, *mixing


def cell_program(way, train):
    """Output and statistics of a reduction cell; in training, gradients too."""

    def run(params, stats, inputs, primitives, edges):
        def total(params, inputs, primitives):
            out, moved = mixed_cell(
                SPACE,
                True,
                True,
                2,
                params,
                stats,
                inputs,
                primitives,
                edges,
                train,
                way,
            )
            return jnp.sum(jnp.sin(out)), (out, moved)

        if train:
            total = jax.grad(total, argnums=(0, 1, 2), has_aux=True)
        return total(params, inputs, primitives)

    return run


@pytest.mark.parametrize("train", [False, True])
def test_cells_are_equal_and_their_programs_are_not(cell_arguments, train):
    results, convolutions = {}, {}
    for way in lowering.LOWERINGS:
        lowered = quick_jit(cell_program(way, train)).lower(*cell_arguments)
        convolutions[way] = lowered.as_text().count("stablehlo.convolution")
        results[way] = lowered.compile()(*cell_arguments)
    for way in ("shifted", "dense"):
        close(results[way], results["grouped"], 1e-4)
    # two blocks at each of two sources
    assert train or convolutions == {"shifted": 0, "grouped": 4, "dense": 4}
    assert not train or (convolutions["shifted"], convolutions["dense"]) == (0, 12)


def test_auto_reads_the_table():
    for backend, rows in lowering.TABLE.items():
        assert set(rows) == {"eval", "train"}
        for mode, kernels in rows.items():
            train = mode == "train"
            assert lowering.kernels_for("auto", train, 4, backend) == kernels
            assert {kernels.depthwise, kernels.dilated} <= set(lowering.LOWERINGS)
            assert kernels.pooling in ("grouped", "shifted")
    # the tests run on a CPU
    shifted = lowering.LOWERINGS["shifted"]
    assert lowering.kernels_for("auto", True, 4) == shifted
    assert lowering.kernels_for("auto", False, 4) == shifted


def test_auto_folds_no_wide_kernels_but_who_asks_gets_them():
    folded = lowering.Kernels("dense", "dense", "shifted")
    assert lowering.kernels_for("auto", True, 16, "gpu") == folded
    shifted = lowering.LOWERINGS["shifted"]
    assert lowering.kernels_for("auto", True, 17, "gpu") == shifted
    assert lowering.kernels_for("dense", True, 17, "gpu") == folded
    assert lowering.kernels_for("dense", False, 17, "cpu") == folded


def test_a_backend_without_a_row_is_taken_for_a_gpu():
    for train in (False, True):
        other = lowering.kernels_for("auto", train, 4, "another")
        assert other == lowering.kernels_for("auto", train, 4, "gpu")


def test_an_unknown_lowering_is_refused_with_what_is_close():
    with pytest.raises(ValueError, match="'shiftd'. Did you mean shifted.*auto, dense"):
        SupernetConfig(lowering="shiftd")
