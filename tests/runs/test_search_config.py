"""Configurations as config.json holds them."""

import copy
from dataclasses import replace

import pytest

import egnas_jax as eg
from egnas_jax.data.config import DataConfig
from egnas_jax.runs.search_config import from_dict, search_config
from egnas_jax.search.watch import WatchConfig
from egnas_jax.settings import as_dict
from egnas_jax.strategies.controller.config import ENASConfig
from egnas_jax.strategies.darts import DARTSConfig
from egnas_jax.strategies.egnas.variants import VARIANTS
from egnas_jax.strategies.limits.config import Limit
from egnas_jax.strategies.p_darts.config import PDARTSConfig


def stored():
    return copy.deepcopy(as_dict(search_config("digits", settings={"epochs": 7})))


def test_the_sizes_of_a_space_of_stages_are_set_at_once(monkeypatch):
    thirds = [eg.Stage("normal", width=4 / 3), eg.Stage("reduce", stride=2)]
    space = eg.Space("thirds", eg.SPACES["darts7"].primitives, macro=thirds)
    monkeypatch.setitem(eg.SPACES, "thirds", space)
    sizes = {"supernet.channels": 6, "supernet.partial_channels": 2}
    config = eg.search_config("digits", space="thirds", settings=sizes)
    assert (config.supernet.channels, config.supernet.space) == (6, "thirds")
    limit = {"strategy.limit.params": 1e6, "strategy.limit.channels": 6}
    config = eg.search_config("digits", space="thirds", settings=sizes | limit)
    network = config.strategy.limit.network(space, 10).config
    assert (network.channels, network.stages) == (6, space.stages)
    with pytest.raises(ValueError, match=r"channels is 8, so the stage .* has 10\.66"):
        eg.search_config("digits", space="thirds")


def test_a_stored_configuration_is_read_back():
    assert as_dict(from_dict(stored())) == stored()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: replace(c, epochs=2.5), "^epochs is 2.5, .* whole number from 1"),
        (lambda c: replace(c, mlflow="false"), "^mlflow is 'false', .* true or false"),
        (lambda c: WatchConfig(window=5.5), "^watch.window is 5.5, .* a whole"),
        (lambda c: WatchConfig(stop=0), "^watch.stop is 0, .* true or false"),
        (lambda c: eg.EpochSchedule(augment_valid=1), "^schedule.augment_valid is 1"),
        (lambda c: eg.SupernetConfig(pool_bn="no"), "^supernet.pool_bn is 'no'"),
        (lambda c: eg.SupernetConfig(num_classes=2.5), "^supernet.num_classes is 2.5"),
        (lambda c: eg.EGNASConfig(weight_grid=1), "^strategy.weight_grid is 1"),
        (lambda c: eg.EGNASConfig(population=8.0), "^strategy.population is 8.0"),
        (lambda c: eg.EGNASConfig(fitness_batches=1.5), "^strategy.fitness_batches is"),
        (lambda c: eg.EGNASConfig(population_chunk=2.5), "^strategy.population_chunk"),
        (lambda c: ENASConfig(fixed_bias="false"), "^strategy.fixed_bias is 'false'"),
        (lambda c: PDARTSConfig(kept=5), "^strategy.kept is 5, but must be text"),
        (lambda c: DataConfig(flip=1), "^data.flip is 1, but must be true or false"),
        (lambda c: DataConfig(digest=1), "^data.digest is 1; give the 64"),
        (
            lambda c: replace(c, strategy=replace(DARTSConfig(), batch_size=2.5)),
            "^strategy.batch_size is 2.5",
        ),
        (lambda c: replace(eg.retrain_config(), stream="false"), "^stream is 'false'"),
        (lambda c: replace(eg.retrain_config(), epochs=2.5), "^epochs is 2.5"),
    ],
)
def test_a_value_of_another_type_is_refused_where_it_is_given(make, message):
    with pytest.raises(ValueError, match=message):
        make(search_config("digits"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: eg.EGNASConfig(sign="off", eta=0.7),
            "^strategy.eta is 0.7, but strategy.sign is off, so that it has no effect",
        ),
        (
            lambda: eg.EGNASConfig(sign="off", eta_schedule="by_update"),
            "^strategy.eta_schedule is by_update, but strategy.sign is off",
        ),
        (
            lambda: eg.EGNASConfig(sigma="constant", sigma_floor=0.1),
            "^strategy.sigma_floor is 0.1, but strategy.sigma is constant",
        ),
        (
            lambda: eg.EGNASConfig(sigma="own", sigma_floor=0.1),
            "^strategy.sigma_floor is 0.1, but strategy.sigma is own",
        ),
        *[
            (
                lambda name=name: WatchConfig("lanczos", **{name: 3}),
                f"^watch.{name} is 3, but watch.stop is false, .*Leave watch.{name}",
            )
            for name in ("window", "factor", "delta", "start")
        ],
        (
            lambda: WatchConfig(images=8),
            "^watch.images is 8, .*watch.eigenvalue is off",
        ),
    ],
)
def test_an_option_without_an_effect_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_other_values_of_a_switch_pass_in_every_variant(variant):
    for settings in ({"sign": "off", "eta": 0.0}, {"sigma": "constant"}):
        settings = {f"strategy.{name}": value for name, value in settings.items()}
        search_config("digits", variant=variant, settings=settings)
    search_config("digits", variant=variant, settings={"strategy.sigma": "own"})


def test_a_stored_value_without_an_effect_is_read_as_the_default():
    config = search_config("digits", settings={"strategy.sign": "off"})
    before = copy.deepcopy(as_dict(config))
    before["strategy"]["eta"] = 0.7
    before["watch"]["window"] = 7
    assert from_dict(before) == config


def test_a_learning_rate_that_would_rise_is_refused():
    settings = {"learning_rate": 0.1, "learning_rate_min": 0.2}
    with pytest.raises(ValueError, match="learning_rate_min is 0.2, .* at most"):
        search_config("digits", settings=settings)


def test_a_limit_of_a_whole_number_is_stored_and_read_back():
    config = search_config("digits")
    limited = replace(config.strategy, limit=Limit(params=100_000))
    config = replace(config, strategy=limited)
    assert from_dict(as_dict(config)) == config


def test_a_setting_that_an_earlier_version_did_not_know_takes_its_default():
    before = stored()
    del before["validation_chunk"], before["strategy"]["image_chunk"]
    assert as_dict(from_dict(before)) == stored()


@pytest.mark.parametrize("variant", ["paper", "official", "reproduction"])
def test_names_of_version_0_1_are_understood(variant):
    config = search_config("digits", variant=variant)
    before = as_dict(config)
    before["strategy"] |= before.pop("schedule")
    for old, new in (("priced", "individual_mixing"), ("price_grid", "weight_grid")):
        before["strategy"][old] = before["strategy"].pop(new)
    assert from_dict(before) == config


@pytest.mark.parametrize(
    "altered",
    [
        {"epochs": "7"},
        {"epochs": True},
        {"seed": {"a": 1}},
        {"tensorboard": {"a": 1}},
        {"later": 1},
        {"strategy_name": "none"},
        {"data": 1},
        {"strategy": {"population_size": 3.5}},
    ],
    ids=str,
)
def test_an_altered_configuration_is_refused(altered):
    with pytest.raises((ValueError, KeyError, TypeError)):
        from_dict(stored() | altered)
