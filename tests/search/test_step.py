"""The weight steps and the order of an epoch, on the toy supernet."""

import dataclasses
import functools
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax.data.augment import normalise
from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import LabelledImages
from egnas_jax.nn import lowering
from egnas_jax.runs.search_config import search_config
from egnas_jax.runs.search_result import search_result
from egnas_jax.search import loop, step, stored_state, validation
from egnas_jax.search.epoch_schedule import EpochSchedule
from egnas_jax.search.programs import make_programs, options_of
from egnas_jax.search.relax import softmax_mixing, unflatten
from egnas_jax.search.search_run import Progress, SearchRun, beginning, compiled
from egnas_jax.search.state import (
    SearchData,
    SearchHyperparams,
    SearchProblem,
    init_state,
)
from egnas_jax.search.step import sgd_step, train_steps
from egnas_jax.search.strategy import Strategy
from egnas_jax.search.valid_batches import draw_valid_batch
from egnas_jax.search.watch import WatchConfig
from egnas_jax.space import SPACES, zoo
from egnas_jax.storage import checkpoint, records
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.state import state_without_evolutions
from egnas_jax.strategies.egnas.strategy import egnas
from egnas_jax.training import interrupt
from egnas_jax.training.sgd import (
    SGD,
    learning_rate,
    make_optimizer,
    momentum_of,
    packing,
)

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
SHAPE = 4, 4, 3
FIRST_STEP = jnp.int32(0), jnp.int32(1)


def alpha_of(key):
    return unflatten(SPACES["darts7"], jax.random.normal(key, (196,)))


def noting_strategy(update_every="epoch"):
    """A method that notes which weights and images its last update saw, and how often.

    Its mixing never changes; its hyperparameter is added to the count.
    """

    def init(key, hyperparams):
        zero = jnp.zeros(())
        return {"alpha": alpha_of(key), "kernel": zero, "valid": zero, "count": zero}

    def update(key, state, hyperparams, trainee, *, train_batch, valid_batch):
        new = {
            "kernel": jnp.sum(trainee.variables["params"]["kernel"]),
            "valid": jnp.sum(valid_batch.images),
            "count": state["count"] + hyperparams,
        }
        return {**state, **new}, {"count": new["count"]}

    def mixing(key, state):
        return softmax_mixing(state["alpha"])

    def incumbent(state):
        return softmax_mixing(state["alpha"])

    return Strategy(
        update_every=update_every,
        init=init,
        mixing=mixing,
        update=update,
        incumbent=incumbent,
        hyperparams=np.float32(1),
    )


def hyperparams_of(seed=3, rate=0.1, count=1.0):
    return SearchHyperparams(np.uint32(seed), np.float32(rate), np.float32(count))


def problem_of(net, strategy, **schedule):
    return SearchProblem(
        net=net,
        strategy=strategy,
        schedule=EpochSchedule(**schedule),
        augmentation=DataConfig(pad=1, flip=True),
        sgd=SETTINGS,
        valid_batch_size=7,
    )


@pytest.fixture(scope="module")
def data():
    """25 images of training and 25 of validation."""
    key_images, key_labels = jax.random.split(KEY)
    images = jax.random.randint(key_images, (2, 25, *SHAPE), 0, 255).astype(jnp.uint8)
    labels = jax.random.randint(key_labels, (2, 25), 0, 3)
    train, valid = map(LabelledImages, images, labels)
    scale = jnp.asarray(((0.5,) * 3, (0.25,) * 3), jnp.float32)
    return SearchData(train, valid, scale)


@pytest.fixture
def make_run(toy_net, data, tmp_path):
    """(strategy, seed, changes of the schedule) -> SearchRun in a folder."""

    def make(strategy=None, seed=3, **schedule):
        problem = problem_of(toy_net, strategy or noting_strategy(), **schedule)
        return SearchRun(
            problem=problem,
            programs=make_programs(problem, data),
            hyperparams=hyperparams_of(seed),
            image_shape=SHAPE,
            num_train=25,
            num_valid=25,
            folder=tmp_path,
        )

    return make


def first_state(run):
    return beginning(run).state


