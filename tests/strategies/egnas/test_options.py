"""Every option of EG-NAS does something, and the loop around it what it says."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax import EGNASConfig
from egnas_jax.search.relax import unflatten
from egnas_jax.search.strategy import Regime
from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas.config import CHOICES, RANGES, SWEPT
from egnas_jax.strategies.egnas.evaluation import evaluate_fitness
from egnas_jax.strategies.egnas.explore import _candidate_keys, first_generation
from egnas_jax.strategies.egnas.strategy import egnas

# the separable strategy compiles fastest
SMALL = EGNASConfig(
    warmup=0,
    population=6,
    samples=2,
    generations=2,
    fitness_batch_size=24,
    evolution="sep_cma_es",
)
OFFICIAL = dataclasses.replace(
    EGNASConfig.variant("official"),
    warmup=0,
    population=6,
    samples=2,
    fitness_batch_size=24,
    evolution="sep_cma_es",
)
KEY = jax.random.key(0)
# what the loop does, and what only equal individuals show: tested elsewhere
ELSEWHERE = {"tie", *(field.name for field in dataclasses.fields(Regime))}
PRICING = ("batch_stats", "individual_mixing", "similarity", "sign", "direction")
PRICING_NUMBERS = {"fitness_batches": 2, "zeta": 0.1, "eta": 3.0}
SEARCH_NUMBERS = {
    "warmup": 1,
    "noise": 0.5,
    "sigma_start": 0.3,
    "sigma_floor": 2.0,
    "fitness_batch_size": 5,
    "population": 30,
    "generations": 3,
    "samples": 1,
    "momentum": 0.9,
    "step": 0.2,
}


def others(names):
    """Values of choices that are not the default."""
    return [
        (name, value)
        for name in names
        for value in CHOICES[name]
        if value != getattr(SMALL, name)
    ]


# Options whose effect needs other settings, or other updates, than the rest:
# name -> (settings of both searches, a seed for each update).
SPECIAL = {
    # The term that rewards being worse tells the samples apart.
    "best_sample": ({"eta": 3.0, "samples": 6, "noise": 0.5}, (0, 1)),
    "candidates": ({"noise": 0.5}, (0, 1)),
    "centre_noise": ({"noise": 0.5}, (0, 1)),
    # One sample does not win every time.
    "samples": ({}, (0, 1, 2, 3, 4)),
    # Epochs and updates are counted alike without a warm-up.
    "sigma": ({"warmup": 1}, (0, 1, 2)),
}
SEARCH_CASES = [
    (name, value, *SPECIAL.get(name, ({}, (0, 1))))
    for name, value in [
        *sorted(others(set(CHOICES) - set(PRICING) - ELSEWHERE)),
        *SEARCH_NUMBERS.items(),
    ]
]


@pytest.fixture(scope="module")
def variables(toy_net):
    return toy_net.init(jax.random.key(1))


@pytest.fixture(scope="module")
def searched(toy_net, variables, toy_batch):
    """Configuration -> alpha after two updates from one start, with other keys."""

    @functools.cache
    def made(config):
        strategy = egnas(toy_net, config)
        return strategy, jax.jit(lambda own, *given: strategy.given(own).update(*given))

    def run(config, keys=(0, 1)):
        # numbers are arguments, as in a search: configurations that differ in them
        # alone share a program
        own = {name: np.float32(getattr(config, name)) for name in SWEPT}
        plain = {name: getattr(SMALL, name) for name in SWEPT}
        strategy, update = made(dataclasses.replace(config, **plain))
        update = functools.partial(update, own)
        batch = jax.tree.map(lambda leaf: leaf[: config.valid_batch_size], toy_batch)
        state = strategy.init(KEY)
        for key in keys:
            state, info = update(jax.random.key(key), state, variables, batch, batch)
        return state, info

    return run


def differs(a, b):
    return any(jax.tree.leaves(jax.tree.map(lambda x, y: jnp.any(x != y), a, b)))


PRICED = [*others(PRICING), *PRICING_NUMBERS.items()]


@pytest.fixture(scope="module")
def prices(toy_net, variables, toy_batch):
    """One population evaluated with the default options and with each other value."""
    key_alpha, key_z = jax.random.split(KEY)
    alpha = unflatten(SPACES["darts7"], jax.random.normal(key_alpha, (196,)))
    configs = {None: SMALL} | {
        (name, value): dataclasses.replace(SMALL, **{name: value})
        for name, value in PRICED
    }

    @jax.jit
    def run(z):
        return [
            evaluate_fitness(toy_net, variables, alpha, z, *toy_batch, config)
            for config in configs.values()
        ]

    return dict(zip(configs, run(jax.random.normal(key_z, (6, 196))), strict=True))


@pytest.mark.parametrize("name, value", PRICED, ids=str)
def test_every_option_of_pricing_changes_a_price(name, value, prices):
    assert differs(prices[name, value], prices[None])


@pytest.mark.parametrize(
    "name, value, settings, seeds",
    SEARCH_CASES,
    ids=[f"{name}-{value}" for name, value, *_ in SEARCH_CASES],
)
def test_every_option_of_the_search_changes_its_result(
    name, value, settings, seeds, searched
):
    config = dataclasses.replace(SMALL, **settings)
    changed = dataclasses.replace(config, **{name: value})
    (state, info), (other, other_info) = (searched(c, seeds) for c in (config, changed))
    assert differs((state.alpha, info["fitness"]), (other.alpha, other_info["fitness"]))


def test_special_cases_are_options():
    assert SPECIAL.keys() <= CHOICES.keys() | RANGES.keys()


def test_every_number_is_tested():
    assert {**PRICING_NUMBERS, **SEARCH_NUMBERS}.keys() == RANGES.keys()


def still(config, **changes):
    return dataclasses.replace(config, noise=0.0, **changes)


def test_official_candidates_are_the_same_in_every_epoch_and_paper_ones_are_not(
    searched,
):
    official = [searched(still(OFFICIAL), [key])[0].alpha for key in (0, 7)]
    jax.tree.map(np.testing.assert_array_equal, *official)
    paper = [searched(still(SMALL), [key])[0].alpha for key in (0, 7)]
    assert differs(*paper)


def test_further_generations_and_samples_leave_the_first_as_they_are(toy_net):
    """So that an ablation over either compares like with like."""
    state = egnas(toy_net, SMALL).init(KEY)
    few, many = (
        jax.random.key_data(_candidate_keys(config, KEY, state))
        for config in (SMALL, dataclasses.replace(SMALL, generations=3, samples=4))
    )
    np.testing.assert_array_equal(few, many[:2, :2])
    assert len(np.unique(many.reshape(-1, 2), axis=0)) == 12


def test_run_candidates_are_the_same_within_a_run_and_others_in_another(
    toy_net, variables, toy_batch
):
    config = still(SMALL, candidates="run")
    strategy = egnas(toy_net, config)
    update = jax.jit(strategy.update)

    def first(seed, key):
        state = strategy.init(jax.random.key(seed))
        zero = jax.tree.map(jnp.zeros_like, state.alpha)
        state = state._replace(alpha=zero)
        new, _ = update(jax.random.key(key), state, variables, toy_batch, toy_batch)
        return new.alpha

    assert not differs(first(0, 0), first(0, 7))
    assert differs(first(0, 0), first(1, 0))


@pytest.mark.parametrize("candidates", ["constant", "run"])
def test_candidates_do_not_depend_on_the_default_kind_of_keys(candidates, toy_net):
    config = dataclasses.replace(SMALL, candidates=candidates)
    state = egnas(toy_net, config).init(KEY)
    here = _candidate_keys(config, KEY, state)
    with jax.default_prng_impl("rbg"):
        there = _candidate_keys(config, KEY, state)
    np.testing.assert_array_equal(*map(jax.random.key_data, (here, there)))


def test_sigma_falls_with_the_updates_made_to_its_floor(searched):
    config = dataclasses.replace(SMALL, sigma_floor=0.4, warmup=1)
    expected = [np.inf, 1.0, 0.5, 0.4]  # warming up
    for count, sigma in enumerate(expected, start=1):
        state, info = searched(config, range(count))
        np.testing.assert_allclose(info["sigma"], sigma, rtol=1e-6)
    assert (int(state.updates), int(state.epochs)) == (3, 4)
    by_epoch = dataclasses.replace(SMALL, sigma="by_epoch", warmup=1)
    np.testing.assert_allclose(searched(by_epoch, [0, 1])[1]["sigma"], 0.5, rtol=1e-6)


def test_alpha_stands_still_in_warm_up(searched, toy_net):
    config = dataclasses.replace(SMALL, warmup=2)
    start = egnas(toy_net, config).init(KEY)
    state, info = searched(config)
    jax.tree.map(np.testing.assert_array_equal, state.alpha, start.alpha)
    assert jnp.isinf(info["fitness"]) and info["candidate_images"] == 0


def test_the_step_is_momentum_times_velocity_plus_direction(searched, toy_net):
    """With the direction's row sums zero, both are read from alpha alone."""
    config = dataclasses.replace(SMALL, step=0.1, momentum=0.5)
    start = egnas(toy_net, config).init(KEY).alpha
    one, two = (searched(config, keys)[0] for keys in ([0], [0, 1]))
    moved = jax.tree.map(lambda a, b: (b - a) / 0.1, start, one.alpha)
    jax.tree.map(
        lambda m, v: np.testing.assert_allclose(m, v, atol=1e-5), moved, one.velocity
    )
    again = jax.tree.map(lambda a, b: (b - a) / 0.1, one.alpha, two.alpha)
    own = jax.tree.map(lambda v, old: v - 0.5 * old, two.velocity, one.velocity)
    jax.tree.map(
        lambda v, w: np.testing.assert_allclose(v, w, atol=1e-5), again, two.velocity
    )
    # s* = softmax(z) - 1 / K: row sums zero, no entry below - 1 / K
    for rows in (*one.velocity.values(), *own.values()):
        np.testing.assert_allclose(jnp.sum(rows, axis=-1), 0.0, atol=1e-5)
        assert jnp.min(rows) >= -1 / 7 - 1e-6


