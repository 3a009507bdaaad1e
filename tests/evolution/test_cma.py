"""CMA-ES against recorded and live runs of the package `cmaes`."""

import cmaes
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.evolution import cma_constants, cma_es
from egnas_jax.evolution.cma import decompose

KEY = jax.random.key(0, impl="threefry2x32")


def assert_agrees(state, mean, sigma, C, p_sigma, p_c, rtol):
    """Each part to `rtol` of its largest value, since float32 rounds the sums."""
    wanted = {"mean": mean, "sigma": sigma, "C": C, "p_sigma": p_sigma, "p_c": p_c}
    for name, value in wanted.items():
        atol = rtol * np.max(np.abs(value))
        found = np.asarray(getattr(state, name))
        np.testing.assert_allclose(found, value, rtol=0, atol=atol, err_msg=name)


def test_constants_for_the_darts_space():
    constants = cma_constants(196, 50)
    assert constants.mu == 25
    figures = constants._asdict()
    for name, value in {
        "mu_eff": 13.9513,
        "c1": 5.136e-5,
        "c_mu": 6.131e-4,
        "c_sigma": 0.0742,
        "d_sigma": 1.0742,
        "c_c": 0.0203,
        "chi_n": 13.9822,
    }.items():
        assert figures[name] == pytest.approx(value, rel=3e-3), name
    weights = constants.weights
    assert np.all(np.diff(weights) < 0)
    assert np.sum(weights[:25]) == pytest.approx(1.0)
    assert weights[0] / weights[1] == pytest.approx(
        np.log(25.5) / (np.log(25.5) - np.log(2))
    )


@pytest.mark.parametrize("dim", [1, 2, 20, 196])
@pytest.mark.parametrize("population_size", [2, 3, 4, 15, 50, 101])
@pytest.mark.filterwarnings("ignore:divide by zero")  # the package, with one parent
def test_constants_are_those_of_the_package(dim, population_size):
    oracle = cmaes.CMA(np.zeros(dim), 1.0, population_size=population_size)
    found = cma_constants(dim, population_size)
    np.testing.assert_allclose(found.weights, oracle._weights, rtol=1e-9, atol=1e-12)
    pairs = [
        (found.mu_eff, oracle._mu_eff),
        (found.c1, oracle._c1),
        (found.c_mu, oracle._cmu),
        (found.c_sigma, oracle._c_sigma),
        (found.d_sigma, oracle._d_sigma),
        (found.c_c, oracle._cc),
        (found.chi_n, oracle._chi_n),
    ]
    np.testing.assert_allclose(*zip(*pairs, strict=True), rtol=1e-9, atol=1e-12)


def test_eight_recorded_generations_agree(load_golden):
    trace = load_golden("cma_trace")
    evolution = cma_es(20, 12)
    tell = jax.jit(evolution.tell)
    state = evolution.init(trace["initial_mean"], float(trace["initial_sigma"]))
    for g in range(8):
        state = tell(
            state,
            jnp.asarray(trace["solutions"][g], jnp.float32),
            jnp.asarray(trace["values"][g], jnp.float32),
        )
        parts = [trace[name][g] for name in ("mean", "sigma", "C", "p_sigma", "pc")]
        assert_agrees(state, *parts, rtol=1e-5)
    assert int(state.generation) == 8


def test_a_recorded_exploration_of_the_darts_space_agrees(load_golden):
    record = load_golden("explore_k2_c8_l3")
    evolution = cma_es(196, 50)
    state = evolution.tell(
        evolution.init(record["mean"], 1.0),
        jnp.asarray(record["z"], jnp.float32),
        jnp.asarray(record["fitness"], jnp.float32),
    )
    names = ("cma_mean", "cma_sigma", "cma_C", "cma_p_sigma", "cma_pc")
    assert_agrees(state, *(record[name] for name in names), rtol=1e-5)


def test_the_package_agrees_over_generations_of_our_samples():
    mean = np.linspace(-1.0, 1.0, 196)
    evolution, oracle = cma_es(196, 50), cmaes.CMA(mean, 0.5, population_size=50)
    ask, tell = jax.jit(evolution.ask), jax.jit(evolution.tell)
    state = evolution.init(mean, 0.5)
    for generation in range(4):
        solutions = ask(jax.random.fold_in(KEY, generation), state)
        values = jnp.sum(solutions**2 * (1.0 + jnp.arange(196.0))[None, :], axis=1)
        state = tell(state, solutions, values)
        numbers = np.asarray(solutions, np.float64)
        oracle.tell(list(zip(numbers, np.asarray(values, np.float64), strict=True)))
    parts = oracle._mean, oracle._sigma, oracle._C, oracle._p_sigma, oracle._pc
    assert_agrees(state, *parts, rtol=2e-5)


