"""Second-order DARTS against the numbers of its reference, and by differentiating."""

import contextlib
import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from packed_supernet import (
    KINDS,
    by_kind,
    largest_difference,
    moves_agree,
    read_batch,
    read_network,
    unpacked,
)

from egnas_jax import interop
from egnas_jax.data.config import DataConfig
from egnas_jax.nn import lowering, supernet_config
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.search.epoch_schedule import EpochSchedule
from egnas_jax.search.gradients import batch_gradients
from egnas_jax.search.relax import softmax_mixing, unflatten
from egnas_jax.search.state import SearchHyperparams, SearchProblem, init_state
from egnas_jax.search.step import sgd_step, trainee_of
from egnas_jax.search.strategy import Trainee
from egnas_jax.space import SPACES, Space
from egnas_jax.strategies import STRATEGIES, second_order
from egnas_jax.strategies.second_order import (
    mixed_derivative,
    mixed_difference,
    second_order_gradient,
    unrolled_gradients,
    unrolled_step,
)
from egnas_jax.training.sgd import SGD
from egnas_jax.types import Batch

CONFIG, MAKE = STRATEGIES["darts"]
SMALL = Space("small", ("max_pool_3x3", "sep_conv_5x5"), num_nodes=1)


@pytest.fixture
def toy_trainee(toy_net):
    variables = toy_net.init(jax.random.key(1))
    momentum = {"kernel": jax.random.normal(jax.random.key(2), (3, 3))}
    return Trainee(
        variables=variables,
        momentum=momentum,
        learning_rate=jnp.float32(0.3),
        momentum_rate=0.9,
        weight_decay=0.01,
    )


@pytest.fixture
def toy_batches(toy_batch):
    """A training and a validation batch; the images of the second are other ones."""
    valid = Batch(toy_batch.images[::-1] * 0.5, toy_batch.labels)
    return {"train_batch": toy_batch, "valid_batch": valid}


@pytest.fixture
def toy_alpha():
    return unflatten(SPACES["darts7"], jax.random.normal(jax.random.key(3), (196,)))


def loss(net, params, alpha, batch):
    variables = {"params": params, "batch_stats": {"seen": jnp.zeros(())}}
    logits, _ = net.apply(variables, batch.images, softmax_mixing(alpha), train=True)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
    return jnp.mean(losses)


def by_differentiating(net, trainee, train_batch, valid_batch):
    """alpha -> the validation loss after the step, as one function of alpha."""

    def after_the_step(alpha):
        w, buffer = trainee.variables["params"]["kernel"], trainee.momentum["kernel"]
        g = jax.grad(lambda p: loss(net, p, alpha, train_batch))({"kernel": w})
        g = g["kernel"] + 0.01 * w
        velocity = 0.9 * buffer + g
        w = w - 0.3 * (g + 0.9 * velocity if trainee.nesterov else velocity)
        return loss(net, {"kernel": w}, alpha, valid_batch)

    return after_the_step


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_exact_gradient_is_that_of_the_loss_after_the_step(
    nesterov, toy_net, toy_trainee, toy_batches, toy_alpha
):
    trainee = toy_trainee.replace(nesterov=nesterov)
    found = jax.jit(
        lambda alpha: second_order_gradient(
            toy_net, "exact", alpha, trainee, **toy_batches
        )
    )(toy_alpha)
    function = by_differentiating(toy_net, trainee, **toy_batches)
    expected = jax.jit(jax.grad(function))(toy_alpha)
    for kind in KINDS:
        np.testing.assert_allclose(found[kind], expected[kind], atol=1e-6)
        assert np.abs(expected[kind]).max() > 1e-3


def test_batches_of_two_sizes_give_the_same_gradient(
    toy_net, toy_trainee, toy_batches, toy_alpha
):
    """They take another way, without the loop over both."""
    valid = toy_batches["valid_batch"]
    twice = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), valid)
    results = [
        jax.jit(
            lambda batches: second_order_gradient(
                toy_net, "finite_difference", toy_alpha, toy_trainee, **batches
            )
        )(batches)
        for batches in (toy_batches, {**toy_batches, "valid_batch": twice})
    ]
    for kind in KINDS:
        np.testing.assert_allclose(results[0][kind], results[1][kind], atol=2e-5)


def test_the_difference_approximates_the_derivative_of_a_smooth_network(
    toy_net, toy_trainee, toy_batches, toy_alpha
):
    direction = {"kernel": jax.random.normal(jax.random.key(4), (3, 3))}
    arguments = toy_net, toy_alpha, toy_trainee.variables, direction
    batch = toy_batches["train_batch"]
    exact, difference = (
        jax.jit(lambda f=f: f(*arguments, batch))()
        for f in (mixed_derivative, mixed_difference)
    )
    for kind in KINDS:
        scale = np.abs(exact[kind]).max()
        np.testing.assert_allclose(difference[kind], exact[kind], atol=0.02 * scale)


