"""Searches in a table: what a run prices, and that runs do not know each other."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas.config import SWEPT, EGNASConfig
from egnas_jax.strategies.egnas.strategy import mixings_evaluated
from egnas_jax.strategies.random_search import random_child
from egnas_jax.studies.nasbench201 import config as configs
from egnas_jax.studies.nasbench201.methods import egnas_run, incumbents
from egnas_jax.studies.nasbench201.search import run_method
from egnas_jax.studies.nasbench201.statistics import mean_interval, shown_queries

# the strategy that compiles fastest: the others have tests of their own
SMALL = dict(population=6, samples=2, evolution="open_es")
TINY = [
    *(f"egnas.{name}={value}" for name, value in SMALL.items()),
    "queries=60",
    "runs=3",
]
SHOWN = np.asarray([1, 10, 60])


@pytest.fixture(scope="module")
def tiny():
    return configs.build(None, TINY)


@pytest.fixture(scope="module")
def swept(table, tiny):
    """Curves of two settings of EG-NAS, three runs each."""
    points = configs.grid(tiny, ["egnas.eta=0,0.4"])
    assert points == [{"eta": 0.0}, {"eta": 0.4}]
    return run_method(table, tiny, "egnas", points, SHOWN)


def test_the_incumbent_is_the_first_of_the_best_so_far(table):
    valid = jnp.asarray([0.2, 0.5, 0.5, 0.1, 0.7])
    small = table._replace(valid=valid)
    rows = jnp.asarray([3, 0, 2, 1, 3, 4, 2])
    np.testing.assert_array_equal(incumbents(small, rows), [3, 0, 2, 2, 2, 4, 4])


def test_a_run_of_eg_nas_prices_alpha_before_every_population(table):
    config = EGNASConfig(**SMALL, generations=2, step=0.0)
    each = mixings_evaluated(config)
    assert each == 2 * 2 * (6 + 1)
    run = jax.jit(lambda key: egnas_run(table, config, 2 * each, {}, key))
    rows, answer = run(jax.random.key(1))
    rows = np.asarray(rows).reshape(2, 4, 7)
    # without steps alpha stays, and its own row is the answer
    assert (rows[:, :, 0] == answer).all()
    assert len(np.unique(rows[:, :, 1:])) > 30  # of 48 individuals


def test_the_winner_of_accuracy_is_priced_once_more(table):
    config = EGNASConfig(**SMALL, generations=1, best_sample="accuracy", eta=0.0)
    each = mixings_evaluated(config)
    assert each == 2 * 7 + 2
    run = jax.jit(lambda key: egnas_run(table, config, each, {}, key))
    rows = np.asarray(run(jax.random.key(1)).rows)
    populations = rows[:14].reshape(2, 7)[:, 1:]
    # without the second term of the fitness the leader is the most accurate
    leaders = populations[np.arange(2), np.asarray(table.valid)[populations].argmax(1)]
    np.testing.assert_array_equal(rows[14:], leaders)


def test_a_swept_number_is_the_number_of_the_configuration(table, tiny, swept):
    own = dataclasses.replace(tiny.egnas, eta=0.4)
    alone = dataclasses.replace(tiny, egnas=own)
    fixed = run_method(table, alone, "egnas", [{}], SHOWN)
    for one, many in zip(fixed, swept, strict=True):
        np.testing.assert_array_equal(one[0], many[1])
    assert not np.array_equal(swept.valid[0], swept.valid[1])


def test_a_run_does_not_depend_on_how_many_there_are(table, tiny, swept):
    more = dataclasses.replace(tiny, runs=5)
    points = configs.grid(more, ["egnas.eta=0,0.4"])
    curves = run_method(table, more, "egnas", points, SHOWN)
    for few, many in zip(swept, curves, strict=True):
        np.testing.assert_array_equal(few, many[:, :3])
    assert len({tuple(run) for run in curves.test[0].tolist()}) > 1


@pytest.mark.parametrize("name", SWEPT)
def test_every_number_that_can_be_swept_changes_what_is_found(table, name):
    config = EGNASConfig(**SMALL, generations=2, momentum=0.1)
    values = {"sigma_start": 0.3, "sigma_floor": 2.0, "noise": 0.5}
    run = SHARED.setdefault(
        "run", jax.jit(lambda key, numbers: egnas_run(table, config, 84, numbers, key))
    )
    numbers = {one: jnp.float32(getattr(config, one)) for one in SWEPT}
    key = jax.random.key(3)
    before = run(key, numbers).rows
    after = run(key, {**numbers, name: jnp.float32(values.get(name, 5.0))}).rows
    assert (before != after).any()


SHARED = {}  # one program for all of them


def test_random_search_finds_what_the_order_statistic_says(table):
    config = configs.build(None, ["runs=400", "queries=50"])
    curves = run_method(table, config, "random_search", [{}], np.asarray([50]))
    # the largest of n draws from R values: value i has (i^n - (i - 1)^n) / R^n
    values, rank = np.sort(np.asarray(table.valid, np.float64)), np.arange(15626)
    chance = np.diff((rank / 15625.0) ** 50)
    deviation = np.sqrt(chance @ values**2 - (chance @ values) ** 2)
    found = curves.valid[0, :, 0].mean()
    assert abs(found - chance @ values) < 3 * deviation / np.sqrt(400)


def test_random_cells_are_uniform_none_included():
    keys = jax.random.split(jax.random.key(0), 4000)
    cells = jax.vmap(lambda key: random_child(key, SPACES["nasbench201"]))(keys)
    shares = np.asarray(cells.primitives["cell"]).mean(axis=0)
    np.testing.assert_allclose(shares, 0.2, atol=0.03)  # 4 deviations are 0.025
    assert (np.asarray(cells.primitives["cell"]).sum(axis=-1) == 1).all()
    assert (np.asarray(cells.edges["cell"]) == 1).all()


def test_ageing_evolution_finds_the_best_cell_and_random_search_does_not(table):
    config = configs.build(None, ["runs=20", "queries=400"])
    shown, best = np.asarray([400]), float(table.valid.max())
    found = {
        name: run_method(table, config, name, [{}], shown).valid[0, :, 0]
        for name in ("ageing_evolution", "random_search")
    }
    assert (found["ageing_evolution"] == best).mean() > 0.6
    assert (found["random_search"] == best).mean() < 0.2


def test_intervals_are_students():
    # s = 1, t(0.975, 2) = 4.302653 of any table of the distribution
    mean, low, high = mean_interval(np.asarray([[1.0], [2.0], [3.0]]))
    half = 4.302653 / np.sqrt(3)
    np.testing.assert_allclose(
        [mean[0], low[0], high[0]], [2, 2 - half, 2 + half], rtol=1e-6
    )
    mean, low, high = mean_interval(np.asarray([[1.5]]))
    assert mean[0] == 1.5
    assert np.isnan([low[0], high[0]]).all()


@pytest.mark.parametrize("queries", [1, 2, 60, 1000])
def test_curves_show_the_first_and_the_last_query(queries):
    shown = shown_queries(queries)
    assert (shown[0], shown[-1]) == (1, queries)
    assert (np.diff(shown) > 0).all()


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["egnas.warmup=3"], "speaks of images or of training"),
        (["egnas.eta=-1"], "eta is -1"),
        (["ageing_evolution.tournament=0"], "tournament is 0"),
        (["dataset=cifar"], "Did you mean cifar10"),
        (["runs=0"], "runs is 0, but must be from 1"),
        (["egnas.etta=1"], "Did you mean egnas.eta"),
    ],
)
def test_bad_settings_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        configs.build(None, overrides)


@pytest.mark.parametrize(
    "sweeps, message",
    [
        (["egnas.population=4,8"], "--sweep takes"),
        (["egnas.eta="], "--sweep takes"),
        (["egnas.eta=1", "egnas.eta=2"], "twice"),
        (["egnas.eta=0,-1"], "eta is -1"),
        (["egnas.eta=0,x"], "takes a number"),
        ([f"egnas.{n}={','.join('123456789')}1" for n in SWEPT[2:6]], "combinations"),
    ],
)
def test_bad_sweeps_are_refused(sweeps, message):
    with pytest.raises(ValueError, match=message):
        configs.grid(configs.build(None, []), sweeps)
