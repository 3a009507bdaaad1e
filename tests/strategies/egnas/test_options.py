"""Every option of EG-NAS changes something, and does what its docstring says."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax import EGNASConfig
from egnas_jax.evolution import EVOLUTIONS
from egnas_jax.search.relax import unflatten
from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas.config import CHOICES, HYPERPARAMS, RANGES
from egnas_jax.strategies.egnas.evaluation import evaluate_fitness
from egnas_jax.strategies.egnas.method import EGNAS
from egnas_jax.strategies.egnas.sampling import candidate_keys, first_generation
from egnas_jax.strategies.egnas.state import state_without_evolutions
from egnas_jax.strategies.egnas.step import egnas_step_direction
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
FITNESS_OPTIONS = (
    "batch_stats",
    "individual_mixing",
    "similarity",
    "sign",
    "direction",
)
FITNESS_NUMBERS = {"fitness_batches": 2, "zeta": 0.1, "eta": 3.0}
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


VALUES = CHOICES | {"evolution": tuple(EVOLUTIONS)}


def others(names):
    """Values of choices that are not the default."""
    return [
        (name, value)
        for name in names
        for value in VALUES[name]
        if value != getattr(SMALL, name)
    ]


# "tie" shows with equal individuals alone, which test_egnas.py has; the others have
# tests of their own in test_revised_options.py
ELSEWHERE = {"tie", "accept", "carried", "eta_schedule", "repeats"}
SEARCH = others(set(VALUES) - set(FITNESS_OPTIONS) - ELSEWHERE)


@pytest.fixture(scope="module")
def variables(toy_net):
    return toy_net.init(jax.random.key(1))


@pytest.fixture(scope="module")
def searched(toy_net, variables, toy_batch, init_of, update_of):
    """Configuration -> state after two updates from one start, with other keys."""

    @functools.cache
    def compiled(config):
        strategy = egnas(toy_net, config)
        return strategy, update_of(strategy)

    def run(config, keys=(0, 1)):
        # configurations that differ in hyperparameters alone share a program
        plain = {name: getattr(SMALL, name) for name in HYPERPARAMS}
        strategy, update = compiled(dataclasses.replace(config, **plain))
        batch = jax.tree.map(lambda leaf: leaf[: config.valid_batch_size], toy_batch)
        state = init_of(strategy, KEY)
        for epoch, key in enumerate(keys):
            state, info = update(
                jax.random.key(key),
                state,
                variables,
                batch,
                config.hyperparams,
                epoch=epoch,
            )
        return state, info

    return run


def differs(a, b):
    return any(jax.tree.leaves(jax.tree.map(lambda x, y: jnp.any(x != y), a, b)))


FITNESS_CASES = [*others(FITNESS_OPTIONS), *FITNESS_NUMBERS.items()]


@pytest.fixture(scope="module")
def populations(toy_net, variables, toy_batch):
    """One population evaluated with the default options and with each other value."""
    key_alpha, key_z = jax.random.split(KEY)
    alpha = unflatten(SPACES["darts7"], jax.random.normal(key_alpha, (196,)))
    configs = {None: SMALL} | {
        (name, value): dataclasses.replace(SMALL, **{name: value})
        for name, value in FITNESS_CASES
    }

    @jax.jit
    def run(z):
        images, labels = toy_batch.images, toy_batch.labels
        populations = [
            evaluate_fitness(toy_net, variables, alpha, z, images, labels, config)
            for config in configs.values()
        ]
        directions = [
            egnas_step_direction(z[0], alpha, config) for config in configs.values()
        ]
        return list(zip(populations, directions, strict=True))

    return dict(zip(configs, run(jax.random.normal(key_z, (6, 196))), strict=True))


@pytest.mark.parametrize("name, value", FITNESS_CASES, ids=str)
def test_every_option_of_the_fitness_changes_an_evaluation(name, value, populations):
    assert differs(populations[name, value], populations[None])


# option -> settings and number of updates under which its values can be told apart
CIRCUMSTANCES = {
    # the term of the fitness that rewards being worse
    "best_sample": (dict(eta=3.0, samples=6, noise=0.5), 2),
    "sigma": (dict(warmup=1), 3),  # counts of epochs and of updates differ
    "samples": ({}, 5),  # the one sample does not win every time
    "centre_noise": (dict(noise=0.5), 2),
    "candidates": (dict(noise=0.5), 2),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, value", [*sorted(SEARCH), *SEARCH_NUMBERS.items()], ids=str
)
def test_every_option_of_the_search_changes_what_it_finds(name, value, searched):
    changes, updates = CIRCUMSTANCES.get(name, ({}, 2))
    config = dataclasses.replace(SMALL, **changes)
    (state, info), (other, other_info) = (
        searched(one, range(updates))
        for one in (config, dataclasses.replace(config, **{name: value}))
    )
    assert differs((state.alpha, info["fitness"]), (other.alpha, other_info["fitness"]))


def test_every_number_is_tested():
    assert {**FITNESS_NUMBERS, **SEARCH_NUMBERS}.keys() == RANGES.keys()


def still(config, **changes):
    return dataclasses.replace(config, noise=0.0, **changes)


@pytest.mark.slow
def test_official_candidates_are_the_same_in_every_epoch_and_paper_ones_are_not(
    searched,
):
    official = [searched(still(OFFICIAL), [key])[0].alpha for key in (0, 7)]
    jax.tree.map(np.testing.assert_array_equal, *official)
    paper = [searched(still(SMALL), [key])[0].alpha for key in (0, 7)]
    assert differs(*paper)


def test_further_generations_and_samples_leave_the_first_as_they_are(toy_net):
    """So that an ablation over either compares like with like."""
    state = state_without_evolutions(SPACES["darts7"], KEY)
    few, many = (
        jax.random.key_data(candidate_keys(config, KEY, state))
        for config in (SMALL, dataclasses.replace(SMALL, generations=3, samples=4))
    )
    np.testing.assert_array_equal(few, many[:2, :2])
    assert len(np.unique(many.reshape(-1, 2), axis=0)) == 12


def test_run_candidates_are_the_same_within_a_run_and_others_in_another(
    toy_net, variables, toy_batch, init_of, update_of
):
    config = still(SMALL, candidates="run")
    strategy = egnas(toy_net, config)
    update = update_of(strategy)

    def first(seed, key):
        state = init_of(strategy, jax.random.key(seed))
        zero = jax.tree.map(jnp.zeros_like, state.alpha)
        state = state.replace(alpha=zero)
        new, _ = update(jax.random.key(key), state, variables, toy_batch)
        return new.alpha

    assert not differs(first(0, 0), first(0, 7))
    assert differs(first(0, 0), first(1, 0))


@pytest.mark.parametrize("candidates", ["constant", "run"])
def test_candidates_do_not_depend_on_the_default_kind_of_keys(candidates):
    config = dataclasses.replace(SMALL, candidates=candidates)
    state = state_without_evolutions(SPACES["darts7"], KEY)
    here = candidate_keys(config, KEY, state)
    with jax.default_prng_impl("rbg"):
        there = candidate_keys(config, KEY, state)
    np.testing.assert_array_equal(*map(jax.random.key_data, (here, there)))


@pytest.mark.slow
def test_sigma_falls_with_the_updates_made_to_its_floor(searched):
    config = dataclasses.replace(SMALL, sigma_floor=0.4, warmup=1)
    expected = [np.inf, 1.0, 0.5, 0.4]  # warming up
    for count, sigma in enumerate(expected, start=1):
        state, info = searched(config, range(count))
        np.testing.assert_allclose(info["sigma"], sigma, rtol=1e-6)
    assert (int(state.updates), int(state.epochs)) == (3, 4)
    by_epoch = dataclasses.replace(SMALL, sigma="by_epoch", warmup=1)
    np.testing.assert_allclose(searched(by_epoch, [0, 1])[1]["sigma"], 0.5, rtol=1e-6)


def test_alpha_does_not_move_in_warm_up(searched):
    config = dataclasses.replace(SMALL, warmup=2)
    start = state_without_evolutions(SPACES["darts7"], KEY)
    state, info = searched(config)
    jax.tree.map(np.testing.assert_array_equal, state.alpha, start.alpha)
    assert jnp.isinf(info["fitness"]) and info["candidate_images"] == 0


def test_the_step_is_momentum_times_velocity_plus_direction(searched):
    """With the direction's row sums zero, both are read from alpha alone."""
    config = dataclasses.replace(SMALL, step=0.1, momentum=0.5)
    start = state_without_evolutions(SPACES["darts7"], KEY).alpha
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