def test_the_difference_is_one_of_products_with_all_bits(monkeypatch):
    """A GPU's products of float32 are rounded by default."""
    monkeypatch.setitem(SPACES, SMALL.name, SMALL)
    net = make_supernet(SupernetConfig(channels=4, layers=2, space=SMALL.name))
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), (8, 8, 3)))
    alpha = {kind: jnp.zeros((2, 2)) for kind in KINDS}
    batch = Batch(jnp.zeros((4, 8, 8, 3)), jnp.zeros(4, jnp.int32))
    difference = functools.partial(mixed_difference, net, batch=batch)
    traced = jax.make_jaxpr(difference)(alpha, variables, variables["params"])
    precisions = re.findall(r"precision=(.*)", str(traced))
    assert len(precisions) > 10
    assert {"HIGHEST" in precision for precision in precisions} == {True}


def gradient_of(method, alpha):
    """The gradient in the state of a method after its first update from alpha.

    Adam's mean is half of it, with the decay in it.
    """
    mean = optax.tree_utils.tree_get(method.optimizer, "mu")
    return jax.tree.map(lambda m, a: 2.0 * m - 1e-3 * a, mean, alpha)


def test_the_first_order_is_the_gradient_of_the_validation_loss(
    toy_net, toy_trainee, toy_batches, toy_alpha, init_of
):
    strategy = MAKE(toy_net, CONFIG(batch_size=24))
    key, numbers = jax.random.key(0), strategy.hyperparams
    state = init_of(strategy, key).replace(alpha=toy_alpha)
    update = jax.jit(
        lambda state: strategy.update(key, state, numbers, toy_trainee, **toy_batches)
    )
    found = gradient_of(update(state)[0], toy_alpha)
    params, batch = toy_trainee.variables["params"], toy_batches["valid_batch"]
    function = jax.grad(lambda alpha: loss(toy_net, params, alpha, batch))
    expected = jax.jit(function)(toy_alpha)
    for kind in KINDS:
        np.testing.assert_allclose(found[kind], expected[kind], atol=1e-6)
        assert np.abs(expected[kind]).max() > 1e-3


def test_a_search_takes_the_form_that_is_set(toy_net, toy_batch, update_of, init_of):
    moved = {}
    for form in ("off", "exact", "finite_difference"):
        # without momentum of Adam the sign of the gradient alone would be seen
        settings = dict(second_order=form, batch_size=24, learning_rate=0.1)
        strategy = MAKE(toy_net, CONFIG(**settings))
        state = init_of(strategy, jax.random.key(0))
        update, variables = update_of(strategy), toy_net.init(jax.random.key(1))
        for step in range(2):
            batch = Batch(toy_batch.images * (1 + step), toy_batch.labels)
            state, _ = update(jax.random.key(2), state, variables, batch)
        moved[form] = np.concatenate([state.alpha[kind].ravel() for kind in KINDS])
    assert not np.array_equal(moved["off"], moved["exact"])
    assert not np.array_equal(moved["off"], moved["finite_difference"])
    assert not np.array_equal(moved["exact"], moved["finite_difference"])


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="off, exact, finite_difference"):
        CONFIG(second_order="true")


def test_differences_of_rounded_gradients_are_refused(toy_net):
    """In bfloat16 the cosine of h with that of float32 is near 0."""
    rounded = dataclasses.replace(toy_net.config, dtype="bfloat16")
    net = toy_net._replace(config=rounded)
    with pytest.raises(ValueError, match="dtype is bfloat16, whose rounding errors"):
        MAKE(net, CONFIG(second_order="finite_difference"))
    for form in ("off", "exact"):
        MAKE(net, CONFIG(second_order=form))


@pytest.fixture(scope="module")
def golden(load_golden):
    return load_golden("systems/darts_second_order")


@pytest.fixture(scope="module")
def golden_network(golden):
    """The supernet, SGD before the step (with momentum), and the two batches."""
    net, variables = read_network(golden)
    # interop reads whole networks, so the statistics of the weights fill the gaps
    buffers = {**unpacked(golden, "w"), **unpacked(golden, "momentum")}
    trainee = Trainee(
        variables=variables,
        momentum=interop.supernet_from_torch(buffers, net.config)["params"],
        learning_rate=jnp.float32(0.025),
        momentum_rate=0.9,
        weight_decay=3e-4,
    )
    batches = {
        f"{name}_batch": read_batch(golden, f"x_{name}", f"y_{name}", 0)
        for name in ("train", "valid")
    }
    return net, trainee, batches