def test_images_priced_are_those_that_the_supernet_sees(toy_net, variables, toy_batch):
    """Counted by the network itself, for both ways to choose among the samples."""
    for config, forwards in ((SMALL, 2 * 2 * 7), (OFFICIAL, 2 * 7 + 2)):
        seen = []

        def apply(variables, images, mixing, train=False, many=False, seen=seen):
            jax.debug.callback(lambda images: seen.append(len(images)), images)
            return toy_net.apply(variables, images, mixing, train)

        strategy = egnas(toy_net._replace(apply=apply), config)
        update, state = jax.jit(strategy.update), strategy.init(KEY)
        _, info = update(KEY, state, variables, toy_batch, toy_batch)
        jax.effects_barrier()
        assert sum(seen) == forwards * 24 == info["candidate_images"]


def test_the_spread_is_that_of_all_individuals_of_all_samples(
    searched, toy_net, variables, toy_batch
):
    """One generation of one sample, evaluated again outside; and the best of many."""
    config = dataclasses.replace(SMALL, samples=1, generations=1)
    strategy = egnas(toy_net, config)
    state = strategy.init(KEY)
    _, info = jax.jit(strategy.update)(KEY, state, variables, toy_batch, toy_batch)
    z = first_generation(SPACES["darts7"], config, KEY, state)[0]
    evaluated = evaluate_fitness(toy_net, variables, state.alpha, z, *toy_batch, config)
    accuracy = np.asarray(evaluated.correct) / len(toy_batch.labels)
    for name, values in (
        ("fitness", evaluated.fitness),
        ("accuracy", accuracy),
        ("similarity", evaluated.similarity),
    ):
        for place, share in (("min", 0), ("q1", 0.25), ("q3", 0.75), ("max", 1)):
            np.testing.assert_allclose(
                info[f"population_{name}_{place}"],
                np.quantile(values, share),
                rtol=1e-5,
            )
    _, info = searched(SMALL)
    assert info["population_fitness_min"] == info["fitness"]


def test_without_one_finite_fitness_alpha_stands_still_and_is_counted(
    toy_net, variables, toy_batch
):
    strategy = egnas(toy_net, SMALL)
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, variables)
    start = strategy.init(KEY)
    state, _ = jax.jit(strategy.update)(KEY, start, broken, toy_batch, toy_batch)
    jax.tree.map(np.testing.assert_array_equal, state.alpha, start.alpha)
    assert (int(state.skipped), int(state.updates)) == (1, 0)
