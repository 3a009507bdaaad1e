"""A search from Python as pure functions, without a run."""

import dataclasses
import doctest
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_search

import egnas_jax as eg
from egnas_jax.runs import search_functions
from egnas_jax.search.loop import state_digest

SETTINGS = {**tiny_search.SETTINGS, "epochs": 2}
SHAPE = (8, 8, 1)


@pytest.fixture(scope="module", autouse=True)
def space():
    with tiny_search.registered_space():
        yield


@pytest.fixture(scope="module")
def config(space):
    return eg.search_config("digits", space=tiny_search.SPACE.name, settings=SETTINGS)


@pytest.mark.slow
def test_the_functions_make_the_search_of_run_search_bit_for_bit(
    config, tmp_path, monkeypatch
):
    """Its digests, and its genotype; and nothing is written."""
    result = eg.run_search(config)
    monkeypatch.chdir(tmp_path)
    search = eg.make_search(config, SHAPE, 10)
    data = eg.search_data(config)
    state = search.init(config.seed, search.hyperparams)
    once = chex.assert_max_traces(search.epoch, n=1)
    epoch = jax.jit(once, compiler_options=search.compiler_options)
    for record in result.records:
        state, measured = epoch(state, data, search.hyperparams)
        assert state_digest(state.search) == record["digest"]
        assert float(measured.evaluation.loss) == record["valid_loss"]
    chex.assert_trees_all_equal(state.search, result.state)
    assert search.derive(search.incumbent(state)) == result.genotype
    assert not list(pathlib.Path(tmp_path).iterdir())


@pytest.mark.slow
def test_searches_of_a_batch_are_those_of_their_configurations(config):
    """Two seeds, and two configurations that differ in hyperparameters."""
    changed = eg.search_config(
        "digits",
        space=tiny_search.SPACE.name,
        settings={**SETTINGS, "learning_rate": 0.03, "strategy.eta": 0.7},
    )
    seeds, configs = (2, 5), (config, changed)
    searches = [eg.make_search(each, SHAPE, 10) for each in configs]
    numbers = [jax.tree.leaves(one.hyperparams.strategy) for one in searches]
    assert numbers[0] != numbers[1]
    data = eg.search_data(config)
    stacked = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(one.hyperparams for one in searches)
    )
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    states = jax.jit(jax.vmap(searches[0].init))(keys, stacked)
    epoch = jax.vmap(searches[0].epoch, in_axes=(0, None, 0))
    options = searches[0].compiler_options
    states, results = jax.jit(epoch, compiler_options=options)(states, data, stacked)
    for i, (seed, search) in enumerate(zip(seeds, searches, strict=True)):
        state = search.init(seed, search.hyperparams)
        alone = jax.jit(search.epoch, compiler_options=options)
        state, result = alone(state, data, search.hyperparams)
        here = jax.tree.map(lambda leaf, i=i: leaf[i], (states.search, results))
        chex.assert_trees_all_close(here, (state.search, result), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_example_of_the_docstring_runs():
    finder = doctest.DocTestFinder(recurse=False)
    make_search = search_functions.make_search
    (example,) = finder.find(make_search, "make_search", globs={})
    assert len(example.examples) > 10
    outcome = doctest.DocTestRunner().run(example)
    assert outcome.failed == 0


def test_data_are_those_of_a_search_with_the_same_arguments(config):
    images = np.random.default_rng(0).integers(0, 256, (700, *SHAPE), np.uint8)
    labels = np.arange(700) % 10
    data = eg.search_data(config, data=(images, labels))
    # a fifth is left out for testing, and the halves of the rest are of equal size
    assert data.train.images.shape == (280, *SHAPE) == data.valid.images.shape
    assert data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == data.valid.labels.dtype == np.int32
    both = np.concatenate([data.train.images, data.valid.images]).reshape(560, -1)
    assert len(np.unique(both, axis=0)) == 560  # no image is in both halves
    mean, std = np.asarray(data.scale)
    assert data.scale.shape == (2, 1) and 0.45 < mean < 0.55 and 0.25 < std < 0.33
    again = eg.search_data(config, data=(images, labels))
    chex.assert_trees_all_equal(again, data)
    other = eg.search_data(
        dataclasses.replace(config, seed=config.seed + 1), data=(images, labels)
    )
    assert not np.array_equal(other.train.images, data.train.images)


def test_hyperparameters_are_those_of_the_configuration(config):
    changed = dataclasses.replace(
        config, epochs=4, learning_rate=0.3, learning_rate_min=0.1
    )
    hyperparams = eg.make_search(changed, SHAPE, 10).hyperparams
    # 0.1 + 0.1 (1 + cos(pi t / 4))
    expected = [0.3, 0.2 + 0.1 * 0.5**0.5, 0.2, 0.2 - 0.1 * 0.5**0.5]
    np.testing.assert_allclose(hyperparams.learning_rates, expected, rtol=1e-6)
    assert hyperparams.learning_rates.dtype == np.float32
    assert hyperparams.epochs == 4 and hyperparams.epochs.dtype == np.int32
    leaves = jax.tree.leaves(hyperparams.strategy)
    assert leaves and all(leaf.dtype == np.float32 for leaf in leaves)


def test_the_number_of_classes_is_the_argument(config):
    search = eg.make_search(config, SHAPE, 3)
    state = jax.eval_shape(search.init, 0, search.hyperparams)
    biases = [leaf.shape for leaf in jax.tree.leaves(state.search.params)]
    assert (3,) in biases and (10,) not in biases


@pytest.mark.parametrize(
    "options, arguments, message",
    [
        ({"strategy": "p_darts"}, (SHAPE, 10), "p_darts, which searches in stages"),
        (
            {"settings": {"watch.eigenvalue": "exact"}},
            (SHAPE, 10),
            "watch.eigenvalue=exact",
        ),
        ({"settings": {"devices": 8}}, (SHAPE, 10), "devices=8"),
        ({"settings": {"shards": 8}}, (SHAPE, 10), "shards=8"),
        (
            {"settings": {"supernet.lowering": "fused"}},
            (SHAPE, 10),
            "is fused, but the backend is cpu",
        ),
        ({}, ((9, 8, 1), 10), "do not fit a supernet"),
        ({}, ((8, 8), 10), "do not fit a supernet"),
        ({}, (SHAPE, 1), "num_classes is 1"),
    ],
)
def test_what_cannot_be_pure_functions_is_refused(options, arguments, message):
    with pytest.raises(ValueError, match=message):
        eg.make_search(eg.search_config("digits", **options), *arguments)


def test_data_without_enough_images_are_refused(config):
    images = np.zeros((300, *SHAPE), np.uint8)
    with pytest.raises(ValueError, match="batch_size is 128; allowed is 1 to 120"):
        eg.search_data(config, data=(images, np.arange(300) % 10))
