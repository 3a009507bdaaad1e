"""The options of EG-NAS, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax import EGNASConfig, search_config
from egnas_jax.evolution.shaping import best
from egnas_jax.search.relax import unflatten
from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas.fitness import compound_fitness, similarity
from egnas_jax.strategies.egnas.individuals import individual_rows
from egnas_jax.strategies.egnas.step import egnas_step_direction


def fitness(sign):
    return compound_fitness(
        jnp.array([1.0, 1.0]),
        jnp.array([9, 1]),
        jnp.array([0.5, 0.7]),
        correct_current=jnp.array(5),
        zeta=2.0,
        eta=0.4,
        sign=sign,
    )


def test_better_individuals_are_pushed_away_and_worse_pulled():
    np.testing.assert_allclose(fitness("paper"), [2.2, 1.72], rtol=1e-6)
    np.testing.assert_allclose(fitness("centred"), [1.96, 1.96], rtol=1e-6)
    np.testing.assert_allclose(fitness("off"), [2.0, 2.0], rtol=1e-6)


def test_similarity_is_one_for_equal_a_half_for_orthogonal_zero_for_opposite():
    a = {"normal": jnp.array([[1.0, 0.0]]), "reduce": jnp.array([[0.0, 2.0]])}
    b = {"normal": jnp.array([[0.0, 1.0]]), "reduce": jnp.array([[1.0, 0.0]])}
    opposite = {kind: -row for kind, row in a.items()}
    values = [similarity(a, other) for other in (a, b, opposite)]
    np.testing.assert_allclose(values, [1.0, 0.5, 0.0], atol=1e-6)


def test_ties_and_nan():
    values = jnp.array([jnp.nan, 1.0, 0.5, 0.5])
    assert best(values, "first") == 2
    assert best(values, "last") == 3


def test_direction_of_the_paper_sums_to_zero_and_official_is_softmaxed_twice():
    z = {"normal": jnp.array([[3.0, 4.0]])}
    s = egnas_step_direction(z, z, EGNASConfig())
    np.testing.assert_allclose(jnp.sum(s["normal"]), 0.0, atol=1e-6)
    official = EGNASConfig.variant("official")
    q = individual_rows(z, official)["normal"][0]
    expected = np.exp([0.6, 0.8]) / np.exp([0.6, 0.8]).sum()
    np.testing.assert_allclose(q, expected, rtol=1e-6)
    twice = np.exp(expected) / np.exp(expected).sum()
    s = egnas_step_direction(z, z, official)["normal"][0]
    np.testing.assert_allclose(s, twice, rtol=1e-6)


def test_a_flat_individual_has_the_direction_of_its_rows():
    for name in ("darts7", "nasbench201"):
        space = SPACES[name]
        rows = {
            kind: jnp.arange(space.num_edges * 7.0).reshape(-1, 7)[:, :5] + i
            for i, kind in enumerate(space.kinds)
        }
        z = jnp.concatenate([rows[kind].reshape(-1) for kind in space.kinds])
        for options in map(EGNASConfig.variant, ("paper", "official")):
            by_rows = egnas_step_direction(rows, rows, options)
            flat = egnas_step_direction(z, rows, options)
            for kind in space.kinds:
                np.testing.assert_array_equal(flat[kind], by_rows[kind])


def test_a_direction_in_another_space_is_refused():
    space, other = SPACES["robust_s2"], SPACES["darts7"]
    own, alpha = (unflatten(s, jnp.zeros(s.dim)) for s in (space, other))
    for z in (jnp.zeros(other.dim), alpha):
        with pytest.raises(ValueError, match=r"alpha\['normal'\] of the space robust"):
            egnas_step_direction(z, alpha, EGNASConfig(), space)
    with pytest.raises(ValueError, match=r"z\['normal'\] .*got shape \(14, 7\)"):
        egnas_step_direction(alpha, own, EGNASConfig(), space)


def test_variants_differ_as_their_table_says():
    names = "paper", "official", "reproduction"
    paper, official, reproduction = map(EGNASConfig.variant, names)
    assert paper == EGNASConfig()
    assert (official.generations, official.batch_stats) == (1, "running")
    assert (reproduction.step, reproduction.candidates) == (0.6, "run")
    assert reproduction.similarity == official.similarity == "normalised"
    official, paper = (
        search_config(variant=name).schedule for name in ("official", "paper")
    )
    assert (official.order, official.last_batch) == ("strategy_first", "keep")
    assert (paper.order, paper.last_batch) == ("weights_first", "drop")


def test_a_variant_keeps_the_numbers_that_it_decides_in_every_preset():
    for preset in ("digits", "digits_large", "cifar10"):
        strategy = search_config(preset, variant="revised").strategy
        own = EGNASConfig.variant("revised")
        names = (
            "samples generations fitness_batch_size fitness_batches step sigma_start"
        )
        for name in names.split():
            assert getattr(strategy, name) == getattr(own, name)
    assert search_config("digits", variant="revised").strategy.population == 16
    assert search_config("digits", variant="official").strategy.samples == 2


@pytest.mark.parametrize(
    "wrong", [{"population": 1}, {"eta": float("nan")}, {"sign": "plus"}]
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EGNASConfig(**wrong)


def test_an_unknown_variant_lists_the_known():
    with pytest.raises(ValueError, match="Did you mean paper"):
        EGNASConfig.variant("papr")
