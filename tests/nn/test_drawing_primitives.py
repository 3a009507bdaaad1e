"""Primitives that draw random numbers draw by keys, and the same without a key."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_search import SPACE as TINY

from egnas_jax.nn import lowering
from egnas_jax.nn.costs import cost
from egnas_jax.nn.drawing_keys import edge_keys, pass_key
from egnas_jax.nn.network import make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.primitive import Primitive, source_of
from egnas_jax.nn.primitives import PRIMITIVES, kernel_of, register_primitive
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.search.evaluate import evaluate_population
from egnas_jax.search.gradients import batch_gradients
from egnas_jax.search.relax import softmax_mixing
from egnas_jax.space import SPACES, Genotype, Space
from egnas_jax.space.primitive_names import FAMILIES
from egnas_jax.types import Batch

NOISY = Space("noisy", ("noise", "skip_connect"), num_nodes=1)
PROBES = "probe", "other_probe"
PROBED = {"name": "probed", "primitives": PROBES, "num_nodes": 2}  # five edges
ARGMAX = {"derive": "argmax", "output": "last", "macro": "nasbench201"}
PROBED_STAGES = {**PROBED, "name": "probed_stages", "num_inputs": 1, **ARGMAX}
SHAPE = (8, 8, 3)


@pytest.fixture(autouse=True)
def spaces(monkeypatch):
    for space in (NOISY, TINY):
        monkeypatch.setitem(SPACES, space.name, space)


@pytest.fixture
def probes(monkeypatch):
    """Two primitives that note the keys that they are given; the list of the notes."""
    seen = []

    def apply(params, batch_stats, x, stride, train, *, key):
        data = jax.random.key_data(key)
        jax.debug.callback(lambda data: seen.append(tuple(data.tolist())), data)
        return x[:, ::stride, ::stride], batch_stats

    def init(key, channels, stride):
        return {}, {}

    for name in PROBES:
        register_primitive(Primitive(name, init, apply, draws=True))
    for space in (PROBED, PROBED_STAGES):
        monkeypatch.setitem(SPACES, space["name"], Space(**space))
    yield seen
    for name in PROBES:
        del PRIMITIVES[name], FAMILIES[name]


def forget(probes):
    """Removes the notes of the checks, which run own primitives once."""
    jax.effects_barrier()
    probes.clear()


def supernet(space, layers=2):
    config = SupernetConfig(channels=4, layers=layers, num_classes=3, space=space)
    net = make_supernet(config)
    return net, net.init(jax.random.key(0), SHAPE)


def images(count=6):
    return jax.random.normal(jax.random.key(7), (count, *SHAPE))


def mixing_of(space, individuals=None):
    """Equal weights; of several individuals, those of random alphas."""
    shape = space.num_edges, len(space.primitives)
    if individuals is None:
        return softmax_mixing(dict.fromkeys(space.kinds, jnp.zeros(shape)))
    alpha = jax.random.normal(jax.random.key(2), (individuals, *shape))
    return softmax_mixing(dict.fromkeys(space.kinds, alpha))


@pytest.mark.parametrize(("stride", "dtype"), [(1, jnp.float32), (2, jnp.bfloat16)])
def test_noise_is_standard_normal_and_differs_by_edge_and_image(stride, dtype):
    state = jnp.full((1, 8, 16, 16, 4), 100.0, dtype)  # noise does not read it
    output, _ = kernel_of("noise").apply(
        {},
        {},
        source_of(state),
        stride=stride,
        train=False,
        kernels=lowering.LOWERINGS["shifted"],
        keys=edge_keys(jax.random.key(0), "noise", (0, 3)),
    )
    side = 16 // stride
    assert output.x.shape == (2, 8, side, side, 4) and output.x.dtype == dtype
    numbers = np.moveaxis(np.asarray(output.x, np.float64), -1, 1).reshape(8, -1)
    slack = 4 / np.sqrt(numbers.shape[1])  # four standard errors
    np.testing.assert_allclose(numbers.mean(axis=1), 0, atol=slack)
    np.testing.assert_allclose(numbers.var(axis=1), 1, atol=slack * np.sqrt(2))
    correlations = np.corrcoef(numbers)[~np.eye(8, dtype=bool)]
    assert np.abs(correlations).max() < slack


def test_noise_has_no_weights_and_no_multiply_adds():
    def network(name):
        pairs = ((name, 0), (name, 1))
        config = NetworkConfig(channels=4, layers=1, auxiliary=False)
        return cost(Genotype(pairs, (2,), pairs, (2,)), config, image_size=16)

    pooling, noise = network("max_pool_3x3"), network("noise")  # neither has any
    assert noise.params == pooling.params
    assert noise.multiply_adds == pooling.multiply_adds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "layers", "places"),  # cells, edges, primitives
    [("probed", 6, 6 * 5 * 2), ("probed_stages", 8, 6 * 3 * 2)],
)
def test_every_cell_state_edge_and_primitive_has_a_key(probes, space, layers, places):
    net, variables = supernet(space, layers)
    forget(probes)
    run = jax.jit(functools.partial(net.apply, mixing=mixing_of(SPACES[space])))
    for seed, different in ((0, places), (0, places), (5, 2 * places)):
        jax.block_until_ready(run(variables, images(2), key=jax.random.key(seed)))
        jax.effects_barrier()
        assert len(set(probes)) == different
    assert len(probes) == 3 * places


def test_every_edge_of_a_derived_network_has_a_key(probes):
    pairs = (("probe", 0), ("probe", 1), ("probe", 0), ("other_probe", 0))
    genotype = Genotype(pairs, (2, 3), pairs, (2, 3))
    config = NetworkConfig(channels=4, layers=4, auxiliary=False)
    net = make_network(genotype, config)
    forget(probes)
    variables = net.init(jax.random.key(0), SHAPE)
    run = jax.jit(net.apply)
    for seed in (0, 5):
        jax.block_until_ready(run(variables, images(2), key=jax.random.key(seed)))
        jax.effects_barrier()
    assert len(probes) == len(set(probes)) == 2 * 4 * 4  # passes, cells, edges


def test_a_population_is_evaluated_as_each_individual_is():
    net, variables = supernet("noisy", layers=1)
    labels = jnp.array([0, 1, 2, 0, 1, 2])
    evaluate = functools.partial(evaluate_population, net, variables)
    mixings, batch = mixing_of(NOISY, 3), (images(), labels)
    together = evaluate(mixings, *batch, population_chunk=3)
    for index in range(3):
        one = jax.tree.map(lambda leaf, i=index: leaf[i : i + 1], mixings)
        alone = evaluate(one, *batch)
        np.testing.assert_allclose(together.loss[index], alone.loss[0], rtol=1e-5)
    assert len(set(together.loss.tolist())) == 3


def test_without_a_key_a_pass_draws_by_a_constant_one():
    data = [jax.random.key_data(pass_key(key)) for key in (None, jax.random.key(0))]
    np.testing.assert_array_equal(*data)


def test_training_passes_draw_by_their_key():
    net, variables = supernet("noisy", layers=1)

    @jax.jit
    def loss(key):
        def network(params):
            fixed = {**variables, "params": params}
            return fixed, mixing_of(NOISY)

        batch = Batch(images(), jnp.array([0, 1, 2, 0, 1, 2]))
        gradients, _ = batch_gradients(
            net, network, variables["params"], batch, key=key
        )
        return gradients.loss

    first, second, again = (float(loss(jax.random.key(seed))) for seed in (0, 1, 0))
    assert first == again != second


def test_programs_of_spaces_that_draw_nothing_have_no_key():
    def text(space, **options):
        net, variables = supernet(space.name)
        run = functools.partial(net.apply, mixing=mixing_of(space), train=True)
        lowered = jax.jit(lambda *arguments: run(*arguments, **options))
        return str(lowered.trace(variables, images()).jaxpr)

    assert not make_supernet(SupernetConfig(space="tiny")).draws
    assert "random" not in text(TINY)
    assert text(TINY, key=jax.random.key(0)) == text(TINY)
    assert "random" in text(NOISY)