@pytest.mark.longest
def test_the_exact_form_equals_the_reference(golden, golden_network):
    net, trainee, batches = golden_network
    alpha = by_kind(golden["alpha"])

    def parts(trainee):
        own, direction = unrolled_gradients(net, alpha, trainee, **batches)
        arguments = net, alpha, trainee.variables, direction, batches["train_batch"]
        return own, direction, mixed_derivative(*arguments)

    program = jax.jit(parts, compiler_options=lowering.compiler_options((8, 8)))
    own, direction, exact = program(trainee)
    assert optax.global_norm(direction) == pytest.approx(
        golden["vector_norm"].item(), rel=1e-5
    )
    assert largest_difference(own, golden["dalpha"]) < 1e-4
    assert largest_difference(exact, golden["hvp_exact"]) < 1e-4

    at_rest = jax.tree.map(jnp.zeros_like, trainee.momentum)
    for suffix, momentum in (("", trainee.momentum), ("_no_momentum", at_rest)):
        own, _, exact = program(trainee.replace(momentum=momentum))
        found = jax.tree.map(lambda d, h: d - 0.025 * h, own, exact)
        assert largest_difference(found, golden[f"exact{suffix}"]) < 1e-4


def test_the_exact_form_has_few_more_lines_than_the_first_order(monkeypatch):
    """What XLA gets of a step of the search: update of alpha, gradient of the weights.

    Compilation takes about as long as a program has lines; benchmarks/second_order.py
    measures it.
    """
    monkeypatch.setitem(SPACES, SMALL.name, SMALL)
    config = SupernetConfig(
        channels=4, layers=2, partial_channels=1, space=SMALL.name, lowering="shifted"
    )
    net = make_supernet(config)
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), (8, 8, 3)))
    trainee = Trainee(variables, variables["params"], jnp.float32(0.1))
    batch = Batch(jnp.zeros((16, 8, 8, 3)), jnp.zeros(16, jnp.int32))
    batches = {"train_batch": batch, "valid_batch": batch}
    lines = {}
    for form in ("off", "exact"):
        strategy = MAKE(net, CONFIG(second_order=form, batch_size=16))
        state = strategy.init(jax.random.key(0), strategy.hyperparams)

        def step(state, trainee, batches, strategy=strategy):
            key, numbers = jax.random.key(0), strategy.hyperparams
            state, _ = strategy.update(key, state, numbers, trainee, **batches)

            def network(params, batch_stats):
                variables = {"params": params, "batch_stats": batch_stats}
                return variables, strategy.mixing(key, state)

            params, stats = (trainee.variables[k] for k in ("params", "batch_stats"))
            batch = batches["train_batch"]
            return state, batch_gradients(net, network, params, batch, stats)

        lowered = jax.jit(step).lower(state, trainee, batches)
        lines[form] = lowered.as_text().count("\n")
    # reverse over reverse mode has 1.83 times the lines
    assert lines["off"] < lines["exact"] < 1.8 * lines["off"], lines


@pytest.fixture(scope="module")
def passes():
    """What the steps of `reference_steps` compute on their way, call after call.

    "loss" of every pass within alpha's update, and "step_norm", the norm of the weight
    step within it.
    """
    seen = {"loss": [], "step_norm": []}

    def gradients(*arguments, **options):
        found, stats = batch_gradients(*arguments, **options)
        jax.debug.callback(seen["loss"].append, found.loss, ordered=True)
        return found, stats

    def step(trainee, gradient):
        new = unrolled_step(trainee, gradient)
        change = jax.tree.map(jnp.subtract, new, trainee.variables["params"])
        norm = optax.global_norm(change)
        jax.debug.callback(seen["step_norm"].append, norm, ordered=True)
        return new

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second_order, "batch_gradients", gradients)
        patch.setattr(second_order, "unrolled_step", step)
        yield seen


@contextlib.contextmanager
def computing_in(dtype):
    """Context in which networks of the dtype are made, traced and run.

    float64, which users cannot set, meets constants of float32, which are exact.
    """
    if dtype == np.float32:
        yield
        return
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(supernet_config, "PRECISIONS", ("float32", "float64"))
        yield


def cast(tree, dtype):
    """The tree with its floating-point leaves of a dtype."""

    def one(leaf):
        is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(dtype) if is_float else leaf

    return jax.tree.map(one, tree)


