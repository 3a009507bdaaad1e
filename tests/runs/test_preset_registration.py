"""Presets from a mapping of settings."""

import doctest

import pytest

import egnas_jax as eg
from egnas_jax.runs import preset_registration
from egnas_jax.runs.presets import PRESETS, RECIPES


@pytest.fixture(autouse=True)
def tables():
    before = [dict(table) for table in (PRESETS, RECIPES)]
    yield
    for table, entries in zip((PRESETS, RECIPES), before, strict=True):
        table.clear()
        table.update(entries)


def test_the_example_of_the_documentation_runs():
    assert doctest.testmod(preset_registration) == (0, 5)


def test_a_preset_is_its_base_with_other_settings():
    settings = {
        "epochs": 7,
        "supernet.channels": "4",
        "supernet.space": "darts8",
        "schedule.split": "file_order",
        "random_search.candidates": 5,
        "darts.learning_rate": 0.5,
    }
    eg.register_preset("mine", settings)
    base = eg.search_config("digits", strategy="random_search")
    config = eg.search_config("mine", strategy="random_search")
    assert (config.epochs, config.supernet.channels) == (7, 4)
    assert (config.supernet.space, config.schedule.split) == ("darts8", "file_order")
    assert config.strategy.candidates == 5
    assert config.batch_size == base.batch_size
    assert config.strategy.fitness_batch_size == base.strategy.fitness_batch_size
    assert eg.search_config("mine", strategy="darts").strategy.learning_rate == 0.5
    # --space and --set come after it
    assert eg.search_config("mine", space="darts7").supernet.space == "darts7"
    assert eg.search_config("mine", settings={"epochs": 2}).epochs == 2
    # and the base is as before
    assert eg.search_config("digits", strategy="random_search") == base


def test_a_preset_of_a_preset_has_the_settings_of_both():
    eg.register_preset("one", {"epochs": 7, "egnas.population": 5, "batch_size": 8})
    eg.register_preset("two", {"epochs": 9}, base="one")
    config = eg.search_config("two")
    assert (config.epochs, config.batch_size) == (9, 8)
    assert config.strategy.population == 5


def test_the_space_of_a_preset_has_its_own_number_of_layers():
    eg.register_preset("mine", {"supernet.space": "nasbench201"})
    expected = eg.search_config("digits", space="nasbench201")
    assert eg.search_config("mine") == expected


def test_a_variant_decides_what_it_decides_of_every_preset():
    eg.register_preset("mine", {"egnas.generations": 5, "egnas.samples": 3})
    paper, official = (eg.search_config("mine", variant=v) for v in (None, "official"))
    assert (paper.strategy.generations, official.strategy.generations) == (5, 1)
    assert official.strategy.samples == 3


def test_a_preset_of_retrainings_is_another_table():
    settings = {"epochs": 3, "network.channels": 4}
    eg.register_preset("mine", settings, base="cifar10", command="retrain")
    config = eg.retrain_config("mine")
    assert (config.epochs, config.network.channels) == (3, 4)
    assert config.data.cutout == 16
    assert eg.retrain_config("mine", settings={"epochs": 1}).epochs == 1
    assert "mine" not in PRESETS


BAD = {
    "name": (("two words", {}), {}, "cannot be the name of a preset"),
    "letters": (("größe", {}), {}, "'größe' cannot be the name of a preset"),
    "taken": (("digits", {}), {}, "There is a preset 'digits' of egnas search already"),
    "base": (("mine", {}), {"base": "cifar"}, "Unknown preset 'cifar'"),
    "command": (("mine", {}), {"command": "serach"}, "Did you mean search"),
    "path": (("mine", {"epoch": 3}), {}, "Unknown path 'epoch'. Did you mean epochs"),
    "type": (("mine", {"epochs": "x"}), {}, "epochs takes a whole number, got 'x'"),
    "range": (("mine", {"epochs": 0}), {}, "epochs is 0, but must be from 1"),
    "strategy": (("mine", {"strategy.size": 3}), {}, "Write the name of the method"),
    "method": (("mine", {"snas.size": 3}), {}, "Unknown path 'strategy.size'"),
    "space": (("mine", {"supernet.space": "darts9"}), {}, "Unknown space 'darts9'"),
    "recipe": (
        ("mine", {"supernet.layers": 3}),
        {"command": "retrain"},
        "network.laye",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_preset_that_cannot_be_used_is_refused(name):
    arguments, options, words = BAD[name]
    with pytest.raises(ValueError) as error:
        eg.register_preset(*arguments, **options)
    assert words in str(error.value)
    assert "mine" not in PRESETS and "mine" not in RECIPES