@pytest.mark.slow
def test_the_recorded_images_are_those_that_the_supernet_sees(
    toy_net, variables, toy_batch, init_of, update_of
):
    """Counted by the network itself, for both ways to choose among the samples."""
    for config, forwards in ((SMALL, 2 * 2 * 7), (OFFICIAL, 2 * 7 + 2)):
        seen = []

        def apply(
            variables, images, mixing, train=False, many_mixings=False, seen=seen
        ):
            jax.debug.callback(lambda images: seen.append(len(images)), images)
            return toy_net.apply(variables, images, mixing, train)

        strategy = egnas(toy_net._replace(apply=apply), config)
        update, state = update_of(strategy), init_of(strategy, KEY)
        _, info = update(KEY, state, variables, toy_batch)
        jax.effects_barrier()
        assert sum(seen) == forwards * 24 == info["candidate_images"]


@pytest.mark.parametrize(
    ("width", "options", "message"),
    [
        (197, {}, r"z has shape \(2, 197\), but must be \[P, 196\]; .* pass z\[None\]"),
        (
            196,
            {"fitness_batches": 5},
            "24 images cannot be divided into 5 fitness batches: give a multiple of 5",
        ),
    ],
)
def test_individuals_and_images_that_do_not_fit_are_refused(
    width, options, message, toy_net, variables
):
    alpha, z = unflatten(SPACES["darts7"], jnp.zeros(196)), jnp.zeros((2, width))
    images, labels = jnp.zeros((24, 8, 8, 3)), jnp.zeros(24, jnp.int32)
    config = dataclasses.replace(SMALL, **options)
    with pytest.raises(ValueError, match=message):
        evaluate_fitness(toy_net, variables, alpha, z, images, labels, config)


@pytest.mark.slow
def test_the_quantiles_are_those_of_all_individuals_of_all_samples(
    searched, toy_net, variables, toy_batch, init_of, update_of
):
    """One generation of one sample, evaluated again outside; and the best of many."""
    config = dataclasses.replace(SMALL, samples=1, generations=1)
    strategy = egnas(toy_net, config)
    state = init_of(strategy, KEY)
    _, info = update_of(strategy)(KEY, state, variables, toy_batch)
    method = EGNAS(SPACES["darts7"], config, config.hyperparams)
    z = first_generation(method, KEY, state)[0]
    images, labels = toy_batch.images, toy_batch.labels
    evaluated = evaluate_fitness(
        toy_net, variables, state.alpha, z, images, labels, config
    )
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


def test_an_exploration_without_a_finite_fitness_is_counted_and_moves_nothing(
    toy_net, variables, toy_batch, init_of, update_of
):
    strategy = egnas(toy_net, SMALL)
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, variables)
    start = init_of(strategy, KEY)
    state, _ = update_of(strategy)(KEY, start, broken, toy_batch)
    jax.tree.map(np.testing.assert_array_equal, state.alpha, start.alpha)
    assert (int(state.skipped), int(state.updates)) == (1, 0)
