"""The judgement of `revised` covers its options, and corrects for all rows."""

import argparse
import dataclasses
import json

import numpy as np
import pytest

from egnas_jax.studies.nasbench201 import table_search_config


@pytest.fixture
def revised(load):
    return load("revised")


def test_every_option_of_the_variant_is_left_out_alone(revised):
    alone = [names[0] for names in revised.PARTS if len(names) == 1]
    assert sorted(alone) == sorted(revised.parts_of_the_variant())
    paper = table_search_config.build(None, []).egnas
    variant = table_search_config.build("revised", []).egnas
    for label, entry in revised.entries().items():
        if not label.startswith("revised but"):
            continue
        config = table_search_config.build(entry.variant, list(entry.options)).egnas
        names = [word.split("=")[0] for word in label[12:].split(", ")]
        values = {name: getattr(paper, name) for name in names}
        assert config == dataclasses.replace(variant, **values) != variant


def test_no_individual_races_in_a_table():
    variant = table_search_config.build("revised", []).egnas
    assert variant.fitness_batches == 1
    assert (variant.samples, variant.generations, variant.population) == (1, 1, 16)


def outcomes_of(revised, shifts, runs=200):
    """Regrets whose means differ from the variant's by `shifts` on both data sets."""
    rng = np.random.default_rng(0)
    found = {}
    for dataset in revised.JUDGED:
        for label in revised.entries():
            regrets = 1 + shifts.get(label, 0.0) + 0.1 * rng.normal(size=runs)
            found[dataset, label] = {
                "regrets": regrets.tolist(),
                "seen": (regrets - 0.5).tolist(),
                "seconds": 1.0,
                "options": {},
            }
    return found


def test_verdicts_follow_from_the_intervals_under_one_correction(revised):
    shifts = {"random search": 0.5, "REINFORCE": -0.5}
    found = outcomes_of(revised, shifts)
    compared = revised.comparisons(found)
    assert len(compared) == 2 * (len(revised.entries()) - 1)
    verdicts = {label: revised.verdict(one) for (_, label), one in compared.items()}
    assert verdicts["random search"] == "revised is better"
    assert verdicts["REINFORCE"] == "revised is worse"
    assert verdicts["EG-NAS paper"] == "not told apart"
    # the least p value is multiplied by the number of all comparisons
    least = min(compared.values(), key=lambda one: one.t_test)
    assert least.holm == pytest.approx(least.t_test * len(compared))


def test_the_record_has_a_row_for_each_entry_and_data_set(revised):
    options = argparse.Namespace(size="tiny", datasets=list(revised.JUDGED))
    table = revised.make_table(options, outcomes_of(revised, {}))
    assert len(table["rows"]) == 2 * len(revised.entries())
    assert {len(row) for row in table["rows"]} == {len(table["columns"])}
    assert table["rows"][0][1:2] == ["revised"] and table["rows"][0][4:] == [None] * 3
    for row in table["rows"]:
        assert row[3]["mean"] == pytest.approx(row[2]["mean"] - 0.5)


def test_costs_of_the_methods_are_about_equal(load, tmp_path):
    supernets = load("revised_supernet")
    subset = load("subset")
    steps = {"tiny": 11, "small": 50, "full": 97}
    for name, size in supernets.SIZES.items():
        options = argparse.Namespace(settings=[], seeds=1, out=tmp_path)
        jobs = supernets.search_jobs(options, size, subset.Source(None, {}))
        configs = {method: job.config for method, (job,) in jobs.items()}
        costs = {
            method: search_cost(one, steps[name]) for method, one in configs.items()
        }
        assert max(costs.values()) < 1.05 * min(costs.values())
        assert len({(one.epochs, one.batch_size) for one in configs.values()}) == 1


def search_cost(config, steps):
    """Forward passes of an image by which a search chooses, but for ends of races."""
    method = config.strategy
    if config.strategy_name == "egnas":
        return (config.epochs - method.warmup) * method.images_evaluated
    if config.strategy_name == "random_search":
        return config.epochs * method.individuals * method.fitness_batch_size
    if config.strategy_name == "darts":
        return config.epochs * steps * 3 * method.batch_size
    blocks = -(-method.population // method.children)
    cells = (blocks + method.generations) * method.children
    return (cells + method.finalists * method.final_batches) * method.fitness_batch_size


def test_trained_cells_of_all_methods_become_one_record(load, stand_in, tmp_path):
    """A first piece ends before the trainings, and says so."""
    supernets = load("revised_supernet")

    def metrics(call):
        own = {"epochs": call.config.epochs, "weight_cost": 30, "search_cost": 10}
        if not call.is_search and "train-darts" in str(call.out):
            own["test_error_last"] = 0.09 + 0.001 * call.config.seed
        return own

    fake = stand_in(metrics)
    words = ["--size", "tiny", "--seeds", "3", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        supernets.main([*words, "--minutes", "0"])
    assert ended.value.code == 130 and fake.calls == []
    supernets.main(words)
    assert len(fake.calls) == 3 * (5 + 6)
    again = len(fake.calls)
    supernets.main(words)
    assert len(fake.calls) == again
    rows = {
        row[0]: row
        for row in json.loads((tmp_path / "out" / "revised_supernet.json").read_text())[
            "rows"
        ]
    }
    assert list(rows) == [
        "revised",
        "revised but one batch",
        "random_search",
        "ageing_evolution",
        "darts",
        "random cells",
    ]
    assert rows["darts"][3] == "revised is better" and rows["darts"][4:] == [30, 10]
    assert rows["random_search"][3] == "nothing can be said"
    assert rows["random cells"][4:] == [0, 0]
