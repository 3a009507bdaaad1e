"""Individuals that race for batches are chosen as on all batches, at less cost."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax import EGNASConfig, evaluate_fitness, run_search
from egnas_jax.runs.search_config import from_dict, search_config
from egnas_jax.search.racing import Race
from egnas_jax.search.relax import unflatten
from egnas_jax.settings import as_dict
from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas import strategy as strategy_module
from egnas_jax.strategies.egnas.evaluation import (
    evaluate_individuals,
    make_evaluate,
    make_evaluate_each,
)
from egnas_jax.strategies.egnas.method import EGNAS
from egnas_jax.strategies.egnas.raced import race_individuals
from egnas_jax.strategies.egnas.strategy import egnas
from egnas_jax.types import Evaluation

KEY = jax.random.key(0)
SPACE = SPACES["darts7"]
FIXED = EGNASConfig(
    warmup=0,
    population=6,
    samples=2,
    generations=2,
    fitness_batch_size=3,
    fitness_batches=4,
    evolution="sep_cma_es",
)
ONE_ROUND = dataclasses.replace(
    FIXED, fitness_batches="auto", race=Race(budget=4, rounds=1)
)
# 6 on 1 batch, 3 on 2 further ones, 2 on 4 further ones; and alpha on each
RACE = dataclasses.replace(
    FIXED, fitness_batches="auto", race=Race(budget=4, rounds=3, reliability=1.0)
)


@pytest.fixture(scope="module")
def drawn():
    key_alpha, key_z = jax.random.split(KEY)
    alpha = unflatten(SPACE, jax.random.normal(key_alpha, (SPACE.dim,)))
    return alpha, jax.random.normal(key_z, (6, SPACE.dim))


def method_of(config):
    return EGNAS(SPACE, config, config.hyperparams)


def table_of(seed, batches):
    """Made-up scores of alpha and six individuals: loss and correct of 100, [M, 7]."""
    rng = np.random.default_rng(seed)
    loss = rng.uniform(1.0, 2.0, (batches, 7)).astype(np.float32)
    return loss, rng.integers(40, 60, (batches, 7)).astype(np.int32)


def raced_table(config, drawn, seed=0):
    """A race whose individuals score as in a table; they are found by their mixing."""
    alpha, z = drawn
    loss, correct = table_of(seed, config.num_batches)

    def evaluate_each(mixings, batches):
        every = jax.nn.softmax(jnp.concatenate([alpha["normal"][None], rows_of(z)]))
        apart = mixings.primitives["normal"][:, None] - every[None]
        who = jnp.argmin(jnp.sum(apart**2, axis=(2, 3)), axis=1)
        scores = (jnp.asarray(part)[batches][:, who] for part in (loss, correct))
        return Evaluation(*scores, accuracy=jnp.zeros(()))

    race_all = functools.partial(race_individuals, method_of(config), evaluate_each)
    return jax.jit(race_all)(alpha, z)


def rows_of(z):
    return unflatten(SPACE, z)["normal"]


@pytest.mark.parametrize("sign", ["paper", "centred", "off"])
def test_alpha_is_compared_on_the_images_that_an_individual_has_seen(drawn, sign):
    """All of a race computed by loops over a table of scores."""
    config = dataclasses.replace(RACE, sign=sign)
    evaluated = raced_table(config, drawn)
    loss, correct = table_of(0, 7)
    similarity = np.asarray(evaluated.similarity, np.float64)
    if sign == "centred":
        similarity = similarity - similarity.mean()
    left, batches, fitness = list(range(6)), np.zeros(6, int), np.zeros(6)
    for size, seen in ((6, 1), (3, 3), (2, 7)):
        left = left[:size]
        for place in left:
            own, current = (correct[:seen, i].sum() for i in (1 + place, 0))
            push = 0.0 if sign == "off" else (1.0 if own >= current else -1.0)
            mean = loss[:seen, 1 + place].astype(np.float64).mean()
            fitness[place] = mean + push * 0.4 * similarity[place]
            batches[place] = seen
        left.sort(key=lambda place: fitness[place])
    np.testing.assert_allclose(evaluated.fitness, fitness, rtol=1e-5)
    np.testing.assert_array_equal(evaluated.race.batches, batches)
    assert evaluated.winner == left[0]
    assert evaluated.correct_current == correct[:, 0].sum()
    own = [correct[:seen, 1 + place].sum() for place, seen in enumerate(batches)]
    np.testing.assert_array_equal(evaluated.correct, own)
    means = [loss[:seen, 1 + place].mean() for place, seen in enumerate(batches)]
    np.testing.assert_allclose(evaluated.cross_entropy, means, rtol=1e-5)
    # 7 mixings on 1 batch, 4 on 2 and 3 on 4
    assert evaluated.race.evaluations == 7 + 4 * 2 + 3 * 4


def test_the_strategy_is_told_ranks_in_which_those_that_dropped_out_are_last(drawn):
    evaluated = raced_table(RACE, drawn)
    batches, ranking = evaluated.race.batches, np.asarray(evaluated.ranking)
    np.testing.assert_array_equal(np.sort(ranking), np.arange(6))
    assert ranking[evaluated.winner] == 0
    np.testing.assert_array_equal(batches[np.argsort(ranking)], [7, 7, 3, 1, 1, 1])


def test_one_round_is_a_fitness_on_all_its_batches(toy_net, toy_batch, drawn):
    """Bit for bit, with the toy supernet."""
    alpha, z = drawn
    variables = toy_net.init(jax.random.key(1))
    batch = jax.tree.map(lambda leaf: leaf[:12], toy_batch)
    assert ONE_ROUND.valid_batch_size == FIXED.valid_batch_size == 12
    assert ONE_ROUND.images_evaluated == FIXED.images_evaluated

    @jax.jit
    def run(z):
        each = make_evaluate_each(toy_net, variables, batch, ONE_ROUND)
        pooled = make_evaluate(toy_net, variables, batch, FIXED)
        return (
            race_individuals(method_of(ONE_ROUND), each, alpha, z),
            evaluate_individuals(method_of(FIXED), pooled, alpha, z),
        )

    raced, fixed = run(z)
    for name in ("cross_entropy", "fitness"):  # a mean and a sum that is divided
        np.testing.assert_allclose(getattr(raced, name), getattr(fixed, name), 1e-6)
    for name in ("correct", "correct_current", "similarity", "winner"):
        np.testing.assert_array_equal(getattr(raced, name), getattr(fixed, name))
    np.testing.assert_array_equal(
        raced.race.rank, np.argsort(np.argsort(fixed.fitness))
    )


@pytest.mark.slow
def test_searches_of_one_round_are_those_with_that_number_of_batches(
    toy_net, toy_batch, init_of, update_of
):
    variables = toy_net.init(jax.random.key(1))
    batch = jax.tree.map(lambda leaf: leaf[:12], toy_batch)
    alphas = []
    for config in (FIXED, ONE_ROUND):
        strategy = egnas(toy_net, config)
        update, state = update_of(strategy), init_of(strategy, KEY)
        for key in range(2):
            state, info = update(jax.random.key(key), state, variables, batch)
        assert info["candidate_images"] == 2 * 2 * 7 * 12
        alphas.append(state.alpha)
    jax.tree.map(np.testing.assert_array_equal, *alphas)


@pytest.mark.slow
@pytest.mark.parametrize("best_sample", ["fitness", "accuracy"])
def test_the_recorded_images_of_a_race_are_those_that_the_supernet_sees(
    toy_net, toy_batch, init_of, update_of, best_sample
):
    """Counted by the network itself, with races of which some end early."""
    race = dataclasses.replace(RACE.race, reliability=0.8)
    config = dataclasses.replace(RACE, race=race, best_sample=best_sample)
    seen = []

    def apply(variables, images, mixing, train=False, many_mixings=False):
        jax.debug.callback(lambda images: seen.append(len(images)), images)
        return toy_net.apply(variables, images, mixing, train)

    strategy = egnas(toy_net._replace(apply=apply), config)
    batch = jax.tree.map(lambda leaf: leaf[: config.valid_batch_size], toy_batch)
    update, state = update_of(strategy), init_of(strategy, KEY)
    variables = toy_net.init(jax.random.key(1))
    _, info = update(KEY, state, variables, batch)
    jax.effects_barrier()
    assert sum(seen) == info["candidate_images"] < config.images_evaluated
    assert 1 < info["race_rounds"] < 3
    assert 0 <= info["fitness_accuracy"] <= 1


def test_a_number_of_batches_traces_no_race(
    toy_net, toy_batch, init_of, update_of, monkeypatch
):
    def fail(*arguments):
        raise AssertionError("a race was traced")

    monkeypatch.setattr(strategy_module, "make_evaluate_each", fail)
    monkeypatch.setattr("egnas_jax.strategies.egnas.explore.race_individuals", fail)
    variables = toy_net.init(KEY)
    for config, is_raced in ((FIXED, False), (RACE, True)):
        strategy, size = egnas(toy_net, config), config.valid_batch_size
        batch = jax.tree.map(lambda leaf, size=size: leaf[:size], toy_batch)
        update, state = update_of(strategy), init_of(strategy, KEY)
        trace = functools.partial(jax.eval_shape, update, KEY, state, variables, batch)
        if is_raced:
            with pytest.raises(AssertionError, match="a race was traced"):
                trace()
        else:
            trace()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"race.budget": 8}, "strategy.race.* are set, but strategy.fitness_batches"),
        ({"fitness_batches": "many"}, "strategy.fitness_batches is 'many'"),
        ({"fitness_batches": "1.5"}, "strategy.fitness_batches is '1.5'"),
        ({"fitness_batches": 0}, "strategy.fitness_batches is 0"),
        ({"fitness_batches": "auto", "race.keep": 1.0}, "strategy.race.keep is 1.0"),
        (
            {"fitness_batches": "auto", "race.rounds": 5, "race.budget": 9},
            "strategy.race.rounds is 5",
        ),
        ({"fitness_batches": 1.5}, "takes a whole number or a word, got 1.5"),
        ({"fitness_batches": True}, "takes a whole number, got True"),
        ({"fitness_batches": "auto", "race.budget": 2}, "strategy.race.budget is 2"),
        ({"fitness_batches": "auto", "weight_grid": True}, "strategy.weight_grid"),
        ({"fitness_batches": "auto", "race.kept": 0.5}, "strategy.race.kept"),
    ],
)
def test_settings_that_no_race_can_have_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        search_config(
            "digits", settings={f"strategy.{k}": v for k, v in settings.items()}
        )


@pytest.mark.parametrize("value, number", [("3", 3), (3, 3), ("auto", "auto")])
def test_a_number_or_the_word_is_read_and_stored(value, number):
    config = search_config("digits", settings={"strategy.fitness_batches": value})
    assert config.strategy.fitness_batches == number
    stored = json.loads(json.dumps(as_dict(config)))
    assert from_dict(stored) == config
    del stored["strategy"]["race"]  # as runs have it that began before there were races
    assert from_dict(stored) == config


def test_a_budget_that_the_validation_images_do_not_hold_is_refused():
    """16 and alpha: 20 * 17 evaluations for each round, so 20, 37 and 69 batches."""
    settings = {"strategy.fitness_batches": "auto", "strategy.race.budget": 60}
    config = search_config("digits", settings=settings)
    assert config.strategy.valid_batch_size == 32 * (20 + 37 + 69)
    message = "of an update is 4032; allowed is 1 to 719.*as a race needs.*race.budget"
    with pytest.raises(ValueError, match=message):
        run_search(config, out=None)


def test_a_fitness_on_given_images_takes_no_race(toy_net, toy_batch, drawn):
    alpha, z = drawn
    variables, (images, labels) = (
        toy_net.init(KEY),
        (toy_batch.images, toy_batch.labels),
    )
    with pytest.raises(ValueError, match="on_one_batch"):
        evaluate_fitness(toy_net, variables, alpha, z, images, labels, RACE)
    assert RACE.on_one_batch() == dataclasses.replace(FIXED, fitness_batches=1)
