"""All implementations of a kernel have equal values and gradients.

The oracle is XLA's own operation under autodiff (`nn.lowering.reference`), whose oracle
is a sum written out in numpy.

Dims: E edges, C input channels, O output channels, H, W sides, N images, T kernel side.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.nn import lowering
from egnas_jax.nn.cell import init_cell, mixed_cell
from egnas_jax.nn.cell_spec import CellSpec
from egnas_jax.nn.init import is_leaf
from egnas_jax.nn.lowering import RULES, dense, reference
from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.space import Space
from egnas_jax.types import Mixing

RNG = np.random.default_rng(0)
EDGES, CHANNELS, OUTPUTS = 3, 2, 4


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def depthwise_by_definition(x, kernel, stride, dilation):
    """Depthwise convolution in float64, the sum over the taps of each output pixel."""
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
def test_the_reference_is_the_sum_over_taps(
    states, side, stride, dilation, pixels, assert_close
):
    x = normal(states, CHANNELS, *pixels, 3)
    kernel = normal(EDGES, CHANNELS, side, side)
    actual = reference.depthwise(x, kernel, stride, dilation)
    assert_close(actual, depthwise_by_definition(x, kernel, stride, dilation))


def separable_convolution(way, x, depthwise, pointwise, stride, dilation):
    """Depthwise and pointwise convolution of every edge; `way` is a key of `WAYS`."""
    if way == "dense":
        return lowering.folded_convolution(x, depthwise, pointwise, stride, dilation)
    y = lowering.depthwise(x, depthwise, stride=stride, dilation=dilation, **WAYS[way])
    if way == "grouped":
        return jnp.einsum("eoc,echwn->eohwn", pointwise, y)
    return lowering.pointwise(y, pointwise, WAYS[way]["rules"])


# The rules of the other backends differ from these in no kernel.
WAYS = {
    "grouped": {"implementation": "grouped"},
    "shifted on a cpu": {"implementation": "shifted", "rules": RULES["cpu"]},
    "shifted on a gpu": {"implementation": "shifted", "rules": RULES["gpu"]},
    "matrix": {"implementation": "matrix", "rules": RULES["cpu"]},
}


@pytest.mark.parametrize("states, side, stride, dilation, pixels", WINDOWS)
def test_convolutions_are_equal(
    states, side, stride, dilation, pixels, assert_close, quick_jit
):
    arguments = (
        normal(states, CHANNELS, *pixels, 3),
        normal(EDGES, CHANNELS, side, side),
        normal(EDGES, OUTPUTS, CHANNELS),
    )

    def output_and_gradients(way):
        def total(*arguments):
            out = separable_convolution(way, *arguments, stride, dilation)
            return jnp.sum(jnp.sin(out)), out  # all cotangents differ

        run = jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)
        (_, out), gradients = quick_jit(run)(*arguments)
        return out, gradients  # the total cancels

    expected = output_and_gradients("grouped")
    ways = ("shifted on a cpu", "shifted on a gpu", "dense", "matrix")
    for way in ways:
        assert_close(output_and_gradients(way), expected)


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
def test_convolution_by_matrix_product_equals_that_of_xla(
    window, strides, padding, pixels, assert_close, quick_jit
):
    arguments = normal(CHANNELS, *pixels, 3), normal(OUTPUTS, CHANNELS, *window)

    def output_and_gradients(convolve):
        def total(*arguments):
            out = convolve(*arguments, strides, padding)
            return jnp.sum(jnp.sin(out)), out

        run = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
        return quick_jit(run)(*arguments)

    actual = output_and_gradients(dense._convolve_by_product)
    assert_close(actual, output_and_gradients(dense.convolution))


@pytest.mark.parametrize("backend, convolutions", [("cpu", 0), ("gpu", 1), ("tpu", 1)])
def test_only_backends_other_than_the_cpu_run_convolutions_of_xla(
    backend, convolutions
):
    def run(x, kernel):
        return lowering.convolve(x, kernel, (1, 1), (1, 1), RULES[backend])

    arguments = normal(CHANNELS, 6, 6, 3), normal(OUTPUTS, CHANNELS, 3, 3)
    text = jax.jit(run).lower(*arguments).as_text()
    assert text.count("stablehlo.convolution") == convolutions


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
def test_poolings_are_equal(pool, arguments, pixels, assert_close, quick_jit):
    # All values differ, so that every maximum is that of one pixel.
    x = jnp.asarray(RNG.permutation(2 * 3 * np.prod(pixels)), jnp.float32)
    x = x.reshape(1, 2, *pixels, 3)

    def output_and_gradient(**way):
        def total(x):
            out = getattr(lowering, pool)(x, *arguments, **way)
            return jnp.sum(jnp.sin(out)), out

        return quick_jit(jax.value_and_grad(total, has_aux=True))(x)

    expected = output_and_gradient(implementation="grouped")
    assert_close(output_and_gradient(implementation="shifted"), expected)
    if pool != "halve":  # which pads nothing, so that no rule concerns it
        assert_close(output_and_gradient(rules=RULES["gpu"]), expected)


# A pooling and a primitive of two blocks.
SPACE = Space("small", ("max_pool_3x3", "sep_conv_3x3"), num_nodes=1)
SPEC = CellSpec(SPACE, "reduce", partial_channels=2, pool_bn=True)


@pytest.fixture(scope="module")
def cell_arguments():
    """Parameters, batch_stats, inputs and mixing of a reduction cell."""

    def random_arrays(description, low):
        def draw(leaf):
            return RNG.uniform(low, 1.5, leaf.shape).astype(np.float32)

        return jax.tree.map(draw, description, is_leaf=is_leaf)

    params, stats = init_cell(SPEC, 2 * CHANNELS)
    params, stats = random_arrays(params, -1.5), random_arrays(stats, 0.5)
    inputs = normal(4, 8, 8, 4), normal(4, 8, 8, 4)
    primitives, edges = normal(SPACE.num_edges, 2), normal(SPACE.num_edges)
    return params, stats, inputs, Mixing({"reduce": primitives}, {"reduce": edges})


def cell_program(way, train):
    """Computes output and new batch_stats of the cell; in training gradients too."""

    def run(params, stats, inputs, mixing):
        def total(params, inputs, primitives):
            out, new_stats = mixed_cell(
                SPEC,
                (params, stats),
                inputs,
                Mixing(primitives, mixing.edges),
                train=train,
                implementation=way,
            )
            return jnp.sum(jnp.sin(out)), (out, new_stats)

        if train:
            total = jax.grad(total, argnums=(0, 1, 2), has_aux=True)
        return total(params, inputs, mixing.primitives)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("train", [False, True])
def test_cells_are_equal_but_their_programs_differ(
    cell_arguments, train, assert_close, quick_jit
):
    results, convolutions = {}, {}
    # The fused kernels need a GPU; tests/nn/test_fused_edges.py interprets them.
    for way in set(lowering.LOWERINGS) - {"fused"}:
        lowered = quick_jit(cell_program(way, train)).lower(*cell_arguments)
        convolutions[way] = lowered.as_text().count("stablehlo.convolution")
        results[way] = lowered.compile()(*cell_arguments)
    with lowering.assume_backend("gpu"):
        on_a_gpu = quick_jit(cell_program("shifted", train))(*cell_arguments)
    assert_close(on_a_gpu, results["grouped"], 1e-4)
    for way in ("shifted", "dense", "matrix"):
        assert_close(results[way], results["grouped"], 1e-4)
    # Two blocks at each of two source states.
    assert train or convolutions == {
        "shifted": 0,
        "grouped": 4,
        "dense": 4,
        "matrix": 0,
    }
    assert not train or (convolutions["shifted"], convolutions["dense"]) == (0, 12)


def test_auto_reads_the_table():
    for backend, rows in lowering.TABLE.items():
        assert set(rows) == {"eval", "train"}
        for mode, kernels in rows.items():
            train = mode == "train"
            with lowering.assume_backend(backend):
                assert lowering.kernels_for("auto", train, 4) == kernels
            assert {kernels.depthwise, kernels.dilated} <= set(lowering.LOWERINGS)
            assert kernels.pooling in ("grouped", "shifted")
    # The tests run on a CPU.
    shifted = lowering.LOWERINGS["shifted"]
    assert lowering.kernels_for("auto", True, 4) == shifted
    assert lowering.kernels_for("auto", False, 4) == shifted


def test_only_auto_declines_to_fold_wide_kernels(monkeypatch):
    folded = lowering.Kernels("dense", "dense", "shifted")
    monkeypatch.setitem(lowering.TABLE, "gpu", {"eval": folded, "train": folded})
    with lowering.assume_backend("gpu"):
        assert lowering.kernels_for("auto", True, 16) == folded
        assert lowering.kernels_for("auto", True, 17) == lowering.LOWERINGS["shifted"]
        assert lowering.kernels_for("dense", True, 17) == folded
    assert lowering.kernels_for("dense", False, 17) == folded


def test_an_unknown_backend_gets_the_row_of_the_gpu():
    with lowering.assume_backend("another"):
        for mode, kernels in lowering.TABLE["gpu"].items():
            assert lowering.kernels_for("auto", mode == "train", 4) == kernels


def test_an_unknown_lowering_is_refused_with_close_matches():
    with pytest.raises(ValueError, match="'shiftd'. Did you mean shifted.*auto, dense"):
        SupernetConfig(lowering="shiftd")