def one_epoch(run):
    return loop.run_epoch(run, beginning(run))


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


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("one_vector", [False, True])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_a_weight_step_is_torchs_sgd(
    with_alpha, one_vector, backend, toy_net, toy_batch, make_run
):
    """Also where gradients are clipped as one vector, as on a GPU."""
    run = make_run(alpha_in_clip=with_alpha)
    problem = run.problem._replace(one_vector=one_vector)
    state = init_state(problem, run.image_shape, run.hyperparams)
    rate = jnp.float32(0.3)
    alpha, params = state.strategy["alpha"], state.params
    expected, accumulated = steps_by_hand(
        toy_net, params, alpha, toy_batch, 0.3, with_alpha
    )
    for _ in range(2):
        mixing = softmax_mixing(alpha)
        with lowering.assume_backend(backend):
            state, none = sgd_step(problem, rate, state, mixing, toy_batch)
        assert none is None
    np.testing.assert_allclose(state.params["kernel"], expected, rtol=2e-5)
    assert int(state.step) == 2 and int(state.totals.images) == 2 * 24
    if with_alpha:
        for kind, rows in state.alpha_gradient.items():
            np.testing.assert_allclose(rows, accumulated[kind], atol=1e-6)
    else:
        assert state.alpha_gradient == {}


def test_nesterovs_momentum_is_torchs():
    """By hand: g = gradient + decay w; v <- mu v + g; w <- w - rate (g + mu v)."""
    optimizer = make_optimizer(SETTINGS._replace(nesterov=True), 0.3)
    weight, velocity = 2.0, 0.0
    weights = {"w": jnp.float32(weight)}
    state = optimizer.init(weights)
    for gradient in (0.5, -1.0, 0.25):
        updates, state = optimizer.update({"w": jnp.float32(gradient)}, state, weights)
        weights = optax.apply_updates(weights, updates)
        decayed = gradient + SETTINGS.weight_decay * weight
        velocity = SETTINGS.momentum * velocity + decayed
        weight -= 0.3 * (decayed + SETTINGS.momentum * velocity)
    np.testing.assert_allclose(weights["w"], weight, rtol=1e-6)
    np.testing.assert_allclose(momentum_of(state)["w"], velocity, rtol=1e-6)


def test_sgd_on_one_vector_is_sgd_leaf_by_leaf():
    rng = np.random.default_rng(0)

    def draw():
        return {
            "a": jnp.float32(rng.normal(size=(2, 3))),
            "b": {"c": jnp.float32(rng.normal(size=4)), "d": jnp.float32(2.0)},
        }

    params, gradients = draw(), [draw(), draw()]
    ends = []
    for one_vector in (False, True):
        pack, unpack = packing(params, one_vector)
        optimizer, weights = make_optimizer(SETTINGS, 0.3), params
        state = optimizer.init(pack(weights))
        for gradient in gradients:
            updates, state = optimizer.update(pack(gradient), state, pack(weights))
            weights = optax.apply_updates(weights, unpack(updates))
        ends.append((weights, unpack(momentum_of(state))))
    chex.assert_trees_all_equal(*ends)


def test_a_momentum_stored_leaf_by_leaf_is_packed(toy_net, tmp_path):
    problem = problem_of(toy_net, noting_strategy())
    saved = init_state(problem, SHAPE, hyperparams_of())
    momentum = {"kernel": jnp.float32(np.arange(saved.params["kernel"].size))}
    momentum["kernel"] = momentum["kernel"].reshape(saved.params["kernel"].shape)
    packed = jax.tree.map(
        lambda part: momentum,
        saved.optimizer,
        is_leaf=lambda part: isinstance(part, dict),
    )
    checkpoint.save(tmp_path, 1, saved.replace(optimizer=packed), {})
    for one_vector in (False, True):
        changed = problem._replace(one_vector=one_vector)
        stored = stored_state.as_stored(changed, {})
        target = stored_state.layout(stored, SHAPE, hyperparams_of())
        restored = checkpoint.restore(tmp_path, target)
        tree = stored_state.as_computed(changed, restored).tree
        expected = packing(momentum, one_vector)[0](momentum)
        chex.assert_trees_all_equal(momentum_of(tree.optimizer), expected)


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
    run = make_run(last_batch=last_batch)
    assert run.num_steps == -(-images // 10)
    span = jnp.int32(0), jnp.int32(run.num_steps)
    _, totals = run.programs.train(run.hyperparams, first_state(run), span)
    assert int(totals.images) == images


def test_programs_have_the_compiler_options_of_the_size_of_the_images(make_run):
    (data,) = make_run().programs.train.args
    shape = data.train.images.shape[1:3]
    assert options_of(data) == lowering.compiler_options(shape)
    images = np.zeros((1, 8, 8, 1), np.uint8)
    tiny = data.replace(train=data.train._replace(images=images))
    assert options_of(tiny) == lowering.compiler_options((8, 8))
    assert options_of(tiny) != lowering.compiler_options()


def test_the_state_is_donated_to_the_weight_steps(make_run):
    run = make_run()
    state, train = first_state(run), run.programs.train
    arguments = run.hyperparams, state, FIRST_STEP
    program = train.func.lower(*train.args, *arguments).compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert program.memory_analysis().alias_size_in_bytes == size
    new, _ = train(*arguments)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(new))


