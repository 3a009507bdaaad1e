"""The fused kernels, interpreted on a CPU, compute what XLA's own operations do.

The oracle is the lowering `grouped`, whose own oracle is a sum in numpy
(tests/nn/test_lowering.py).

Dims: S edges, C channels, H, W sides, N images, P individuals, K primitives.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.nn import lowering
from egnas_jax.nn.init import is_leaf
from egnas_jax.nn.lowering import fused_kernels, fused_tiles
from egnas_jax.nn.lowering.fused_tiles import Sides
from egnas_jax.nn.mixed_edges import mixed_edges
from egnas_jax.nn.primitives import kernel_of
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.search.relax import unweighted
from egnas_jax.space import SPACES

RNG = np.random.default_rng(0)
DARTS, TOPOLOGY = (SPACES[name].primitives for name in ("darts7", "nasbench201"))
# one primitive without a fused kernel, and one of each sort that has one
PARTLY = ("none", "conv_7x1_1x7", "max_pool_3x3", "dil_conv_3x3")


def uniform(low, *shape):
    return jnp.asarray(RNG.uniform(low, 1.0, shape), jnp.float32)


def arguments(primitives, sizes, stride=1, affine=False):
    """Parameters and batch_stats, a state [C, H, W, N] and weights [S, K]."""
    edges, channels, *pixels = sizes

    def arrays(part, low):
        leaves = {
            name: primitive.init(edges, channels, stride, affine)[part]
            for name, primitive in primitives.items()
        }
        leaves = {name: tree for name, tree in leaves.items() if tree}
        return jax.tree.map(lambda x: uniform(low, *x.shape), leaves, is_leaf=is_leaf)

    state = jnp.asarray(RNG.normal(size=(channels, *pixels)), jnp.float32)
    weights = uniform(0.2, edges, len(primitives))
    return (arrays(0, -1.0), arrays(1, 0.5)), state, weights


def sums(way, primitives, *, stride=1, train=False):
    """A function of `arguments`: sums of all primitives and new batch_stats."""
    kernels = lowering.LOWERINGS[way]
    options = {"stride": stride, "train": train, "kernels": kernels}
    return functools.partial(mixed_edges, primitives, **options)


def named(names):
    return {name: kernel_of(name) for name in names}


@pytest.fixture(autouse=True)
def _interpreted():
    with lowering.interpret_kernels():
        yield


# every way to compute a primitive, by the smallest windows
EACH = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "nor_conv_1x1")
longest = pytest.mark.longest
CASES = [  # primitives, (S, C, H, W, N), stride, train
    # a strip of four pixels and one of two in every row
    (EACH, (2, 2, 4, 6, 5), 1, True),
    (("skip_connect", "nor_conv_3x3"), (1, 2, 8, 4, 3), 2, False),
    *(
        pytest.param(*case, marks=longest)
        for case in (
            (EACH, (2, 2, 4, 6, 5), 1, False),
            (DARTS, (2, 2, 6, 6, 5), 1, False),
            (DARTS, (1, 4, 8, 4, 3), 2, True),
            # two tiles, the second of which is not full
            (EACH, (2, 2, 12, 12, 16), 1, True),
            (TOPOLOGY, (2, 3, 4, 4, 7), 1, True),
            (TOPOLOGY, (1, 2, 4, 8, 2), 2, False),
            (PARTLY, (1, 2, 4, 4, 2), 1, False),
            (PARTLY, (1, 2, 4, 4, 2), 1, True),
        )
    ),
]


@pytest.mark.parametrize("names, sizes, stride, train", CASES)
def test_sums_and_statistics_are_those_of_the_reference(
    names, sizes, stride, train, assert_close, quick_jit
):
    given = arguments(named(names), sizes, stride)
    fused, reference = (
        quick_jit(sums(way, named(names), stride=stride, train=train))(*given)
        for way in ("fused", "grouped")
    )
    assert_close(fused, reference, 1e-5)


@pytest.mark.parametrize("train", [True, pytest.param(False, marks=longest)])
def test_norms_with_a_scale_and_norms_behind_poolings(train, assert_close, quick_jit):
    primitives = named(["nor_conv_1x1"]) | {
        "max_pool_3x3": kernel_of("max_pool_3x3", pool_bn=True)
    }
    given = arguments(primitives, (1, 2, 4, 4, 2), affine=True)
    fused, reference = (
        quick_jit(sums(way, primitives, train=train))(*given)
        for way in ("fused", "grouped")
    )
    assert_close(fused, reference, 1e-5)


@pytest.mark.parametrize("train", [False, pytest.param(True, marks=longest)])
def test_a_population_is_a_loop_over_individuals(train, assert_close, quick_jit):
    primitives = named(["max_pool_3x3", "nor_conv_1x1"])
    variables, state, _ = arguments(primitives, (2, 2, 4, 4, 3))
    states = state[None] * jnp.arange(1.0, 4.0).reshape(3, 1, 1, 1, 1)
    weights = uniform(0.2, 3, 2, 2)
    one = sums("fused", primitives, train=train)
    population = jax.vmap(one, in_axes=(None, 0, 0))
    loop = quick_jit(one)
    each = [loop(variables, *pair) for pair in zip(states, weights, strict=True)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *each)
    if not train:  # statistics that are not updated have no axis of individuals
        population, stacked = lambda *x: jax.vmap(one, (None, 0, 0))(*x)[0], stacked[0]
    assert_close(quick_jit(population)(variables, states, weights), stacked, 1e-6)


@pytest.mark.longest
@pytest.mark.parametrize("train", [False, True])
def test_bfloat16_is_close_to_float32(train, quick_jit):
    primitives = named(["avg_pool_3x3", "sep_conv_3x3"])
    variables, state, weights = arguments(primitives, (1, 4, 4, 4, 3))
    run = quick_jit(sums("fused", primitives, train=train))
    expected, _ = run(variables, state, weights)
    actual, _ = run(variables, state.astype(jnp.bfloat16), weights)
    assert actual.dtype == jnp.bfloat16
    # bfloat16 keeps 8 bits; the state, the first of two blocks and the sum are rounded
    difference = np.abs(np.float32(actual) - expected).max()
    assert 0 < difference < 2**-6 * np.abs(expected).max()


def jaxpr_of(way, names, differentiate):
    """The program of the sums, or of their gradient."""
    given = arguments(named(names), (1, 2, 4, 4, 2))
    run = sums(way, named(names))

    def total(*arguments):
        return jnp.sum(run(*arguments)[0])

    return str(jax.make_jaxpr(jax.grad(total) if differentiate else total)(*given))


def test_gradients_come_from_kernels_that_have_some(assert_close, quick_jit):
    names = ("skip_connect", "dil_conv_3x3")
    assert "fused_mix" in jaxpr_of("fused", names, False)
    assert "fused_" not in jaxpr_of("fused", names, True)
    given = arguments(named(names), (1, 2, 4, 4, 2))

    def gradients(way):
        run = sums(way, named(names), train=True)
        total = lambda *arguments: jnp.sum(jnp.sin(run(*arguments)[0]))  # noqa: E731
        return quick_jit(jax.grad(total, argnums=(0, 1, 2)))(*given)

    assert_close(gradients("fused"), gradients("shifted"), 1e-6)


def test_the_kernels_of_a_state_are_two_and_two_more_for_moments():
    def kernels(train):
        primitives = named(["max_pool_3x3", "sep_conv_3x3", "dil_conv_3x3"])
        given = arguments(primitives, (1, 2, 4, 4, 2))
        text = str(jax.make_jaxpr(sums("fused", primitives, train=train))(*given))
        names = ("fused_moments", "fused_convolve", "fused_mix")
        return [text.count(f"name={name}") for name in names]

    assert kernels(train=False) == [0, 1, 1]
    assert kernels(train=True) == [2, 1, 1]


@pytest.mark.parametrize(
    "channels, strip, threads",
    [(1, 4, 4), (4, 4, 4), (8, 4, 2), (16, 4, 1), (32, 2, 1), (64, 1, 1), (256, 1, 1)],
)
def test_a_thread_keeps_few_sums(channels, strip, threads):
    assert fused_tiles.tile_shape(channels) == (strip, 128 * threads)


@pytest.mark.parametrize("sides", [(4, 6, 5), (8, 8, 128), (1, 1, 1), (7, 5, 130)])
def test_the_tiles_hold_every_pixel_once(sides):
    shape, sides = fused_tiles.tile_shape(4), Sides(*sides)
    covered = np.zeros(sides.pixels, int)
    counts = []
    for index in range(shape.programs(sides)):
        tile = fused_tiles.tile_at(jnp.int32(index), shape, sides)
        first = (tile.row * sides.width + tile.column) * sides.images + tile.image
        places = [
            np.asarray(first + pixel * sides.images)[fused_tiles.is_real(tile, pixel)]
            for pixel in range(shape.strip)
        ]
        np.add.at(covered, np.concatenate(places), 1)
        counts.append(sum(map(len, places)))
    assert (covered == 1).all()
    assert fused_kernels.pixels_of_tiles(shape, sides).tolist() == counts


def test_moments_of_several_tiles_lose_no_digits():
    # 640 strips in tiles of 512; the mean is large against the deviation
    state = 1000.0 + np.arange(2560, dtype=np.float32).reshape(16, 16, 10) / 2560
    identity = fused_kernels.Weights(jnp.ones((1, 1, 1, 1)))
    term = fused_kernels.Term(0, fused_tiles.Window(1), identity)
    sources = [jnp.asarray(state)[None, None]]
    ((mean, var),) = fused_kernels.moments(sources, [[term]], stride=1)
    np.testing.assert_allclose(mean, [[np.mean(np.float64(state))]], rtol=1e-6)
    np.testing.assert_allclose(var, [[np.var(np.float64(state))]], rtol=2e-3)


def test_auto_never_chooses_unmeasured_kernels():
    for rows in lowering.TABLE.values():
        assert all("fused" not in kernels for kernels in rows.values())


def program(config):
    """Text of a supernet's evaluation."""
    net = make_supernet(config)
    space = SPACES[config.space]
    shape = space.num_edges, len(space.primitives)
    mixing = unweighted({kind: jnp.ones(shape) for kind in space.kinds})
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), (8, 8, 3)))
    images = jax.ShapeDtypeStruct((3, 8, 8, 3), jnp.float32)
    return str(jax.make_jaxpr(net.apply)(variables, images, mixing))


@pytest.mark.slow
@pytest.mark.parametrize("space, layers", [("darts7", 2), ("nasbench201", 5)])
def test_a_supernet_uses_them(space, layers):
    config = SupernetConfig(channels=8, layers=layers, space=space, lowering="fused")
    assert "fused_mix" in program(config)
