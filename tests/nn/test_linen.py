"""The Flax modules equal the pure functions and fit into ordinary Flax code."""

import chex
import flax.errors
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx, serialization
from flax.training import train_state

from egnas_jax import Genotype, NetworkConfig, SupernetConfig, count_params, linen
from egnas_jax.nn import lowering
from egnas_jax.nn.network import make_network
from egnas_jax.nn.supernet import make_supernet
from egnas_jax.search.relax import softmax_mixing
from egnas_jax.space import SPACES, Space

# The reduction cell has no weights, so NNX drops its empty dictionary.
GENOTYPE = Genotype(
    [("max_pool_3x3", 0), ("skip_connect", 1), ("dil_conv_3x3", 0), ("none", 2)],
    [2, 3],
    [("max_pool_3x3", 0), ("avg_pool_3x3", 1), ("skip_connect", 2), ("none", 0)],
    [2, 3],
)
PLAIN = NetworkConfig(channels=4, layers=3, num_classes=3, auxiliary=False)
WITH_HEAD = NetworkConfig(channels=4, layers=3, num_classes=3)
SPACE = Space("small", ("max_pool_3x3", "dil_conv_3x3"), num_nodes=1)
LABELS = jnp.array([0, 1, 2, 0])
jit_options = lowering.compiler_options()


def images_of(side):
    return jax.random.normal(jax.random.key(1), (4, side, side, 3))


def cross_entropy(logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()


def gradient_step(forward):
    """Compiles variables, key -> gradients, (logits, new batch_stats)."""

    def loss(params, variables, key):
        logits, batch_stats = forward({**variables, "params": params}, key)
        total = sum(cross_entropy(output) for output in jax.tree.leaves(logits))
        return total, (logits, batch_stats)

    @jax.jit(compiler_options=jit_options)
    def step(variables, key):
        return jax.grad(loss, has_aux=True)(variables["params"], variables, key)

    return step


def first_key(module, name, key):
    """The key that a module draws first from one of its streams."""
    return module.bind({}, rngs={name: key}).make_rng(name)


@pytest.mark.parametrize(
    "config, side",
    [(PLAIN, 8), pytest.param(WITH_HEAD, 32, marks=pytest.mark.slow)],
)
def test_network_module_trains_like_the_pure_function(config, side):
    network, module = make_network(GENOTYPE, config), linen.Network(GENOTYPE, config)
    variables = network.init(jax.random.key(0), (side, side, 3))
    images = images_of(side)

    def pure(variables, key):
        key = first_key(module, "drop_path", key)
        logits, auxiliary_logits, batch_stats = network.apply(
            variables, images, train=True, key=key, drop_path=0.3
        )
        return (logits, auxiliary_logits), batch_stats

    def wrapped(variables, key):
        output, updates = module.apply(
            variables,
            images,
            train=True,
            drop_path=0.3,
            mutable=["batch_stats"],
            rngs={"drop_path": key},
        )
        logits = output if config.auxiliary else (output, None)
        return logits, updates["batch_stats"]

    expected, actual = (
        gradient_step(forward)(variables, jax.random.key(3))
        for forward in (pure, wrapped)
    )
    chex.assert_trees_all_equal(actual, expected)


def test_network_module_evaluates_like_the_pure_function():
    network, module = make_network(GENOTYPE, PLAIN), linen.Network(GENOTYPE, PLAIN)
    variables, images = network.init(jax.random.key(0), (8, 8, 3)), images_of(8)
    expected = jax.jit(lambda v: network.apply(v, images)[0])(variables)
    actual = jax.jit(lambda v: module.apply(v, images))(variables)
    chex.assert_trees_all_equal(actual, expected)


def supernet_mixing(config):
    space = SPACES[config.space]
    shape = space.num_edges, len(space.primitives)
    alphas = jax.random.normal(jax.random.key(2), (len(space.kinds), *shape))
    return softmax_mixing(dict(zip(space.kinds, alphas, strict=True)))


@pytest.mark.slow
def test_supernet_module_trains_and_evaluates_like_the_pure_function(monkeypatch):
    monkeypatch.setitem(SPACES, SPACE.name, SPACE)
    config = SupernetConfig(
        channels=4, layers=2, num_classes=3, partial_channels=2, space=SPACE.name
    )
    net, module = make_supernet(config), linen.Supernet(config)
    variables = net.init(jax.random.key(0), (8, 8, 3))
    images, mixing = images_of(8), supernet_mixing(config)

    def pure(variables, key):
        del key
        return net.apply(variables, images, mixing, train=True)

    def wrapped(variables, key):
        del key
        logits, updates = module.apply(
            variables, images, mixing, train=True, mutable=["batch_stats"]
        )
        return logits, updates["batch_stats"]

    expected, actual = (
        gradient_step(forward)(variables, jax.random.key(0))
        for forward in (pure, wrapped)
    )
    chex.assert_trees_all_equal(actual, expected)

    expected = jax.jit(lambda v: net.apply(v, images, mixing)[0])(variables)
    actual = jax.jit(lambda v: module.apply(v, images, mixing))(variables)
    chex.assert_trees_all_equal(actual, expected)


@pytest.mark.slow
@pytest.mark.parametrize("space", ["darts7", "nasbench201", "robust_s1"])
def test_supernet_module_has_the_variables_of_the_pure_function(space):
    config = SupernetConfig(channels=4, layers=5, space=space)
    images, mixing = images_of(8), supernet_mixing(config)
    net, module = make_supernet(config), linen.Supernet(config)
    expected = jax.eval_shape(lambda key: net.init(key, (8, 8, 3)), jax.random.key(0))
    actual = jax.eval_shape(module.init, jax.random.key(0), images, mixing)
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)