@pytest.fixture(scope="module")
def reference_steps(golden, golden_network, passes):
    """(form, dtype) -> the first state of a search, and a compiled step.

    (state, batches, rate, buffers) -> state: alpha's Adam first, then SGD on the same
    training batch; its statistics drop. The weight step within alpha's gradient is of
    the rate, where 0 leaves the first order, and adds the buffers to its momentum.
    """
    del passes  # they are recorded from the first trace on
    config, trainee = golden_network[0].config, golden_network[1]

    @functools.cache
    def make(form, dtype):
        name = np.dtype(dtype).name
        net = make_supernet(dataclasses.replace(config, dtype=name))
        strategy = MAKE(net, CONFIG(second_order=form, batch_size=16))
        rate, numbers = jnp.asarray(0.025, dtype), strategy.hyperparams
        problem = SearchProblem(
            net=net,
            strategy=strategy,
            schedule=EpochSchedule(),
            augmentation=DataConfig(),
            sgd=SGD(16, 0.025, 0.025, 0.9, 3e-4, clip_norm=5.0, epochs=1),
            valid_batch_size=16,
        )
        hyperparams = SearchHyperparams(np.uint32(0), rate, numbers)

        def step(state, batches, unrolled_rate, buffers):
            key, seen = jax.random.key(0), trainee_of(problem, state, hyperparams)
            momentum = jax.tree.map(jnp.add, seen.momentum, buffers)
            seen = seen.replace(learning_rate=unrolled_rate, momentum=momentum)
            method, _ = strategy.update(key, state.strategy, numbers, seen, **batches)
            mixing = strategy.mixing(key, method)
            new, _ = sgd_step(problem, rate, state, mixing, batches["train_batch"])
            return new.replace(strategy=method, batch_stats=state.batch_stats)

        state = init_state(problem, (8, 8, 3), hyperparams)
        state = cast(state.replace(**trainee.variables), dtype)
        alpha = by_kind(golden["alpha"], dtype)
        state = state.replace(strategy=state.strategy.replace(alpha=alpha))
        return state, jax.jit(step, compiler_options=lowering.compiler_options((8, 8)))

    return make


@pytest.mark.slow
def test_the_finite_difference_equals_the_reference(
    golden, golden_network, reference_steps, passes
):
    _, trainee, batches = golden_network
    state, step = reference_steps("finite_difference", np.float32)
    at_rest = jax.tree.map(jnp.zeros_like, trainee.momentum)
    for name, rate, buffers, tolerance in (
        ("fd", 0.025, trainee.momentum, 1e-3),
        ("fd_no_momentum", 0.025, at_rest, 1e-3),
        ("first", 0.0, trainee.momentum, 1e-4),
    ):
        for values in passes.values():
            values.clear()
        method = step(state, batches, jnp.float32(rate), buffers).strategy
        jax.block_until_ready(method)
        jax.effects_barrier()
        found = gradient_of(method, state.strategy.alpha)
        assert largest_difference(found, golden[name]) < tolerance
        suffix = "_no_momentum" if buffers is at_rest else ""
        after = f"loss_valid_unrolled{suffix}" if rate else "loss_valid"
        expected = [golden["loss_train"].item(), golden[after].item()]
        np.testing.assert_allclose(passes["loss"][:2], expected, rtol=1e-5)
        if name == "fd":
            norm = golden["step_norm"].item()
            assert passes["step_norm"][0] == pytest.approx(norm, rel=1e-5)
            # the gradient is dalpha - eta h
            h = jax.tree.map(
                lambda d, g: (d - g) / 0.025, by_kind(golden["dalpha"]), found
            )
            assert largest_difference(h, golden["hvp_fd"]) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "trace", "form", "dtype"),
    [
        (0.0, "first", "finite_difference", np.float32),
        (0.025, "fd", "finite_difference", np.float32),
        pytest.param(*(0.025, "exact", "exact", np.float64), marks=pytest.mark.longest),
    ],
)
def test_three_steps_of_a_search_equal_the_reference(
    golden, golden_network, reference_steps, rate, trace, form, dtype
):
    """The exact form is compared in the precision of its reference.

    Its second derivative is of one side of each kink of a ReLU or a pooling, which a
    rounding of float32 may change.
    """
    _, trainee, _ = golden_network
    with computing_in(dtype):
        state, step = reference_steps(form, dtype)
        at_rest = cast(jax.tree.map(jnp.zeros_like, trainee.momentum), dtype)
        sums = []
        for index in range(3):
            batches = {
                f"{name}_batch": cast(
                    read_batch(golden, f"x_{name}", f"y_{name}", index), dtype
                )
                for name in ("train", "valid")
            }
            state = step(state, batches, jnp.asarray(rate, dtype), at_rest)
            sums.append(state.totals.loss / 16)
            expected = golden[f"trace_alpha_{trace}"][index]
            assert moves_agree(state.strategy.alpha, expected, golden["alpha"], 3e-4)
        norm = optax.global_norm(state.params)
    losses = np.diff(sums, prepend=0.0)
    np.testing.assert_allclose(losses, golden[f"trace_loss_{trace}"], rtol=1e-4)
    assert norm == pytest.approx(golden[f"trace_weight_norm_{trace}"].item(), rel=1e-4)
