"""The separable convolutions of a state, computed together, equal those one by one.

Dims: S edges, C channels, H, W sides, N images, T kernel side.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.nn import lowering
from egnas_jax.nn.init import is_leaf
from egnas_jax.nn.joint_blocks import Blocks, joint_blocks
from egnas_jax.nn.primitive import source_of
from egnas_jax.nn.primitives import PRIMITIVES, kernel_of
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.search.relax import unweighted

RNG = np.random.default_rng(0)
EDGES, CHANNELS = 2, 3
# two windows, both dilations, chains of one block and of two, in a mixed order
NAMES = ("dil_conv_5x5", "sep_conv_3x3", "dil_conv_3x3", "sep_conv_5x5")


def random_arrays(description, low):
    def draw(leaf):
        return jnp.asarray(RNG.uniform(low, 1.0, leaf.shape), jnp.float32)

    return jax.tree.map(draw, description, is_leaf=is_leaf)


def arguments(names, stride, affine=False):
    """Parameters, batch_stats, a state [1, C, 8, 8, N] and weights by primitive."""
    leaves = {
        name: kernel_of(name).init(EDGES, CHANNELS, stride, affine) for name in names
    }
    params = {name: random_arrays(p, -1.0) for name, (p, _) in leaves.items()}
    stats = {name: random_arrays(s, 0.5) for name, (_, s) in leaves.items()}
    state = jnp.asarray(RNG.normal(size=(1, CHANNELS, 8, 8, 4)), jnp.float32)
    weights = {
        name: jnp.asarray(RNG.uniform(0.2, 1.0, EDGES), jnp.float32) for name in names
    }
    return params, stats, state, weights


def together(params, stats, state, weights, *, stride, train):
    kinds = {name: kernel_of(name).blocks for name in weights}
    return joint_blocks(
        kinds, (params, stats), jax.nn.relu(state), weights, stride=stride, train=train
    )


def one_by_one(params, stats, state, weights, *, stride, train):
    total, new_stats = 0.0, {}
    for name, factors in weights.items():
        output, new_stats[name] = kernel_of(name).apply(
            params[name],
            stats[name],
            source_of(state),
            stride=stride,
            train=train,
            kernels=lowering.LOWERINGS["grouped"],
        )
        total += output.times(factors[:, None]).wide()
    return total, new_stats


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("names", [NAMES, NAMES[:1], NAMES[1:2]])
def test_values_gradients_and_statistics(names, stride, train, assert_close, quick_jit):
    given = arguments(names, stride)

    def results(function):
        def total(params, stats, state, weights):
            y, new_stats = function(
                params, stats, state, weights, stride=stride, train=train
            )
            return jnp.sum(jnp.sin(y)), (y, new_stats)

        return quick_jit(jax.grad(total, argnums=(0, 2, 3), has_aux=True))(*given)

    assert_close(results(together), results(one_by_one), 1e-4)


def test_norms_may_have_a_scale_and_a_shift(assert_close):
    given = arguments(NAMES[1:3], 1, affine=True)
    options = {"stride": 1, "train": False}
    assert_close(together(*given, **options), one_by_one(*given, **options), 1e-5)


def test_a_primitive_that_is_no_chain_has_no_blocks():
    chains = {name for name in PRIMITIVES if kernel_of(name).blocks}
    windows = {f"{kind}_{s}x{s}" for kind in ("sep_conv", "dil_conv") for s in (3, 5)}
    assert chains == windows | {"sep_conv_7x7"}
    assert kernel_of("dil_conv_5x5").blocks == Blocks(5, 2, ())


def test_a_matrix_of_a_tap_selects_the_pixel_that_the_tap_reads():
    (matrix,) = lowering.tap_matrices((2, 3), 1, 1, 1)
    assert (matrix == np.eye(6)).all()
    matrices = lowering.tap_matrices((4, 4), 3, 2, 2)  # 9 taps, 2 x 2 outputs
    assert matrices.shape == (9, 4, 16)
    # Output (1, 0) stands at pixel (2, 0); tap (0, 2) is two rows above it and two
    # columns to the right: pixel (0, 2). Tap (2, 2) lies below the image.
    assert np.flatnonzero(matrices[2, 2]).tolist() == [2]
    assert not matrices[8, 2].any()


@pytest.mark.parametrize(
    "name, sides, backend, chosen",
    [
        ("auto", (8, 8), "cpu", "matrix"),
        ("auto", (8, 12), "cpu", "auto"),
        ("auto", (8, 8), "gpu", "auto"),
        ("shifted", (8, 8), "cpu", "shifted"),
        ("matrix", (4, 16), "gpu", "matrix"),
    ],
)
def test_only_auto_takes_matrices_for_tiny_images_on_a_cpu(
    name, sides, backend, chosen
):
    with lowering.assume_backend(backend):
        assert lowering.for_images(name, sides) == chosen


def test_matrices_of_larger_images_are_refused():
    with pytest.raises(ValueError, match="have 8 x 12 pixels: it takes at most 64"):
        lowering.for_images("matrix", (8, 12))


@pytest.mark.parametrize("train", [False, True])
def test_bfloat16_is_close_to_float32(train, quick_jit):
    params, stats, state, weights = arguments(NAMES, 1)
    run = quick_jit(functools.partial(together, stride=1, train=train))
    expected, _ = run(params, stats, state, weights)
    actual, _ = run(params, stats, state.astype(jnp.bfloat16), weights)
    assert actual.dtype == jnp.float32  # the dtype of sums
    scale = np.abs(expected).max()
    # bfloat16 keeps 8 bits
    np.testing.assert_allclose(actual / scale, expected / scale, atol=2**-6)


@pytest.mark.parametrize("space", ["darts7", "nasbench201"])
def test_a_supernet_of_tiny_images_uses_matrices(space):
    layers = {"darts7": 2, "nasbench201": 5}[space]
    config = SupernetConfig(channels=4, layers=layers, space=space)
    net = make_supernet(config)
    rows = {
        kind: jnp.ones((edges, primitives))
        for kind, edges, primitives in {
            "darts7": (("normal", 14, 7), ("reduce", 14, 7)),
            "nasbench201": (("cell", 6, 5),),
        }[space]
    }
    images = jax.ShapeDtypeStruct((3, 8, 8, 3), jnp.float32)
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), (8, 8, 3)))

    def program(lowering_name):
        used = make_supernet(
            SupernetConfig(**vars(config) | {"lowering": lowering_name})
        )
        run = jax.jit(used.apply)
        return run.lower(variables, images, unweighted(rows)).as_text()

    same = program("auto") == program("matrix")
    assert same
    assert (program("auto") == program("shifted")) == (space == "nasbench201")
