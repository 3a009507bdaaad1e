"""SNAS against the numbers of its reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packed_supernet import (
    KINDS,
    by_kind,
    largest_difference,
    read_batch,
    read_network,
    with_logits,
)

from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.search.gradients import batch_gradients
from egnas_jax.search.relax import unweighted
from egnas_jax.search.strategy import derive_incumbent
from egnas_jax.space import SPACES
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.snas.gumbel import (
    gumbel_noise,
    gumbel_softmax,
    temperature_of,
)
from egnas_jax.strategies.snas.resources import (
    PUBLISHED_CELLS,
    penalty,
    resource_tables,
)
from egnas_jax.strategies.snas.strategy import log_alpha_gradient, penalty_gradient
from egnas_jax.types import Mixing

CONFIG, MAKE = STRATEGIES["snas"]
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def golden(load_golden):
    return load_golden("systems/snas")


@pytest.fixture(scope="module")
def rows(golden):
    """The Gumbel-softmax of the golden file."""
    noise = by_kind(-np.log(-np.log(golden["uniform"])))
    return gumbel_softmax(
        by_kind(golden["log_alpha"]), noise, golden["temperature"].item()
    )


def test_rows_are_the_softmax_of_noisy_logits(golden, rows):
    assert largest_difference(rows, golden["rows"]) < 1e-5
    alpha = {"cell": jnp.asarray(golden["log_alpha"][0], jnp.float32)}
    for uniform, temperature, expected in zip(
        *(golden[f"many_{name}"] for name in ("uniform", "temperature", "rows")),
        strict=True,
    ):
        noise = {"cell": jnp.asarray(-np.log(-np.log(uniform)), jnp.float32)}
        found = gumbel_softmax(alpha, noise, temperature.item())["cell"]
        tolerance = 1e-3 if temperature < 0.1 else 1e-5
        assert np.abs(found - expected).max() < tolerance


def test_the_noise_has_the_moments_of_a_gumbel_and_differs_between_kinds():
    shapes = {kind: jnp.zeros((500, 8)) for kind in KINDS}
    noise = gumbel_noise(KEY, shapes)
    for sample in noise.values():
        assert np.mean(sample) == pytest.approx(np.euler_gamma, abs=0.1)
        assert np.var(sample) == pytest.approx(np.pi**2 / 6, rel=0.1)
    assert not np.array_equal(*noise.values())


def test_the_temperature_falls_on_a_line_and_stays(golden):
    schedule = jax.jit(lambda epoch: temperature_of(epoch, 1.0, 0.03, 150))
    found = jax.vmap(schedule)(jnp.arange(150))
    np.testing.assert_allclose(found, golden["temperature_by_epoch"], rtol=1e-5)
    assert schedule(1000) == pytest.approx(0.03)


def test_resources_are_those_of_the_reference(golden):
    small = SupernetConfig(
        space="darts8", pool_bn=True, channels=2, layers=3, partial_channels=1
    )
    official = SupernetConfig(space="darts8", layers=8, partial_channels=1)
    for config, side, name in (
        (small, 8, "resources"),
        (official, 32, "resources_l8_c16"),
    ):
        tables = resource_tables(config, (side, side))
        np.testing.assert_array_equal([table for _, table in tables], golden[name])
    kinds = [kind for kind, _ in resource_tables(official, (32, 32))]
    assert [kinds.count(kind) for kind in KINDS] == [6, 2]


def test_the_penalty_and_its_gradient_equal_the_reference(golden, rows):
    temperature = golden["temperature"].item()
    for layers, channels, side, suffix in ((3, 2, 8, ""), (8, 16, 32, "_l8_c16")):
        config = SupernetConfig(
            space="darts8", layers=layers, channels=channels, partial_channels=1
        )
        tables = resource_tables(config, (side, side))
        value = float(penalty(rows, tables))
        assert value == pytest.approx(golden[f"penalty{suffix}"].item(), rel=1e-5)
        by_rows = penalty_gradient(config, (side, side), rows)
        gradient = log_alpha_gradient(rows, by_rows, temperature)
        assert largest_difference(gradient, golden[f"g_penalty{suffix}"]) < 1e-4


def test_the_published_numbers_of_cells_are_those_of_eight_cells(golden, rows):
    """Six normal and two reduction cells, which a network of three does not have."""
    small, official = (
        resource_tables(
            SupernetConfig(
                space="darts8", layers=layers, channels=channels, partial_channels=1
            ),
            (side, side),
        )
        for layers, channels, side in ((3, 2, 8), (8, 16, 32))
    )
    value = float(penalty(rows, official, PUBLISHED_CELLS))
    assert value == pytest.approx(golden["penalty_l8_c16"].item(), rel=1e-5)
    normal, reduce = (
        float(penalty(rows, [entry for entry in small if entry[0] == kind]))
        for kind in KINDS
    )
    # one normal cell over 6, and two reduction cells over 2
    published = float(penalty(rows, small, PUBLISHED_CELLS))
    assert published == pytest.approx(normal / 6 + reduce, rel=1e-5)


def test_costs_below_one_have_no_gradient():
    config = SupernetConfig(space="darts8", layers=3, channels=2, partial_channels=1)
    tables = resource_tables(config, (8, 8))
    nothing = {kind: jnp.zeros((14, 8)).at[:, 0].set(1.0) for kind in KINDS}  # `none`
    assert penalty(nothing, tables) == 0
    gradient = penalty_gradient(config, (8, 8), nothing)
    assert all(np.all(part == 0) for part in jax.tree.leaves(gradient))


def learned_once(toy_net, toy_batch, update_of, **settings):
    """alpha before and after one step, the mixing of that step, and the weights."""
    strategy = MAKE(toy_net, CONFIG(**settings))
    state = strategy.init(KEY, strategy.hyperparams)
    variables = toy_net.init(jax.random.key(1))
    new, _ = update_of(strategy)(KEY, state, variables, toy_batch)
    mixing = strategy.mixing(jax.random.fold_in(KEY, 1), new)
    return state.alpha, new.alpha, mixing, variables


def test_alpha_follows_the_clipped_gradient_of_log_alpha(toy_net, toy_batch, update_of):
    """Plain SGD against the chain rule applied to softmax((alpha + noise) / tau)."""
    settings = dict(learning_rate=0.5, temperature=0.5, temperature_min=0.5)
    old, new, _, variables = learned_once(toy_net, toy_batch, update_of, **settings)
    noise = gumbel_noise(jax.random.fold_in(KEY, 1), old)

    def network(alpha):
        return variables, unweighted(gumbel_softmax(alpha, noise, 0.5))

    gradients = jax.jit(lambda a: batch_gradients(toy_net, network, a, toy_batch)[0])
    expected = gradients(old).gradient
    moved = jax.tree.map(lambda a, b: (a - b) / 0.5, old, new)
    for kind in KINDS:
        np.testing.assert_allclose(moved[kind], expected[kind], atol=2e-6)
        assert np.abs(expected[kind]).max() > 1e-3
    settings["clip_norm"] = 1e-3
    old, new, *_ = learned_once(toy_net, toy_batch, update_of, **settings)
    squares = jax.tree.map(lambda a, b: np.sum(np.square(a - b)), old, new)
    assert np.sqrt(sum(squares.values())) == pytest.approx(0.5e-3, rel=1e-2)


def test_a_resource_penalty_lowers_the_weight_of_dear_primitives(
    toy_net, toy_batch, update_of
):
    # of three cells the first is a normal one
    net = toy_net._replace(config=SupernetConfig(channels=4, layers=3, num_classes=3))
    settings = dict(alpha_optimizer="adam", learning_rate=0.1, resource_penalty=10.0)
    old, new, *_ = learned_once(net, toy_batch, update_of, **settings)
    moved = np.mean(new["normal"] - old["normal"], axis=0)
    primitives = SPACES["darts7"].primitives
    assert moved[primitives.index("skip_connect")] > 0.05
    assert moved[primitives.index("sep_conv_5x5")] < -0.05


def test_the_record_says_the_temperature_of_the_epoch(toy_net, toy_batch, update_of):
    strategy = MAKE(toy_net, CONFIG(temperature_epochs=10))
    state = strategy.init(KEY, strategy.hyperparams)
    variables = toy_net.init(jax.random.key(1))
    new, _ = update_of(strategy)(KEY, state, variables, toy_batch, epoch=4)
    assert strategy.metrics(new)["temperature"] == pytest.approx(1 - 0.97 / 2)


def test_the_derivation_is_a_setting(toy_net):
    space = SPACES["darts8"]
    rows = np.full((14, 8), 0.1, np.float32)
    rows[:, space.primitives.index("none")] = 0.3
    mixing = Mixing(*({kind: part for kind in KINDS} for part in (rows, np.ones(14))))
    net = toy_net._replace(config=SupernetConfig(space="darts8"))
    derived = {
        rule: derive_incumbent(MAKE(net, CONFIG(derive=rule)), space, mixing)
        for rule in ("edge_all", "two")
    }
    assert set(derived["edge_all"].normal) == {("none", 0), ("none", 1)}
    assert derived["two"].normal == (("max_pool_3x3", 0), ("max_pool_3x3", 1)) * 4


def test_settings_that_make_no_search_are_refused(toy_net):
    for wrong, told in (
        (dict(temperature=0.0), "temperature is 0.0"),
        (dict(temperature_min=-1.0), "temperature_min is -1.0"),
        (dict(temperature=0.5, temperature_min=0.6), "at most strategy.temperature"),
        (dict(drop_path=1.0), "drop_path is 1.0"),
        (dict(derive="three"), "edge_all, two"),
        (dict(resource_cells="eight"), "counted, six_and_two"),
        (dict(alpha_optimizer="lion"), "sgd, adam"),
        (dict(beta1=0.9), "SGD has no beta1"),
        (dict(resource_cells="six_and_two"), "there is no resource term"),
    ):
        with pytest.raises(ValueError, match=told):
            CONFIG(**wrong)
    cells = SupernetConfig(space="nasbench201", layers=5, partial_channels=1)
    net = toy_net._replace(config=cells)
    MAKE(net, CONFIG())
    with pytest.raises(ValueError, match="no costs are known of nor_conv_1x1"):
        MAKE(net, CONFIG(resource_penalty=1e-3))
    with pytest.raises(ValueError, match="drop_path is 0.3, but edges can only"):
        MAKE(net, CONFIG(drop_path=0.3))
    with pytest.raises(ValueError, match="derive is two, but .* nasbench201 keep"):
        MAKE(net, CONFIG(derive="two"))


@pytest.mark.slow
def test_the_gradient_of_the_loss_equals_the_reference(golden, rows):
    net, variables = read_network(golden)
    net = with_logits(net, logits := [])
    batch = read_batch(golden, "x", "y")

    def gradients(rows):
        def network(rows):
            return variables, unweighted(rows)

        return batch_gradients(net, network, rows, batch)[0]

    program = jax.jit(gradients, compiler_options=lowering.compiler_options((8, 8)))
    found = program(rows)
    jax.block_until_ready(found)
    jax.effects_barrier()
    expected = golden["logits_train"]
    assert np.abs(logits[0] - expected).max() < 1e-5 * np.abs(expected).max()
    loss = golden["cross_entropy"].item()
    assert float(found.loss) == pytest.approx(loss, rel=1e-5)
    temperature = golden["temperature"].item()
    gradient = log_alpha_gradient(rows, found.gradient, temperature)
    assert largest_difference(gradient, golden["g_cross_entropy"]) < 1e-4
    by_rows = penalty_gradient(net.config, (8, 8), rows)
    of_penalty = log_alpha_gradient(rows, by_rows, temperature)
    total = jax.tree.map(lambda a, b: a + 1.5e-3 * b, gradient, of_penalty)
    assert largest_difference(total, golden["g_loss"]) < 1e-4
