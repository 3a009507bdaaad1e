"""A search as pure functions, on the toy supernet: like the loop, and in batches."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from noting_method import noting

from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import LabelledImages
from egnas_jax.search import loop
from egnas_jax.search.epoch_schedule import EpochSchedule
from egnas_jax.search.functions import make_functions
from egnas_jax.search.programs import make_programs
from egnas_jax.search.search_run import SearchRun, beginning
from egnas_jax.search.state import SearchData, SearchHyperparams, SearchProblem
from egnas_jax.strategies import STRATEGIES
from egnas_jax.training.sgd import SGD

SHAPE = (4, 4, 3)
SEED = 3
SGD_SETTINGS = SGD(
    batch_size=10,
    learning_rate=0.1,
    learning_rate_min=0.01,
    momentum=0.9,
    weight_decay=0.01,
    clip_norm=5.0,
    epochs=3,
)
# method, its sizes, and its schedule: updates once an epoch and in every step
CASES = {
    "noting": (None, {}, dict(order="strategy_first", learning_rate_epoch="next")),
    "every epoch": (
        "egnas",
        dict(population=4, samples=2, fitness_batch_size=7, warmup=0),
        dict(order="strategy_first", last_batch="keep", augment_valid=True),
    ),
    "every step": ("pc_darts", dict(batch_size=7, warmup=0), {}),
}
# the methods of the table compile for many seconds
EVERY_STEP = pytest.param("every step", marks=pytest.mark.slow)
EVERY_EPOCH = pytest.param("every epoch", marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def data():
    """25 images of training and 25 of validation."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 25, *SHAPE), dtype=np.uint8)
    labels = rng.integers(0, 3, (2, 25), dtype=np.int32)
    scale = jnp.asarray(((0.5,) * 3, (0.25,) * 3), jnp.float32)
    parts = (
        LabelledImages(*map(jnp.asarray, part))
        for part in zip(images, labels, strict=True)
    )
    return SearchData(*parts, scale)


@pytest.fixture(scope="module")
def searches(toy_net):
    """Name of a case -> its problem, hyperparameters and functions."""

    @functools.cache
    def make(case):
        name, sizes, schedule = CASES[case]
        if name is None:
            strategy = noting()
        else:
            config_of, method = STRATEGIES[name]
            strategy = method(toy_net, config_of(**sizes))
        problem = SearchProblem(
            net=toy_net,
            strategy=strategy,
            schedule=EpochSchedule(**schedule),
            augmentation=DataConfig(pad=1 if name else 0, flip=True),
            sgd=SGD_SETTINGS,
            valid_batch_size=7,
        )
        hyperparams = SearchHyperparams(
            seed=np.uint32(SEED),
            learning_rate=np.float32(SGD_SETTINGS.learning_rate),
            strategy=jax.tree.map(np.float32, strategy.hyperparams),
            epochs=np.int32(SGD_SETTINGS.epochs),
        )
        return problem, hyperparams, make_functions(problem, SHAPE, hyperparams)

    return make


@pytest.fixture(scope="module")
def compiled_epoch(searches):
    """Name of a case -> its `epoch`, compiled; traced more than once is an error."""

    @functools.cache
    def compiled(case):
        functions = searches(case)[-1]
        once = chex.assert_max_traces(functions.epoch, n=1)
        return jax.jit(once, compiler_options=functions.compiler_options)

    return compiled


