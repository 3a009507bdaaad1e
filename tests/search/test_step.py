"""The weight steps and the order of an epoch, on the toy supernet."""

import dataclasses
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax.data.config import DataConfig
from egnas_jax.runs.search import finish
from egnas_jax.runs.search_config import build
from egnas_jax.search import loop, step
from egnas_jax.search.relax import softmax_mixing, unflatten
from egnas_jax.search.step import make_programs, sgd_step
from egnas_jax.search.strategy import Regime, Strategy
from egnas_jax.search.watch import WatchConfig
from egnas_jax.space import SPACES, zoo
from egnas_jax.storage import records
from egnas_jax.training import interrupt
from egnas_jax.training.sgd import SGD, Pixels, learning_rate, make_optimizer

KEY = jax.random.key(0)
SETTINGS = SGD(
    batch_size=10,
    learning_rate=0.1,
    learning_rate_min=0.0,
    momentum=0.9,
    weight_decay=0.01,
    clip_norm=0.05,
    epochs=4,
)
SCALE = (0.5,) * 3, (0.25,) * 3


def alpha_of(key):
    return unflatten(SPACES["darts7"], jax.random.normal(key, (196,)))


def watching(every="epoch", regime=Regime()):  # noqa: B008
    """A method that notes which weights and images its last update saw, and how often.

    Its mixing never changes.
    """

    def init(key):
        zero = jnp.zeros(())
        return {"alpha": alpha_of(key), "kernel": zero, "valid": zero, "count": zero}

    def update(key, state, variables, train_batch, valid_batch):
        new = {
            "kernel": jnp.sum(variables["params"]["kernel"]),
            "valid": jnp.sum(valid_batch.images),
            "count": state["count"] + 1,
        }
        return {**state, **new}, {"count": new["count"]}

    def mixing(key, state):
        return softmax_mixing(state["alpha"])

    def incumbent(state):
        return softmax_mixing(state["alpha"])

    return Strategy(every, init, mixing, update, incumbent, 7, regime)


@pytest.fixture(scope="module")
def pixels():
    key_images, key_labels = jax.random.split(KEY)
    images = jax.random.randint(key_images, (2, 25, 4, 4, 3), 0, 255).astype(jnp.uint8)
    labels = jax.random.randint(key_labels, (2, 25), 0, 3)
    return Pixels(images[0], labels[0]), Pixels(images[1], labels[1])


@pytest.fixture
def make_run(toy_net, pixels, tmp_path):
    def make(strategy, seed=3):
        data = DataConfig(pad=1, flip=True)
        parts = toy_net, strategy, SETTINGS, data, SCALE, *pixels, seed
        programs = make_programs(*parts)
        return loop.Run(tmp_path, programs, strategy, SETTINGS, 8, 2, lambda line: None)

    return make


def one_epoch(run):
    return loop.run_epoch(run, loop.Progress(run.programs.init(), {}))


def gradients(net, params, alpha, batch):
    def loss(params, alpha):
        variables = {"params": params, "batch_stats": {"seen": jnp.zeros(())}}
        logits, _ = net.apply(
            variables, batch.images, softmax_mixing(alpha), train=True
        )
        return jnp.mean(
            optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        )

    return jax.grad(loss, argnums=(0, 1))(params, alpha)


def steps_by_hand(net, params, alpha, batch, rate, with_alpha):
    """Two steps of torch's SGD, written out: decay after clipping, then momentum."""
    w = np.asarray(params["kernel"], np.float64)
    velocity, accumulated = np.zeros_like(w), jax.tree.map(np.zeros_like, alpha)
    for _ in range(2):
        g, g_alpha = gradients(net, {"kernel": jnp.float32(w)}, alpha, batch)
        g, clipped = np.asarray(g["kernel"]), []
        if with_alpha:
            accumulated = jax.tree.map(np.add, accumulated, g_alpha)
            clipped = jax.tree.leaves(accumulated)
        norm = np.sqrt(sum(np.sum(np.square(part)) for part in (g, *clipped)))
        scale = min(1.0, SETTINGS.clip_norm / norm)
        assert scale < 1  # or clipping would not be tested
        accumulated = jax.tree.map(lambda a, c=scale: a * c, accumulated)
        velocity = 0.9 * velocity + g * scale + 0.01 * w
        w = w - rate * velocity
    return w, accumulated


@pytest.mark.parametrize("with_alpha", [False, True])
def test_a_weight_step_is_torchs_sgd(with_alpha, toy_net, toy_batch, make_run):
    strategy = watching(regime=Regime(alpha_in_clip=with_alpha))
    state = make_run(strategy).programs.init()
    alpha, params = state.strategy["alpha"], state.params
    expected, accumulated = steps_by_hand(
        toy_net, params, alpha, toy_batch, 0.3, with_alpha
    )
    for _ in range(2):
        state = sgd_step(
            toy_net,
            SETTINGS,
            strategy.regime,
            state,
            softmax_mixing(alpha),
            toy_batch,
            jnp.float32(0.3),
        )
    np.testing.assert_allclose(state.params["kernel"], expected, rtol=2e-5)
    assert int(state.step) == 2 and int(state.totals.images) == 2 * 24
    if with_alpha:
        for kind, rows in state.alpha_gradient.items():
            np.testing.assert_allclose(rows, accumulated[kind], atol=1e-6)
    else:
        assert state.alpha_gradient == {}


