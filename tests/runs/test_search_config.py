"""Configurations as config.json holds them."""

import copy

import pytest

import egnas_jax as eg
from egnas_jax.runs.search_config import from_dict, search_config
from egnas_jax.settings import as_dict


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