@pytest.mark.slow
def test_programs_compiled_ahead_give_the_same_bits_and_take_the_state(make_run):
    run = make_run()
    _, line = one_epoch(run)
    # neither from this process nor from the disk
    run = compiled(run._replace(identity={"test": str(run.folder)}))
    _, same = one_epoch(run)
    assert same | {"seconds": 0} == line | {"seconds": 0}
    state = first_state(run)
    run.programs.train(run.hyperparams, state, FIRST_STEP)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_several_seeds_share_one_program_and_differ_in_their_numbers(make_run):
    texts, digests = set(), set()
    for seed in (3, 4):
        run = make_run(seed=seed)
        state, train = first_state(run), run.programs.train
        lowered = train.func.lower(*train.args, run.hyperparams, state, FIRST_STEP)
        texts.add(lowered.as_text())
        same_start = state.replace(params=first_state(make_run()).params)
        new, _ = train(run.hyperparams, same_start, FIRST_STEP)
        digests.add(loop.state_digest(new.replace(strategy={})))
    assert (len(texts), len(digests)) == (1, 2)


@pytest.mark.slow
def test_searches_side_by_side_equal_searches_one_by_one(toy_net, data):
    """`jax.vmap` over states and hyperparameters; the data are shared."""
    problem = problem_of(toy_net, noting_strategy(), last_batch="keep")
    several = [hyperparams_of(3), hyperparams_of(4, rate=0.3, count=2.0)]
    span = jnp.int32(0), jnp.int32(3)

    def run_epoch(hyperparams):
        state = init_state(problem, SHAPE, hyperparams)
        state, _ = train_steps(problem, data, hyperparams, state, span)
        state, info = step.evolve(problem, data, hyperparams, state)
        return state, info, validation.validate(problem, data, hyperparams, state)

    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *several)
    together = jax.jit(jax.vmap(run_epoch))(stacked)
    for i, hyperparams in enumerate(several):
        alone = jax.jit(run_epoch)(hyperparams)
        here = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        chex.assert_trees_all_close(here, alone, rtol=1e-5, atol=1e-6)
    assert together[1]["count"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("last_batch", ["drop", "keep"])
def test_how_many_steps_a_call_makes_changes_nothing(last_batch, make_run):
    run = make_run(last_batch=last_batch)
    lines = [one_epoch(run._replace(steps_per_call=number))[1] for number in (8, 1, 2)]
    first, *others = (line | {"seconds": 0} for line in lines)
    assert all(line == first for line in others)


def test_a_method_updates_before_or_after_the_weights(make_run):
    for order, before in (("strategy_first", True), ("weights_first", False)):
        run = make_run(order=order)
        first = float(jnp.sum(first_state(run).params["kernel"]))
        state, line = one_epoch(run)
        end = float(jnp.sum(state.params["kernel"]))
        seen = float(state.strategy["kernel"])
        np.testing.assert_allclose(seen, first if before else end, rtol=1e-6)
        assert abs(first - end) > 1e-3
        assert line["count"] == 1


def test_a_method_of_every_step_updates_at_each_and_never_between(make_run):
    state, line = one_epoch(make_run(noting_strategy("step")))
    assert float(state.strategy["count"]) == 2
    assert "count" not in line


@pytest.mark.parametrize("augment_valid, different", [(False, 1), (True, 3)])
def test_validation_images_vary_only_where_the_schedule_says_so(
    augment_valid, different, make_run
):
    run = make_run(augment_valid=augment_valid)
    state = first_state(run)
    # without weight steps the epoch changes nothing but the images
    epochs = [state.replace(epoch=jnp.int32(epoch)) for epoch in range(3)]
    scores = [run.programs.validate(run.hyperparams, state) for state in epochs]
    assert len({float(score.loss) for score in scores}) == different


@pytest.mark.parametrize("order", ["strategy_first", "weights_first"])
def test_an_epoch_interrupted_anywhere_ends_the_same(order, make_run):
    run = make_run(order=order, last_batch="keep")._replace(steps_per_call=1)
    _, whole = one_epoch(run)
    for stop in (1, 2, 3):
        run = run._replace(folder=run.folder / str(stop))
        run.folder.mkdir()
        calls = iter(range(1, 100))
        with pytest.raises(interrupt.Interrupted):
            loop.run_epoch(
                run,
                beginning(run),
                lambda calls=calls, stop=stop: next(calls) == stop,
            )
        _, line = loop.run_epoch(run, loop.newest(run)[0])
        assert line | {"seconds": 0} == whole | {"seconds": 0}


def test_records_that_do_not_go_with_their_epochs_are_refused(make_run):
    run = make_run()
    loop.search(run, beginning(run), stop_after=2)
    assert int(loop.newest(run)[0].state.epoch) == 2
    assert [line["epoch"] for line in records.read_epochs(run.folder, 2)] == [0, 1]
    with pytest.raises(ValueError, match="holds 2 records, but .* finished 3"):
        records.read_epochs(run.folder, 3)
    records.append(run.folder / "metrics.jsonl", {"epoch": 2})
    with pytest.raises(ValueError, match="Line 3 of .* record of epoch 2"):
        records.read_epochs(run.folder)


def test_weights_that_blow_up_in_the_last_step_stop_the_run(make_run):
    """The loss of that step was finite; validation tells."""
    run = make_run()
    start = first_state(run)
    ended = start.replace(
        step=jnp.int32(2),
        totals=start.totals.replace(images=jnp.int32(20)),
        params=jax.tree.map(lambda leaf: leaf * jnp.nan, start.params),
    )
    with pytest.raises(FloatingPointError, match="validation loss is nan in epoch 0"):
        loop.run_epoch(run, Progress(ended, {}))


def test_the_first_interrupt_is_answered_and_the_second_is_immediate():
    said = []
    with interrupt.InterruptFlag(said.append) as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted() and "once more stops at once" in said[0]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_curvature_is_compiled_from_kernels_of_xla(toy_net, data, monkeypatch):
    """The default kernels, differentiated twice, would compile for minutes."""
    used = []

    def alpha_loss(net, *rest):
        used.append(net.config)
        return jnp.sum

    monkeypatch.setattr(validation, "alpha_loss", alpha_loss)
    strategy = egnas(toy_net, EGNASConfig())
    problem = problem_of(toy_net, strategy)
    problem = problem._replace(watch=WatchConfig("lanczos", images=4))
    hyperparams = hyperparams_of().replace(strategy=strategy.hyperparams)
    state = init_state(problem, SHAPE, hyperparams)
    products = validation.curvature(
        problem, data, hyperparams, state, jnp.ones((1, 196))
    )
    assert products.shape == (1, 196)
    assert used == [dataclasses.replace(toy_net.config, lowering="grouped")]


def stopping(make_run, eigenvalues):
    """A run whose Hessian is the identity times the eigenvalue of its epoch."""
    run = make_run()

    def curvature(hyperparams, state, directions):
        return directions * eigenvalues[int(state.epoch)]

    programs = run.programs._replace(curvature=curvature)
    watch = WatchConfig("exact", stop=True, window=1, delta=1, start=0)
    return run._replace(programs=programs, problem=run.problem._replace(watch=watch))


def test_a_search_that_collapses_ends_with_the_cell_of_an_earlier_epoch(make_run):
    notes = []
    run = stopping(make_run, [1.0, 1.0, 5.0, 5.0])._replace(log=notes.append)
    loop.search(run, beginning(run), stop_after=2)
    end = loop.search(run, loop.newest(run)[0])  # resumed: the records decide
    lines = records.read(run.folder / "metrics.jsonl")
    assert [line["eigenvalue"] for line in lines] == [1.0, 1.0, 5.0]
    assert [line.get("early_stop") for line in lines] == [None, None, 1]
    assert "genotype is that of epoch 2" in notes[-1]
    assert int(loop.search(run, loop.newest(run)[0]).state.epoch) == 3  # it has ended
    assert end.records == lines
    lines[1]["genotype"] = zoo["DARTS_V2"].genotype.format()
    state = end.state.replace(strategy=state_without_evolutions(SPACES["darts7"], KEY))
    result = search_result(search_config(), loop.SearchEnd(state, lines), 25)
    assert result.summary["genotype"] == lines[1]["genotype"]
    assert result.valid_accuracy == lines[1]["valid_accuracy"]
    assert result.summary["early_stop"] == 1


def test_a_method_learns_from_the_gradient_of_the_weight_step(toy_net, data):
    def apply(variables, images, mixing, **options):
        """The toy network, with edges that count."""
        logits, stats = toy_net.apply(variables, images, mixing, **options)
        return jnp.mean(mixing.edges["normal"]) * logits, stats

    def mixing_of(state):
        mixing = softmax_mixing(state["alpha"])
        return mixing.replace(edges=jax.tree.map(lambda e: 0.5 * e, mixing.edges))

    def loss(mixing, variables, batch):
        logits, _ = apply(variables, batch.images, mixing, train=True)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        return jnp.mean(losses)

    def learn(state, hyperparams, **given):
        return {**state, **given, "rate": hyperparams}

    strategy = noting_strategy()._replace(
        mixing=lambda key, state: mixing_of(state), learn=learn
    )
    problem = problem_of(toy_net._replace(apply=apply), strategy)
    state, chosen = init_state(problem, SHAPE, hyperparams_of()), jnp.arange(10)
    weight_step = jax.jit(functools.partial(step.weight_step, problem, data))
    learned = weight_step(hyperparams_of(count=2), state, chosen).strategy
    batch, mixing = learned["train_batch"], mixing_of(state.strategy)
    expected = jax.jit(jax.grad(loss))(mixing, state.variables, batch)
    chex.assert_trees_all_close(learned["gradient"], expected, atol=1e-6)
    for part in (expected.primitives, expected.edges):
        assert np.abs(part["normal"]).max() > 1e-3
    chex.assert_trees_all_close(learned["mixing"], mixing, rtol=1e-6)
    assert learned["rate"] == 2
    np.testing.assert_array_equal(batch.labels, data.train.labels[chosen])


def test_a_method_may_draw_batches_of_its_own_and_knows_the_epoch(toy_net, data):
    drawn = []

    def update(key, state, hyperparams, trainee, *, draw_batch, **batches):
        drawn.append(trainee)
        drawn.append([draw_batch(k) for k in jax.random.split(key, 2)])
        drawn.append(batches["valid_batch"])
        return state, {}

    strategy = noting_strategy()._replace(update=update, draws_batches=True)
    problem = problem_of(toy_net, strategy)
    state = init_state(problem, SHAPE, hyperparams_of()).replace(epoch=jnp.int32(2))
    step.evolve(problem, data, hyperparams_of(), state)
    trainee, own, valid = drawn
    assert (int(trainee.epoch), trainee.momentum_rate) == (2, 0.9)
    assert trainee.weight_decay == 0.01
    images = [np.asarray(batch.images) for batch in (*own, valid)]
    assert all(part.shape == (7, *SHAPE) for part in images)
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_four_batches_of_seven_hold_all_twenty_five_validation_images(toy_net, data):
    drawn = []

    def update(key, state, hyperparams, trainee, *, draw_batch, **batches):
        drawn.extend(draw_batch(key, jnp.int32(place)).images for place in range(4))
        return state, {}

    strategy = noting_strategy()._replace(update=update, draws_batches=True)
    problem = problem_of(toy_net, strategy)
    state = init_state(problem, SHAPE, hyperparams_of())
    step.evolve(problem, data, hyperparams_of(), state)
    every = np.asarray(normalise(data.valid.images, *data.scale)).reshape(25, -1)
    seen = np.concatenate(drawn).reshape(28, -1)
    assert {row.tobytes() for row in seen[:25]} == {row.tobytes() for row in every}
    np.testing.assert_array_equal(seen[25:], seen[:3])


def test_batches_of_one_order_are_augmented_each_by_itself(toy_net, data):
    problem = problem_of(toy_net, noting_strategy(), augment_valid=True)
    alike = np.repeat(data.valid.images[:1], 25, axis=0)
    alike = data.replace(valid=LabelledImages(alike, data.valid.labels))
    first, second, again = (
        draw_valid_batch(problem, alike, KEY, jnp.int32(place)).images
        for place in (0, 1, 0)
    )
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, again)


def test_the_record_holds_a_methods_own_metrics_and_its_own_derivation(make_run):
    cell = zoo["DARTS_V2"].genotype
    strategy = noting_strategy("step")._replace(
        metrics=lambda state: {"updates": state["count"]}, derive=lambda mixing: cell
    )
    _, line = one_epoch(make_run(strategy))
    assert line["updates"] == 2
    assert line["genotype"] == cell.format()
    assert line["skip_normal"] == str(cell.normal).count("skip_connect")


def test_a_weight_step_drops_edges_where_the_method_asks_for_it(toy_net, data):
    keys = []

    def apply(variables, images, mixing, *, dropout=None, **options):
        keys.append(dropout)
        return toy_net.apply(variables, images, mixing, **options)

    for probability in (0.0, 0.3):
        strategy = noting_strategy()._replace(drop_path=probability)
        problem = problem_of(toy_net._replace(apply=apply), strategy)
        state = init_state(problem, SHAPE, hyperparams_of())
        weight_step = functools.partial(step.weight_step, problem, data)
        jax.eval_shape(weight_step, hyperparams_of(), state, jnp.arange(10))
    assert keys[0] is None and keys[1].key.shape == ()