def test_the_optimizers_state_does_not_depend_on_the_rate():
    params = {"w": jnp.ones(3)}
    a, b = (make_optimizer(SETTINGS, rate).init(params) for rate in (0.0, 1.0))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_learning_rate_falls_by_a_cosine():
    sgd = SETTINGS._replace(epochs=50)
    current = [learning_rate(sgd, t) for t in (0, 25, 49)]
    np.testing.assert_allclose(current, [0.1, 0.05, 9.866e-5], rtol=1e-3)
    shifted = [learning_rate(sgd, t + 1) for t in (0, 24, 49)]
    np.testing.assert_allclose(shifted, [0.09990, 0.05, 0.0], rtol=1e-4, atol=1e-12)
    floor = SETTINGS._replace(learning_rate_min=0.02, epochs=2)
    np.testing.assert_allclose(learning_rate(floor, 1), 0.06, rtol=1e-6)


@pytest.mark.parametrize("last_batch, images", [("drop", 20), ("keep", 25)])
def test_a_short_last_batch_is_dropped_or_kept(last_batch, images, make_run):
    run = make_run(watching(regime=Regime(last_batch=last_batch)))
    state = run.programs.init()
    assert run.programs.num_steps == -(-images // 10)
    state, totals = run.programs.train(
        state, jnp.int32(0), jnp.int32(run.programs.num_steps), jnp.float32(0.1)
    )
    assert int(totals.images) == images


def test_the_state_is_donated_to_the_weight_steps(make_run):
    programs = make_run(watching()).programs
    state = programs.init()
    first, rate = jnp.int32(0), jnp.float32(0.1)
    run, data = programs.train.func, programs.train.args
    program = run.lower(*data, state, first, first + 1, rate).compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert program.memory_analysis().alias_size_in_bytes == size
    new, _ = programs.train(state, first, first + 1, rate)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(new))


def test_programs_compiled_ahead_give_the_same_bits_and_take_the_state(make_run):
    run = make_run(watching())
    _, line = one_epoch(run)
    # neither from this process nor from the disk
    run = loop.compiled(run._replace(identity={"test": str(run.folder)}))
    _, same = one_epoch(run)
    assert same | {"seconds": 0} == line | {"seconds": 0}
    state = run.programs.init()
    first, rate = jnp.int32(0), jnp.float32(0.1)
    run.programs.train(state, first, first + 1, rate)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_seeds_share_their_programs_and_not_their_numbers(make_run):
    """Whoever runs several seeds compiles once."""
    rate, texts, digests = jnp.float32(0.1), set(), set()
    for seed in (3, 4):
        run = make_run(watching(), seed)
        state = run.programs.init()
        program, parts = run.programs.train.func, run.programs.train.args
        lowered = program.lower(*parts, state, jnp.int32(0), jnp.int32(1), rate)
        texts.add(lowered.as_text())
        same_start = state._replace(params=make_run(watching()).programs.init().params)
        new, _ = run.programs.train(same_start, jnp.int32(0), jnp.int32(1), rate)
        digests.add(loop.state_digest(new._replace(strategy={})))
    assert (len(texts), len(digests)) == (1, 2)


@pytest.mark.parametrize("last_batch", ["drop", "keep"])
def test_how_many_steps_a_call_makes_changes_nothing(last_batch, make_run):
    run = make_run(watching(regime=Regime(last_batch=last_batch)))
    lines = [one_epoch(run._replace(steps_per_call=number))[1] for number in (8, 1, 2)]
    first, *others = (line | {"seconds": 0} for line in lines)
    assert all(line == first for line in others)


def test_a_method_updates_before_or_after_the_weights(make_run):
    for order, before in (("strategy_first", True), ("weights_first", False)):
        run = make_run(watching(regime=Regime(order=order)))
        first = float(jnp.sum(run.programs.init().params["kernel"]))
        state, line = one_epoch(run)
        end = float(jnp.sum(state.params["kernel"]))
        seen = float(state.strategy["kernel"])
        np.testing.assert_allclose(seen, first if before else end, rtol=1e-6)
        assert abs(first - end) > 1e-3
        assert line["count"] == 1


def test_a_method_of_every_step_updates_at_each_and_never_between(make_run):
    state, line = one_epoch(make_run(watching("step")))
    assert float(state.strategy["count"]) == 2
    assert "count" not in line


