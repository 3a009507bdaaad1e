"""Table searches: what a run evaluates, and that runs are independent."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas.config import HYPERPARAMS, EGNASConfig
from egnas_jax.strategies.random_search import random_child
from egnas_jax.studies.nasbench201 import table_search_config
from egnas_jax.studies.nasbench201.methods import egnas_run, incumbents
from egnas_jax.studies.nasbench201.table_search import log_spaced_queries, run_method

# the evolution strategy that compiles fastest; the others have tests of their own
SMALL = dict(population=6, samples=2, evolution="open_es")
AT_QUERIES = np.asarray([1, 10, 60])


@pytest.fixture(scope="module")
def tiny():
    sizes = [f"egnas.{name}={value}" for name, value in SMALL.items()]
    return table_search_config.build(None, [*sizes, "queries=60", "runs=3"])


@pytest.fixture(scope="module")
def swept(table, tiny):
    """Curves of two settings of EG-NAS, three runs each."""
    settings = table_search_config.grid(tiny, ["egnas.eta=0,0.4"])
    assert settings == [{"eta": 0.0}, {"eta": 0.4}]
    return run_method(table, tiny, "egnas", settings, AT_QUERIES)


def test_the_incumbent_is_the_first_of_the_best_so_far(table):
    small = table.replace(valid=jnp.asarray([0.2, 0.5, 0.5, 0.1, 0.7]))
    rows = jnp.asarray([3, 0, 2, 1, 3, 4, 2])
    np.testing.assert_array_equal(incumbents(small, rows), [3, 0, 2, 2, 2, 4, 4])


def test_a_variant_that_is_named_decides_its_generations():
    def generations(variant):
        return table_search_config.build(variant, []).egnas.generations

    assert generations(None) == table_search_config.SIZES["generations"] == 2
    for variant in ("paper", "official", "revised"):
        assert generations(variant) == EGNASConfig.variant(variant).generations
    assert generations("paper") == 3


def test_egnas_evaluates_alpha_before_every_population(table):
    config = EGNASConfig(**SMALL, generations=2, step=0.0)
    queries = config.mixings_evaluated
    assert queries == 2 * 2 * (6 + 1)
    run = jax.jit(lambda key: egnas_run(table, config, 2 * queries, {}, key))
    result = run(jax.random.key(1))
    rows = np.asarray(result.rows).reshape(2, 4, 7)
    # with a step of 0 alpha stays, and its own row is the answer
    assert (rows[:, :, 0] == result.answer).all()
    assert len(np.unique(rows[:, :, 1:])) > 30  # of 48 individuals


@pytest.mark.parametrize("complete", [0, 1])
def test_egnas_answers_by_the_explorations_that_its_queries_complete(table, complete):
    config = EGNASConfig(**SMALL, generations=1)
    each = config.mixings_evaluated
    queries = (complete + 1) * each - 1
    run = functools.partial(egnas_run, table, config, queries, {})
    result = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(1), 20))
    # an exploration evaluates alpha first
    alphas = np.asarray(result.rows)[:, ::each]
    assert alphas.shape == (20, complete + 1)
    np.testing.assert_array_equal(result.answer, alphas[:, -1])
    assert complete == 0 or (alphas[:, 0] != alphas[:, 1]).any()


@pytest.mark.slow
def test_egnas_evaluates_the_leaders_again_to_choose_by_accuracy(table):
    config = EGNASConfig(**SMALL, generations=1, best_sample="accuracy", eta=0.0)
    queries = config.mixings_evaluated
    assert queries == 2 * 7 + 2
    run = jax.jit(lambda key: egnas_run(table, config, queries, {}, key))
    rows = np.asarray(run(jax.random.key(1)).rows)
    populations = rows[:14].reshape(2, 7)[:, 1:]
    # without the second term of the fitness the leader is the most accurate
    leaders = populations[np.arange(2), np.asarray(table.valid)[populations].argmax(1)]
    np.testing.assert_array_equal(rows[14:], leaders)


@pytest.mark.slow
def test_a_swept_value_gives_the_same_runs_as_a_configured_one(table, tiny, swept):
    config = dataclasses.replace(tiny, egnas=dataclasses.replace(tiny.egnas, eta=0.4))
    configured = run_method(table, config, "egnas", [{}], AT_QUERIES)
    for by_config, by_sweep in zip(configured, swept, strict=True):
        np.testing.assert_array_equal(by_config[0], by_sweep[1])
    assert not np.array_equal(swept.valid[0], swept.valid[1])


@pytest.mark.slow
def test_a_run_does_not_depend_on_the_number_of_runs(table, tiny, swept):
    config = dataclasses.replace(tiny, runs=5)
    settings = table_search_config.grid(config, ["egnas.eta=0,0.4"])
    curves = run_method(table, config, "egnas", settings, AT_QUERIES)
    for of_three, of_five in zip(swept, curves, strict=True):
        np.testing.assert_array_equal(of_three, of_five[:, :3])
    assert len({tuple(run) for run in curves.test[0].tolist()}) > 1


@pytest.fixture(scope="module")
def rows_with(table):
    """Rows of a run of EG-NAS with these hyperparameters; one program for all tests."""
    config = EGNASConfig(**SMALL, generations=2, momentum=0.1)
    defaults = {name: jnp.float32(getattr(config, name)) for name in HYPERPARAMS}
    run = jax.jit(lambda key, numbers: egnas_run(table, config, 84, numbers, key))

    def rows(**changes):
        changes = {name: jnp.float32(value) for name, value in changes.items()}
        return run(jax.random.key(3), defaults | changes).rows

    return rows


@pytest.mark.slow
@pytest.mark.parametrize("name", HYPERPARAMS)
def test_every_hyperparameter_that_can_be_swept_has_an_effect(name, rows_with):
    values = {"sigma_start": 0.3, "sigma_floor": 2.0, "noise": 0.5}
    assert (rows_with() != rows_with(**{name: values.get(name, 5.0)})).any()


@pytest.mark.slow
def test_random_search_finds_the_expected_maximum_of_its_draws(table):
    config = table_search_config.build(None, ["runs=400", "queries=50"])
    curves = run_method(table, config, "random_search", [{}], np.asarray([50]))
    # the largest of n draws from R values: value i has (i^n - (i - 1)^n) / R^n
    values, rank = np.sort(np.asarray(table.valid, np.float64)), np.arange(15626)
    chance = np.diff((rank / 15625.0) ** 50)
    expected = chance @ values
    deviation = np.sqrt(chance @ values**2 - expected**2)
    mean = curves.valid[0, :, 0].mean()
    assert abs(mean - expected) < 3 * deviation / np.sqrt(400)


def test_random_cells_are_uniform_over_all_primitives():
    keys = jax.random.split(jax.random.key(0), 4000)
    cells = jax.vmap(lambda key: random_child(key, SPACES["nasbench201"]))(keys)
    primitives = np.asarray(cells.primitives["cell"])
    # 4 standard deviations are 0.025
    np.testing.assert_allclose(primitives.mean(axis=0), 0.2, atol=0.03)
    assert (primitives.sum(axis=-1) == 1).all()
    assert (np.asarray(cells.edges["cell"]) == 1).all()


@pytest.mark.slow
def test_ageing_evolution_finds_the_best_cell_and_random_search_does_not(table):
    config = table_search_config.build(None, ["runs=20", "queries=400"])
    best = float(table.valid.max())
    accuracies = {
        name: run_method(table, config, name, [{}], np.asarray([400])).valid[0, :, 0]
        for name in ("ageing_evolution", "random_search")
    }
    assert (accuracies["ageing_evolution"] == best).mean() > 0.4
    assert (accuracies["random_search"] == best).mean() < 0.2


@pytest.mark.parametrize("queries", [1, 2, 60, 1000])
def test_curves_hold_the_first_and_the_last_query(queries):
    at_queries = log_spaced_queries(queries)
    assert (at_queries[0], at_queries[-1]) == (1, queries)
    assert (np.diff(at_queries) > 0).all()


@pytest.mark.parametrize(
    "override, message",
    [
        ("egnas.warmup=3", "concerns images or training"),
        ("egnas.eta=-1", r"egnas\.eta is -1"),
        ("ageing_evolution.tournament=0", "ageing_evolution.tournament is 0"),
        ("dataset=cifar", "Did you mean cifar10"),
        ("runs=0", "runs is 0, but must be from 1"),
        ("egnas.etta=1", "Did you mean egnas.eta"),
        ("strategy.eta=1", r"Unknown path 'strategy\.eta'. Did you mean egnas\.eta"),
    ],
)
def test_bad_settings_are_refused(override, message):
    with pytest.raises(ValueError, match=message):
        table_search_config.build(None, [override])


@pytest.mark.parametrize(
    "sweeps, message",
    [
        (["egnas.population=4,8"], "--sweep takes"),
        (["egnas.eta="], "--sweep takes"),
        (["egnas.eta=1", "egnas.eta=2"], "twice"),
        (["egnas.eta=0,-1"], r"egnas\.eta is -1"),
        (["egnas.eta=0,x"], "takes a number"),
        (
            [f"egnas.{n}={','.join('123456789')}1" for n in HYPERPARAMS[2:6]],
            "combinations",
        ),
    ],
)
def test_bad_sweeps_are_refused(sweeps, message):
    with pytest.raises(ValueError, match=message):
        table_search_config.grid(table_search_config.build(None, []), sweeps)
