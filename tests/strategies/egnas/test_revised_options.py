"""What an exploration takes over from the last one, and which steps alpha takes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax import EGNASConfig
from egnas_jax.evolution import EVOLUTIONS, Evolution, sep_cma_es
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.search.relax import flatten, softmax_mixing, unflatten
from egnas_jax.space import SPACES, Space
from egnas_jax.strategies.egnas.config import HYPERPARAMS
from egnas_jax.strategies.egnas.explore import explore
from egnas_jax.strategies.egnas.fitness import compound_fitness
from egnas_jax.strategies.egnas.individuals import derived_cells
from egnas_jax.strategies.egnas.method import EGNAS
from egnas_jax.strategies.egnas.sampling import (
    draw_individuals,
    first_generation,
    initial_state,
)
from egnas_jax.strategies.egnas.strategy import egnas
from egnas_jax.types import Evaluation

SPACE = SPACES["nasbench201"]
SMALL = EGNASConfig(
    population=6,
    samples=1,
    generations=1,
    noise=0.0,
    sign="off",
    evolution="sep_cma_es",  # compiles fastest
)
KEY = jax.random.key(0)


def evaluate(mixings):
    """Counts edges whose largest entry is the third primitive; ties are many."""
    rows = mixings.primitives["cell"]
    hits = jnp.sum(jnp.argmax(rows, axis=-1) == 3, axis=-1, dtype=jnp.int32)
    return Evaluation(loss=1.0 - hits / 6, correct=hits, accuracy=hits / 6)


@functools.cache
def program(config):
    """(hyperparams, key, state) -> state, exploration."""

    def one(hyperparams, key, state):
        return explore(EGNAS(SPACE, config, hyperparams), evaluate, key, state)

    return jax.jit(one)


def begun(config):
    return initial_state(EGNAS(SPACE, config, config.hyperparams), KEY)


def run(config, keys=(0,), state=None):
    """The state after some explorations, and the last one."""
    state = begun(config) if state is None else state
    # configurations that differ in hyperparameters alone share a program
    plain = {name: getattr(SMALL, name) for name in HYPERPARAMS}
    step = program(dataclasses.replace(config, **plain))
    hyperparams = jax.tree.map(np.float32, config.hyperparams)
    for key in keys:
        state, exploration = step(hyperparams, jax.random.key(key), state)
    return state, exploration


def with_alpha(state, choices, scale=1.0):
    rows = scale * jax.nn.one_hot(jnp.asarray(choices), 5)
    return state.replace(alpha={"cell": rows})


def test_by_default_nothing_is_carried():
    state, _ = run(SMALL)
    assert state.evolutions is None
    assert len(jax.tree.leaves(state)) == 6


def test_all_that_is_carried_makes_explorations_generations_of_one_evolution():
    """Two explorations ask and tell as two generations by hand do."""
    config = dataclasses.replace(SMALL, carried="all", sigma="own", sigma_start=0.5)
    first = begun(config)
    evolution = sep_cma_es(SPACE.dim, 6)
    by_hand = evolution.init(flatten(SPACE, first.alpha), 0.5)
    state = first
    for key in (0, 1):
        state, exploration = run(config, [key], state)
        z = exploration.z[0, 0]
        np.testing.assert_allclose(exploration.sigma, by_hand.sigma, rtol=1e-5)
        by_hand = evolution.tell(by_hand, z, exploration.populations.fitness[0, 0])
    for name in ("mean", "sigma", "C", "p_sigma", "p_c"):
        carried = getattr(state.evolutions, name)[0]
        np.testing.assert_allclose(
            carried, getattr(by_hand, name), rtol=1e-4, atol=1e-5
        )
    assert int(by_hand.generation) == int(state.evolutions.generation[0]) == 2


def test_all_that_is_carried_begins_where_the_centre_and_its_noise_say():
    carried = dataclasses.replace(SMALL, carried="all", centre="one_hot")
    (mean,) = begun(carried).evolutions.mean
    assert set(np.unique(mean)) == {0.0, 1.0}
    (noisy,) = begun(dataclasses.replace(carried, noise=0.1)).evolutions.mean
    assert 0.01 < np.std(noisy - mean) < 0.3
    alone = dataclasses.replace(carried, centre="alpha")
    np.testing.assert_array_equal(
        begun(alone).evolutions.mean[0], flatten(SPACE, begun(alone).alpha)
    )


def test_an_exploration_without_a_finite_fitness_leaves_what_is_carried():
    config = dataclasses.replace(SMALL, carried="all", sigma="own", sigma_start=0.5)
    first = begun(config)

    def unknown(mixings):
        found = evaluate(mixings)
        return found.replace(loss=found.loss * jnp.nan)

    method = EGNAS(SPACE, config, config.hyperparams)
    state, _ = jax.jit(lambda key: explore(method, unknown, key, first))(KEY)
    jax.tree.map(np.testing.assert_array_equal, state.evolutions, first.evolutions)
    assert int(state.skipped) == 1


@pytest.mark.slow
def test_a_sample_without_a_fitness_leads_no_exploration():
    """Although softmax(q) of its leader is the best of the two samples."""
    config = dataclasses.replace(SMALL, samples=2, best_sample="accuracy")
    method, state = EGNAS(SPACE, config, config.hyperparams), begun(config)
    z = unflatten(SPACE, first_generation(method, KEY, state))
    drawn = softmax_mixing(z).primitives["cell"]

    @jax.jit
    def explored(broken):
        def evaluate_with_nan(mixings):
            rows, scores = mixings.primitives["cell"], evaluate(mixings)
            if len(rows) == 2:  # softmax(q) of both leaders
                correct = jnp.where(jnp.arange(2) == broken, 6, 1)
                return Evaluation(scores.loss, correct, correct / 6)
            is_broken = jnp.all(jnp.abs(rows[1:] - drawn[broken]) < 1e-5)
            loss = jnp.where(is_broken, jnp.nan, scores.loss)
            return Evaluation(loss, scores.correct, scores.accuracy)

        return explore(method, evaluate_with_nan, KEY, state)

    for broken in (0, 1):
        new, exploration = explored(broken)
        without = np.isinf(exploration.leaders.fitness)
        assert without.tolist() == [broken == 0, broken == 1]
        assert (int(new.updates), int(new.skipped)) == (1, 0)
        np.testing.assert_array_equal(
            exploration.best.z, exploration.leaders.z[1 - broken]
        )


@pytest.mark.slow
def test_a_carried_shape_is_around_alpha_with_the_sigma_of_the_schedule():
    config = dataclasses.replace(SMALL, carried="shape", sigma_floor=0.0)
    state, _ = run(config, (0, 1))
    moved = state.replace(alpha={"cell": state.alpha["cell"] + 5.0})
    z = first_generation(EGNAS(SPACE, config, config.hyperparams), KEY, moved)[0]
    # sigma is 1 / 3, so the mean is far from the carried one
    np.testing.assert_allclose(z.mean(), flatten(SPACE, moved.alpha).mean(), atol=0.3)
    _, exploration = run(config, [2], state)
    np.testing.assert_allclose(exploration.sigma, 1 / 3, rtol=1e-6)
    assert np.abs(state.evolutions.C[0] - 1.0).max() > 1e-3


@pytest.mark.slow
def test_sigma_of_its_own_alone_is_carried_beside_a_new_shape():
    config = dataclasses.replace(SMALL, sigma="own")
    one, first = run(config)
    _, second = run(config, [1], one)
    assert float(first.sigma) == 1.0
    assert float(second.sigma) == float(one.evolutions.sigma[0]) != 1.0
    fresh = first_generation(EGNAS(SPACE, config, config.hyperparams), KEY, one)[0]
    method = EGNAS(SPACE, SMALL, SMALL.hyperparams)
    unscaled = np.asarray(first_generation(method, KEY, begun(SMALL))[0])
    noise = unscaled - np.asarray(flatten(SPACE, begun(SMALL).alpha))
    centre, sigma = np.asarray(flatten(SPACE, one.alpha)), one.evolutions.sigma[0]
    np.testing.assert_allclose(
        fresh, centre + np.asarray(sigma) * noise, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "accept, current, moves",
    [
        ("any", 6, True),
        ("as_good", 6, False),
        ("better", 6, False),
        ("as_good", 0, True),
        ("better", 0, True),
    ],
)
def test_alpha_steps_only_along_individuals_that_it_accepts(accept, current, moves):
    """Alpha has `current` right of six, and individuals some between."""
    settings = dict(accept=accept, direction="z_minus_alpha", step=1.0)
    config = dataclasses.replace(SMALL, **settings, momentum=0.5, sigma_start=0.9)
    state = with_alpha(begun(config), [3] * current + [0] * (6 - current), 0.1)
    new, exploration = run(config, [0], state)
    assert 0 < int(exploration.best.correct) < 6
    assert int(exploration.best.correct_current) == current
    expected = unflatten(SPACE, exploration.best.z) if moves else state.alpha
    np.testing.assert_allclose(new.alpha["cell"], expected["cell"], atol=1e-6)
    assert bool(jnp.any(new.velocity["cell"] != 0)) is moves
    assert (int(new.updates), int(new.skipped)) == (1, 0)


def test_an_equal_individual_is_as_good_and_no_better():
    choices = [0, 1, 2, 4, 0, 1]  # none is right, and sigma changes none
    for accept, moves in (("as_good", True), ("better", False)):
        config = dataclasses.replace(SMALL, accept=accept, sigma_start=1e-3)
        state = with_alpha(begun(config), choices)
        new, _ = run(config, [0], state)
        assert bool(jnp.any(new.alpha["cell"] != state.alpha["cell"])) is moves


def test_a_one_hot_centre_depends_on_the_largest_entries_alone():
    config = dataclasses.replace(SMALL, centre="one_hot", sigma_start=1e-3)
    method = EGNAS(SPACE, config, config.hyperparams)
    choices = [0, 1, 2, 3, 4, 0]
    for scale in (1.0, 30.0):
        z = first_generation(method, KEY, with_alpha(begun(config), choices, scale))
        expected = flatten(SPACE, {"cell": jax.nn.one_hot(jnp.asarray(choices), 5)})
        np.testing.assert_allclose(z[0], np.tile(expected, (6, 1)), atol=0.1)


def test_repeats_are_redrawn_as_far_as_there_are_other_cells():
    """At sigma 0.4 many individuals repeat alpha's cell or one another's."""
    alpha = (0,) * 6

    def cells_of(sigma, repeats):
        settings = dict(centre="one_hot", sigma_start=sigma, repeats=repeats)
        config = dataclasses.replace(SMALL, **settings, population=12)
        method = EGNAS(SPACE, config, config.hyperparams)
        z = first_generation(method, KEY, with_alpha(begun(config), alpha))[0]
        cells = derived_cells(SPACE, unflatten(SPACE, z)).primitives["cell"]
        return [tuple(row) for row in np.argmax(cells, axis=-1).tolist()]

    kept, redrawn = cells_of(0.4, "kept"), cells_of(0.4, "redrawn")
    assert len(set(kept) - {alpha}) < 12
    assert len(redrawn) == len(set(redrawn) - {alpha}) == 12
    assert set(cells_of(1e-3, "redrawn")) == {alpha}


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"repeats": "redrawn"},
            "space own derives .*repeats=redrawn .* set it to kept",
        ),
        (
            {"fitness": "proxy:params"},
            "space own derives .*fitness=proxy:params .* out",
        ),
    ],
)
def test_a_function_that_derives_cells_is_not_taken_for_a_rule(
    changes, message, monkeypatch
):
    space = dataclasses.replace(SPACE, name="own", derive=lambda space, mixing: None)
    monkeypatch.setitem(SPACES, "own", space)
    net = make_supernet(SupernetConfig(space="own", layers=5, partial_channels=1))
    egnas(net, SMALL)
    with pytest.raises(ValueError, match=message):
        egnas(net, dataclasses.replace(SMALL, **changes))


def test_eta_falls_with_the_updates():
    config = dataclasses.replace(SMALL, sign="paper", eta=0.8, eta_schedule="by_update")
    state, _ = run(config)
    before = state
    _, exploration = run(config, [1], state)
    population = jax.tree.map(lambda leaf: leaf[0, 0], exploration.populations)
    for eta, is_equal in ((0.4, True), (0.8, False)):
        expected = compound_fitness(
            population.cross_entropy,
            population.correct,
            population.similarity,
            correct_current=population.correct_current,
            zeta=1.0,
            eta=eta,
        )
        assert np.allclose(population.fitness, expected, rtol=1e-5) is is_equal
    assert int(before.updates) == 1


@pytest.mark.parametrize("setting", [{"carried": "shape"}, {"sigma": "own"}])
def test_a_strategy_without_mean_and_sigma_carries_nothing(setting, monkeypatch):
    def make(dim, population_size):
        return Evolution(
            init=lambda mean, sigma: (mean, sigma),
            ask=lambda key, state: state[0][None] + jnp.zeros((population_size, 1)),
            tell=lambda state, solutions, fitness: state,
        )

    monkeypatch.setitem(EVOLUTIONS, "bare", make)
    EGNASConfig(evolution="bare")  # known from now on
    with pytest.raises(ValueError, match="bare have no mean and no sigma"):
        EGNASConfig(evolution="bare", **setting)


@pytest.mark.parametrize("name", sorted(EVOLUTIONS))
def test_a_constant_step_size_is_not_carried_as_an_adapted_one(name):
    EGNASConfig(evolution=name)
    if name == "open_es":
        with pytest.raises(ValueError, match="open_es never changes its step size"):
            EGNASConfig(evolution=name, sigma="own")
    else:
        EGNASConfig(evolution=name, sigma="own")


def test_an_unknown_evolution_strategy_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="strategy.evolution 'cma'.*mean cma_es.*open"):
        EGNASConfig(evolution="cma")


def test_cells_that_differ_at_edges_they_lack_are_repeats():
    """In the DARTS family a cell has two edges a node, and others do not count."""
    primitives = ("avg_pool_3x3", "skip_connect", "sep_conv_3x3")
    space = Space("two_nodes", primitives=primitives, num_nodes=2)
    alpha = {
        kind: jax.random.normal(jax.random.key(i), (space.num_edges, 3))
        for i, kind in enumerate(space.kinds)
    }
    config = dataclasses.replace(SMALL, repeats="redrawn", population=2)
    method = EGNAS(space, config, config.hyperparams)
    chosen = derived_cells(space, {k: rows[None] for k, rows in alpha.items()})
    lacks = {kind: int(jnp.argmin(chosen.edges[kind][0])) for kind in space.kinds}
    # the first is another cell only at an edge that is not kept, the second really
    weak = {k: rows.at[lacks[k]].set(rows[lacks[k]][::-1]) for k, rows in alpha.items()}
    other = {k: -rows for k, rows in alpha.items()}
    assert not any(chosen.edges[kind][0, lacks[kind]] for kind in space.kinds)
    drawn = jnp.stack([flatten(space, weak), flatten(space, other)])
    evolution = Evolution(None, lambda key, es: drawn, None)
    draw = jax.jit(lambda key: draw_individuals(method, evolution, key, None, alpha))
    population = draw(KEY)
    np.testing.assert_array_equal(population[0], drawn[1])
    np.testing.assert_array_equal(population[1], drawn[0])