def member(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


@pytest.mark.parametrize("case", ["noting", EVERY_EPOCH, EVERY_STEP])
def test_epochs_equal_those_of_the_loop_bit_for_bit(
    case, searches, compiled_epoch, data
):
    problem, hyperparams, functions = searches(case)
    run = SearchRun(
        problem=problem,
        programs=make_programs(problem, data),
        hyperparams=hyperparams,
        image_shape=SHAPE,
        num_train=25,
        num_valid=25,
    )
    end = loop.search(run, beginning(run))
    state = functions.init(SEED, functions.hyperparams)
    assert len(end.records) == 3
    for record in end.records:
        state, result = compiled_epoch(case)(state, data, functions.hyperparams)
        assert loop.state_digest(state.search) == record["digest"]
        totals = jax.tree.map(lambda leaf: leaf.item(), result.totals)
        assert totals.loss / totals.images == record["train_loss"]
        assert totals.correct / totals.images == record["train_accuracy"]
        assert float(result.evaluation.loss) == record["valid_loss"]
        assert float(result.evaluation.accuracy) == record["valid_accuracy"]
        assert result.learning_rate == np.float32(record["learning_rate"])
        assert result.metrics
        for name, value in result.metrics.items():
            np.testing.assert_array_equal(record[name], value.tolist())
    genotype = functions.derive(functions.incumbent(state))
    assert genotype.format() == end.records[-1]["genotype"]
    chex.assert_trees_all_equal(state.search, end.state)


def test_an_epoch_is_made_of_the_other_functions(searches, compiled_epoch, data):
    functions = searches("noting")[-1]
    first = functions.init(SEED, functions.hyperparams)
    whole, result = compiled_epoch("noting")(first, data, functions.hyperparams)
    rest = data, functions.hyperparams
    train_steps = jax.jit(functions.train_steps)
    state, metrics = jax.jit(functions.evolve)(first, *rest)
    state, _ = train_steps(state, *rest, (jnp.int32(0), jnp.int32(1)))
    state, totals = train_steps(state, *rest, (jnp.int32(1), jnp.int32(2)))
    evaluation = jax.jit(functions.validate)(state, *rest)
    chex.assert_trees_all_close(totals, result.totals, rtol=1e-6)
    chex.assert_trees_all_close(evaluation, result.evaluation, rtol=1e-6)
    assert metrics.keys() == {"kernel"}
    assert metrics["kernel"] == result.metrics["kernel"]
    chex.assert_trees_all_close(
        (state.search.params, state.search.strategy),
        (whole.search.params, whole.search.strategy),
        rtol=1e-6,
    )
    assert int(state.search.step) == 2 and int(state.search.epoch) == 0
    assert int(whole.search.step) == 0 and int(whole.search.epoch) == 1
    assert int(whole.search.totals.images) == 0


def test_a_weight_step_takes_the_images_that_it_is_told(searches, data):
    functions = searches("noting")[-1]
    first = functions.init(SEED, functions.hyperparams)
    step = jax.jit(functions.weight_step)
    ends = [
        step(first, data, functions.hyperparams, jnp.arange(start, start + 10))
        for start in (0, 0, 5)
    ]
    kernels = [end.search.params["kernel"] for end in ends]
    np.testing.assert_array_equal(*kernels[:2])
    assert jnp.max(jnp.abs(kernels[0] - kernels[2])) > 1e-4


# a real supernet's batch by the other method is in tests/runs
@pytest.mark.slow
@pytest.mark.parametrize("case", ["noting", EVERY_STEP])
def test_a_batch_of_searches_equals_searches_one_by_one(
    case, searches, compiled_epoch, data
):
    """Two seeds times two schedules of the learning rate; the data are shared."""
    functions = searches(case)[-1]
    base = functions.hyperparams
    several = [
        (seed, base.replace(learning_rates=base.learning_rates * np.float32(factor)))
        for seed in (SEED, 8)
        for factor in (1.0, 0.3)
    ]
    keys = jax.vmap(jax.random.key)(jnp.asarray([seed for seed, _ in several]))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(h for _, h in several))
    states = jax.vmap(functions.init)(keys, stacked)
    together = jax.jit(jax.vmap(functions.epoch, in_axes=(0, None, 0)))
    alone = [functions.init(*arguments) for arguments in several]
    for epoch in range(2):
        states, results = together(states, data, stacked)
        for i, (_, hyperparams) in enumerate(several):
            alone[i], result = compiled_epoch(case)(alone[i], data, hyperparams)
            chex.assert_trees_all_close(
                (member(states.search, i), member(results, i)),
                (alone[i].search, result),
                rtol=1e-4,
                atol=1e-5,
            )
            expected = hyperparams.learning_rates[epoch]
            assert results.learning_rate[i] == expected
    kernels = states.search.params["kernel"]
    for i in range(3):  # no two members are the same search
        assert jnp.max(jnp.abs(kernels[i] - kernels[i + 1])) > 1e-4