def test_network_module_has_the_variables_of_the_pure_function():
    net, module = make_network(GENOTYPE, WITH_HEAD), linen.Network(GENOTYPE, WITH_HEAD)
    expected = jax.eval_shape(lambda key: net.init(key, (32, 32, 3)), jax.random.key(0))
    actual = jax.eval_shape(module.init, jax.random.key(0), images_of(32))
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)


class TrainState(train_state.TrainState):
    batch_stats: dict


@jax.jit(compiler_options=jit_options)
def train_step(state, images, key):
    def loss_fn(params):
        logits, updates = state.apply_fn(
            {"params": params, "batch_stats": state.batch_stats},
            images,
            train=True,
            drop_path=0.1,
            mutable=["batch_stats"],
            rngs={"drop_path": key},
        )
        return cross_entropy(logits), updates

    (loss, updates), gradients = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    return state.apply_gradients(grads=gradients, **updates), loss


@pytest.mark.slow
def test_an_ordinary_flax_training_loop_lowers_the_loss():
    module, images = linen.Network(GENOTYPE, PLAIN), images_of(8)
    variables = module.init(jax.random.key(0), images)
    state = TrainState.create(
        apply_fn=module.apply,
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        tx=optax.sgd(0.1, momentum=0.9),
    )
    losses = []
    for step in range(12):
        state, loss = train_step(state, images, jax.random.key(step))
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
    mean = state.batch_stats["stem"][0]["norm"]["mean"]
    assert jnp.any(mean != variables["batch_stats"]["stem"][0]["norm"]["mean"])


@pytest.mark.slow
def test_nnx_bridge_gives_equal_outputs_and_keeps_new_batch_stats():
    module, images = linen.Network(GENOTYPE, PLAIN, lists_as_dicts=True), images_of(8)
    model = nnx.bridge.ToNNX(module, rngs=nnx.Rngs(0)).lazy_init(images)
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    batch_stats = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    variables = {"params": params, "batch_stats": batch_stats}
    chex.assert_trees_all_equal(model(images), module.apply(variables, images))

    logits, updates = module.apply(
        variables, images, train=True, mutable=["batch_stats"]
    )
    nnx_logits = model(images, train=True, mutable=["batch_stats"])
    chex.assert_trees_all_equal(nnx_logits, logits)
    new_batch_stats = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    assert jnp.any(
        new_batch_stats["stem"]["0"]["norm"]["mean"]
        != batch_stats["stem"]["0"]["norm"]["mean"]
    )
    leaves = map(jax.tree.leaves, (new_batch_stats, updates["batch_stats"]))
    chex.assert_trees_all_equal(*leaves)


def test_variables_of_a_run_fit_nested_dictionaries_after_conversion():
    variables = make_network(GENOTYPE, PLAIN).init(jax.random.key(0), (8, 8, 3))
    lists = linen.Network(GENOTYPE, PLAIN)
    dicts = linen.Network(GENOTYPE, PLAIN, lists_as_dicts=True)
    converted, images = serialization.to_state_dict(variables), images_of(8)
    chex.assert_trees_all_equal(
        dicts.apply(converted, images), lists.apply(variables, images)
    )


def test_tabulate_names_the_parameters():
    module = linen.Network(GENOTYPE, PLAIN)
    table = module.tabulate(
        jax.random.key(0), images_of(8), console_kwargs={"width": 200}
    )
    for name in ("Network", "stem", "runs", "0 dil_conv_3x3", "pointwise", "mean"):
        assert name in table
    assert f"{count_params(GENOTYPE, PLAIN):,}" in table


def test_missing_collections_and_keys_raise_the_errors_of_flax():
    module, images = linen.Network(GENOTYPE, PLAIN), images_of(8)
    variables = make_network(GENOTYPE, PLAIN).init(jax.random.key(0), (8, 8, 3))
    with pytest.raises(flax.errors.ScopeCollectionNotFound, match="params"):
        module.apply({}, images)
    with pytest.raises(flax.errors.InvalidRngError, match="drop_path"):
        module.apply(variables, images, train=True, drop_path=0.3)
    with pytest.raises(flax.errors.ScopeParamShapeError, match=r"\(12, 1, 3, 3\)"):
        module.apply(variables, images[..., :1])