def test_a_long_path_stalls_the_rank_one_update_as_in_the_package():
    # Every step points the same way, so that the path outgrows its limit.
    evolution, oracle = cma_es(3, 6), cmaes.CMA(np.zeros(3), 1.0, population_size=6)
    state, stalled = evolution.init(np.zeros(3), 1.0), False
    spread = np.linspace(0.0, 1.0, 18).reshape(6, 3)
    for generation in range(12):
        solutions = np.float32(4.0**generation * (1.0 + spread))
        state = evolution.tell(state, jnp.asarray(solutions), jnp.arange(6.0))
        oracle.tell([(np.float64(x), float(i)) for i, x in enumerate(solutions)])
        length = np.linalg.norm(oracle._p_sigma) / oracle._chi_n
        settled = np.sqrt(1 - (1 - oracle._c_sigma) ** (2 * (generation + 2)))
        stalled |= bool(length / settled >= 1.4 + 2 / 4)
        parts = oracle._mean, oracle._sigma, oracle._C, oracle._p_sigma, oracle._pc
        assert_agrees(state, *parts, rtol=1e-4)
    assert stalled


def test_the_limit_of_the_first_path_is_that_of_the_package():
    evolution, spread = cma_es(3, 6), np.linspace(0.5, 1.0, 18).reshape(6, 3)
    state, moved = evolution.init(np.zeros(3), 1.0), []
    for scale in np.geomspace(0.5, 8.0, 30):
        oracle = cmaes.CMA(np.zeros(3), 1.0, population_size=6)
        solutions = np.float32(scale * spread)
        oracle.tell([(np.float64(x), float(i)) for i, x in enumerate(solutions)])
        told = evolution.tell(state, jnp.asarray(solutions), jnp.arange(6.0))
        np.testing.assert_allclose(told.p_c, oracle._pc, rtol=1e-5)
        moved.append(bool(np.any(oracle._pc)))
    assert moved == sorted(moved, reverse=True)  # up to the limit, and not beyond
    assert any(moved)
    assert not all(moved)


def test_an_eigenvalue_that_is_not_positive_is_replaced():
    C, axes, lengths = decompose(jnp.diag(jnp.array([4.0, -1e-3, 1.0])))
    np.testing.assert_allclose(np.sort(lengths), [1e-4, 1.0, 2.0], rtol=1e-5)
    np.testing.assert_allclose(C, np.diag([4.0, 1e-8, 1.0]), atol=1e-6)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)


def test_samples_follow_the_covariance():
    root = jnp.array([[2.0, 0.0, 0.0], [1.5, 0.5, 0.0], [-0.3, 0.8, 1.0]])
    C, axes, lengths = decompose(root @ root.T)
    evolution = cma_es(3, 20000)
    state = evolution.init(jnp.array([3.0, -1.0, 0.0]), 0.5)
    state = state._replace(C=C, axes=axes, lengths=lengths)
    solutions = np.asarray(evolution.ask(KEY, state))
    np.testing.assert_allclose(solutions.mean(axis=0), [3.0, -1.0, 0.0], atol=0.03)
    np.testing.assert_allclose(np.cov(solutions.T), 0.25 * C, atol=0.03)


def test_which_axes_a_decomposition_chose_does_not_show_in_the_samples():
    """Where eigenvalues are equal, any rotation of theirs serves as well."""
    evolution = cma_es(5, 4)
    state = evolution.init(jnp.arange(5.0), 0.25)
    turned, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(1), (5, 5)))
    samples = evolution.ask(KEY, state)
    other = evolution.ask(KEY, state._replace(axes=turned))
    np.testing.assert_allclose(other, samples, rtol=1e-5, atol=1e-5)


def test_the_first_generation_is_the_mean_plus_scaled_normal_noise():
    evolution = cma_es(5, 4)
    state = evolution.init(jnp.arange(5.0), 0.25)
    noise = jax.random.normal(KEY, (4, 5))
    wanted = jnp.arange(5.0)[None, :] + 0.25 * noise
    np.testing.assert_allclose(evolution.ask(KEY, state), wanted, rtol=1e-6)


@pytest.mark.parametrize("told", [False, True])
def test_only_a_tell_that_is_read_decomposes(told):
    evolution = cma_es(6, 4)

    @jax.jit
    def explore(key):
        state = evolution.init(jnp.zeros(6), 1.0)
        solutions = evolution.ask(key, state)
        after = evolution.tell(state, solutions, jnp.sum(solutions**2, axis=1))
        return (solutions, after) if told else solutions

    assert ("syevd" in explore.lower(KEY).compile().as_text()) == told


def test_correlated_variables_are_learned():
    # A rotated ellipsoid: its long axis (1, 1) lies between the coordinates.
    evolution = cma_es(2, 12)

    def generation(state, key):
        solutions = evolution.ask(key, state)
        x, y = solutions.T
        values = (x + y) ** 2 + 1e4 * (x - y) ** 2
        return evolution.tell(state, solutions, values), None

    state = evolution.init(jnp.array([3.0, -1.0]), 1.0)
    state, _ = jax.lax.scan(generation, state, jax.random.split(KEY, 60))
    correlation = state.C[0, 1] / jnp.sqrt(state.C[0, 0] * state.C[1, 1])
    assert correlation > 0.99  # steps along (1, -1) cost 1e4 times as much