def test_a_seed_stands_for_its_key(searches):
    functions = searches("noting")[-1]
    states = [
        functions.init(key, functions.hyperparams)
        for key in (SEED, np.uint32(SEED), jax.random.key(SEED), jax.random.key(4))
    ]
    assert all(state.key.dtype == states[0].key.dtype for state in states)
    first, *same, other = (state.search.params["kernel"] for state in states)
    for kernel in same:
        np.testing.assert_array_equal(kernel, first)
    assert jnp.max(jnp.abs(other - first)) > 1e-4


def test_a_state_can_be_donated_and_the_callers_key_stays(searches):
    functions = searches("noting")[-1]
    key = jax.random.key(SEED)
    state = functions.init(key, functions.hyperparams)
    advance = jax.jit(lambda state: jax.tree.map(jnp.copy, state), donate_argnums=0)
    advance(state)
    assert state.key.is_deleted() and not key.is_deleted()


def test_epochs_after_the_last_have_its_learning_rate(searches, compiled_epoch, data):
    functions = searches("noting")[-1]
    state = functions.init(SEED, functions.hyperparams)
    late = state.replace(search=state.search.replace(epoch=jnp.int32(7)))
    _, result = compiled_epoch("noting")(late, data, functions.hyperparams)
    assert result.learning_rate == functions.hyperparams.learning_rates[-1]


def test_the_functions_compute_in_32_bits_under_x64(searches, data):
    functions = searches("noting")[-1]
    state = functions.init(SEED, functions.hyperparams)
    arguments = state.search, data, functions.hyperparams

    def results(search, data, hyperparams):
        given = state.replace(search=search)
        new, result = functions.epoch(given, data, hyperparams)
        return new.search, result, functions.incumbent(given)

    expected = jax.eval_shape(results, *arguments)
    with jax.enable_x64(True):
        chex.assert_trees_all_equal_shapes_and_dtypes(
            jax.eval_shape(results, *arguments), expected
        )
        first = functions.init(SEED, functions.hyperparams)
    chex.assert_trees_all_equal(first.search, state.search)


def batched(data):
    return jax.tree.map(lambda leaf: leaf[None], data)


def fewer(data, train, valid):
    rows = slice(0, train), slice(0, valid)
    parts = (
        part.select(r) for part, r in zip((data.train, data.valid), rows, strict=True)
    )
    return SearchData(*parts, data.scale)


@pytest.mark.parametrize(
    "change, message",
    [
        (batched, "all members of a batch share"),
        (functools.partial(fewer, train=9, valid=25), "^batch_size is 10"),
        (
            functools.partial(fewer, train=25, valid=6),
            "images of an update is 7; .* 1 to 6.*fitness_batch",
        ),
    ],
)
def test_data_that_do_not_fit_are_refused_before_anything_compiles(
    change, message, searches, data
):
    functions = searches("noting")[-1]
    state = functions.init(SEED, functions.hyperparams)
    for name in ("epoch", "evolve", "validate"):
        with pytest.raises(ValueError, match=message):
            getattr(functions, name)(state, change(data), functions.hyperparams)


def test_validation_images_are_normalised_for_a_supernet(data):
    batch = data.valid_batch(jnp.array([3, 20]))
    expected = (np.asarray(data.valid.images)[[3, 20]] / 255.0 - 0.5) / 0.25
    assert batch.images.dtype == jnp.float32
    np.testing.assert_allclose(batch.images, expected, atol=1e-6)
    np.testing.assert_array_equal(batch.labels, data.valid.labels[jnp.array([3, 20])])
    assert len(data.valid_batch().labels) == 25


def test_evolve_is_refused_for_a_method_that_updates_in_every_step(searches, data):
    problem, hyperparams, _ = searches("noting")
    of_steps = problem.strategy._replace(update_every="step")
    functions = make_functions(problem._replace(strategy=of_steps), SHAPE, hyperparams)
    state = functions.init(SEED, functions.hyperparams)
    with pytest.raises(ValueError, match="updates in every weight step"):
        functions.evolve(state, data, functions.hyperparams)