def test_validation_images_vary_only_where_a_method_asks_for_it(make_run):
    for vary in (False, True):
        run = make_run(watching(regime=Regime(augment_valid=vary)))
        state = run.programs.init()
        # without weight steps, what the epoch number changes is the images
        losses = {
            float(run.programs.validate(state._replace(epoch=jnp.int32(e))).loss)
            for e in range(3)
        }
        assert len(losses) == (3 if vary else 1)


@pytest.mark.parametrize("order", ["strategy_first", "weights_first"])
def test_an_epoch_interrupted_anywhere_ends_the_same(order, make_run):
    strategy = watching(regime=Regime(order=order, last_batch="keep"))
    run = make_run(strategy)._replace(steps_per_call=1)
    _, whole = one_epoch(run)
    for stop in (1, 2, 3):
        run = run._replace(folder=run.folder / str(stop))
        run.folder.mkdir()
        calls = iter(range(1, 100))
        with pytest.raises(interrupt.Interrupted):
            loop.run_epoch(
                run,
                loop.Progress(run.programs.init(), {}),
                lambda calls=calls, stop=stop: next(calls) == stop,
            )
        _, line = loop.run_epoch(run, loop.newest(run)[0])
        assert line | {"seconds": 0} == whole | {"seconds": 0}


def test_records_that_do_not_go_with_their_epochs_are_refused(make_run):
    run = make_run(watching())
    loop.search(run, loop.Progress(run.programs.init(), {}), stop_after=2)
    assert int(loop.newest(run)[0].state.epoch) == 2
    assert [line["epoch"] for line in records.read_epochs(run.folder, 2)] == [0, 1]
    with pytest.raises(ValueError, match="holds 2 records, but .* finished 3"):
        records.read_epochs(run.folder, 3)
    records.append(run.folder / "metrics.jsonl", {"epoch": 2})
    with pytest.raises(ValueError, match="Line 3 of .* record of epoch 2"):
        records.read_epochs(run.folder)


def test_weights_that_blow_up_in_the_last_step_stop_the_run(make_run):
    """The loss of that step was finite; validation tells."""
    run = make_run(watching())
    start = run.programs.init()
    lost = jax.tree.map(lambda leaf: leaf * jnp.nan, start.params)
    ended = start._replace(
        step=jnp.int32(2),
        totals=start.totals._replace(images=jnp.int32(20)),
        params=lost,
    )
    with pytest.raises(FloatingPointError, match="validation loss is nan in epoch 0"):
        loop.run_epoch(run, loop.Progress(ended, {}))


def test_the_first_interrupt_is_answered_and_the_second_is_immediate():
    said = []
    with interrupt.InterruptFlag(said.append) as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted() and "once more stops at once" in said[0]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_curvature_is_compiled_from_kernels_of_xla(toy_net, pixels, monkeypatch):
    """Those of its own choice, differentiated twice, compile for minutes."""
    used = []

    def products(net, *rest):
        used.append(net.config)
        return rest[-1]

    monkeypatch.setattr(step, "hessian_products", products)
    programs = make_programs(
        toy_net,
        watching(),
        SETTINGS,
        DataConfig(pad=1, flip=True),
        SCALE,
        *pixels,
        3,
        watch=WatchConfig("lanczos", images=4),
    )
    programs.curvature(programs.init(), jnp.ones((1, 2)))
    assert used == [dataclasses.replace(toy_net.config, lowering="grouped")]


def stopping(make_run, eigenvalues):
    """A run whose Hessian is the identity times the figure of its epoch."""
    run = make_run(watching())

    def curvature(state, directions):
        return directions * eigenvalues[int(state.epoch)]

    programs = run.programs._replace(curvature=curvature)
    watch = WatchConfig("exact", stop=True, window=1, delta=1, start=0)
    return run._replace(programs=programs, watch=watch)


def test_a_search_that_collapses_ends_with_the_cell_of_an_earlier_epoch(make_run):
    said = []
    run = stopping(make_run, [1.0, 1.0, 5.0, 5.0])._replace(report=said.append)
    start = loop.Progress(run.programs.init(), {})
    loop.search(run, start, stop_after=2)
    state = loop.search(run, loop.newest(run)[0])  # resumed: the record tells
    lines = records.read(run.folder / "metrics.jsonl")
    assert [line["eigenvalue"] for line in lines] == [1.0, 1.0, 5.0]
    assert [line.get("early_stop") for line in lines] == [None, None, 1]
    assert "genotype is that of epoch 2" in said[-1]
    assert int(loop.search(run, loop.newest(run)[0]).epoch) == 3  # it has ended
    lines[1]["genotype"] = zoo["DARTS_V2"].genotype.format()
    (run.folder / "metrics.jsonl").unlink()
    for line in lines:
        records.append(run.folder / "metrics.jsonl", line)
    summary = finish(build(), run, state)
    assert summary["genotype"] == lines[1]["genotype"]
    assert summary["valid_accuracy"] == lines[1]["valid_accuracy"]
    assert summary["early_stop"] == 1
