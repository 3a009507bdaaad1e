"""Runs, tables and cells that the experiments share."""

import json

import pytest

from egnas_jax import NetworkConfig, count_params, zoo

CELL = zoo["DARTS_V2"].genotype


def test_widths_bring_cells_to_equal_numbers_of_weights(load):
    equal_channels = load("random_cells").equal_channels
    config = NetworkConfig(channels=3, layers=5)
    assert equal_channels(CELL, config, 1, 54_000) == 10
    config = NetworkConfig(channels=10, layers=5)
    assert count_params(CELL, config, image_channels=1) == 54_430


def test_random_cells_are_complete_and_follow_their_seed(load):
    random_genotype = load("random_cells").random_genotype
    cell = random_genotype(1)
    assert cell == random_genotype(1) != random_genotype(2)
    sources = [source for _, source in cell.normal]
    for node in range(4):
        assert len({*sources[2 * node : 2 * node + 2]}) == 2
        assert max(sources[2 * node : 2 * node + 2]) < 2 + node


@pytest.mark.parametrize(
    "differences, words",
    [
        ([-0.02, -0.021, -0.019], "better"),
        ([0.02, 0.021, 0.019], "worse"),
        ([-0.01, 0.02, 0.0], "not told"),
        ([0.01, -0.02, 0.0], "not told"),
        ([-0.5], "one seed"),
    ],
)
def test_a_verdict_follows_from_its_interval(load, differences, words):
    assert load("record_tables").verdict(differences).startswith(words)


def test_several_claims_need_wider_intervals(load):
    """By hand: mean -2.5, standard error 0.289; t(2) is 4.30 at 95 %, 9.92 at 99 %."""
    tables, differences = load("record_tables"), [-0.02, -0.03, -0.025]
    assert tables.verdict(differences).startswith("better")
    assert tables.verdict(differences, 0.99).startswith("not told")
    assert tables.interval(differences, 100) == "-3.74 to -1.26"
    assert tables.interval(differences, 100, 0.99) == "-5.37 to 0.37"


def test_a_setting_that_earlier_notes_lack_is_noted_where_it_is_used(load, tmp_path):
    methods = load("methods")
    plain = methods.Method("digits", "darts")
    training = methods.Training(CELL, "digits")
    for kind in (
        plain.with_settings,
        lambda changes: training._replace(settings=changes),
    ):
        used, unused = (
            methods._key(kind({"nesterov": value}).job(tmp_path, 0, None))["config"]
            for value in (True, False)
        )
        assert used == {**unused, "nesterov": True}
        assert "nesterov" not in unused


@pytest.mark.parametrize(
    "method, settings",
    [
        ("nsga2", {"parents": "domination"}),
        ("epcnas_pso", {"positions": "whole"}),
        ("snas", {"resource_cells": "six_and_two", "resource_penalty": 0.01}),
    ],
)
def test_an_option_that_earlier_notes_lack_is_noted_where_it_is_used(
    method, settings, load, tmp_path
):
    methods = load("methods")
    plain = methods.Method("digits", method)
    changed = plain.with_settings({f"strategy.{k}": v for k, v in settings.items()})
    unused, used = (
        methods._key(each.job(tmp_path, 0, None))["config"]["strategy"]
        for each in (plain, changed)
    )
    assert used == {**unused, **settings}
    assert next(iter(settings)) not in unused


def test_errors_are_tabulated_by_cell(load):
    outcomes = [
        load("methods").Outcome(
            "a", seed, {"test_error_last": error, "params": 54_430, "seconds": 10}, []
        )
        for seed, error in enumerate([0.01, 0.02, 0.03])
    ]
    (row,) = load("record_tables").error_table(outcomes, {"a": 10})["rows"]
    assert row[:4] == ["a", 10, 54_430, "1.00, 2.00, 3.00"]
    assert row[4] == pytest.approx({"mean": 2.0, "spread": 1.0, "n": 3})
    assert row[5] == 30


def test_searches_are_tabulated_by_method(load):
    def outcome(method, seed, accuracies):
        epochs = [{"valid_accuracy": accuracy} for accuracy in accuracies]
        summary = {"valid_accuracy": accuracies[-1], "seconds": 2.0, "genotype": "g"}
        summary["search_cost"] = 100 * (seed + 1)
        return load("methods").Outcome(method, seed, summary, epochs)

    outcomes = [
        outcome("a", 0, [0.1, 0.2, 0.5]),
        outcome("a", 1, [0.2, 0.4, 0.7]),
        outcome("b", 0, [0.1, 0.1, 0.1]),
    ]
    table = load("record_tables").search_table(outcomes, (1, 2))
    assert table["columns"][2] == "after epochs 1, 2" and table["seconds"] == 6
    (name, last, after, passes, seconds), other = table["rows"]
    assert (name, after, passes, seconds) == ("a", "15.0, 30.0", 150, 4)
    assert last == pytest.approx({"mean": 60, "spread": 20 / 2**0.5, "n": 2})
    assert other[2] == "10.0, 10.0" and other[1]["spread"] is None
    names = ("a, seed 0", "a, seed 1", "b, seed 0")
    assert load("record_tables").genotypes(outcomes) == dict.fromkeys(names, "g")


def test_an_interrupted_run_goes_on_and_a_finished_one_is_kept(
    load, stand_in, tmp_path
):
    fake, methods = stand_in(lambda call: {}), load("methods")
    job = methods.Method().job(tmp_path / "run", 3, None)
    job.folder.mkdir()
    methods.finish("a", 3, job)
    (call,) = fake.calls
    assert call.resume and call.config.seed == 3
    methods.finish("a", 3, job)
    assert len(fake.calls) == 1
    with pytest.raises(SystemExit, match="what another command made"):
        methods.finish("a", 4, methods.Method().job(job.folder, 4, None))


@pytest.mark.parametrize(
    "name, words, methods",
    [
        ("search_digits", "", 4),
        ("search_cifar10_small", "--data-dir DIR", 3),
    ],
)
def test_searches_side_by_side_become_a_record(
    name, words, methods, load, stand_in, tmp_path, monkeypatch
):
    fake = stand_in(lambda call: {"valid_accuracy": 0.3})
    monkeypatch.setattr(load(name), "EPOCHS", (1, 3, 5))  # the stand-in records five
    (tmp_path / "cifar10-5000.npz").touch()  # whose images no run here reads
    load(name).main([*words.split(), "--seeds", "2", "--out", str(tmp_path)])
    assert len(fake.calls) == 2 * methods
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert len(record["rows"]) == methods and record["rows"][0][1]["n"] == 2
    assert record["rows"][0][2] == "50.0, 50.0, 50.0"
    assert "--seeds 2" in record["command"]


def test_cells_of_about_equal_weights_are_trained_beside_a_found_one(
    load, stand_in, tmp_path
):
    fake = stand_in(lambda call: {})
    load("retrain_digits").main(["--seeds", "2", "--out", str(tmp_path)])
    trainings = [call for call in fake.calls if not call.is_search]
    assert len(fake.calls) == 1 + len(trainings) == 1 + 4 * 2
    assert trainings[0].genotype == CELL  # the stand-in's search returns it
    assert trainings[0].config.network.channels == 10
    record = json.loads((tmp_path / "retrain_digits.json").read_text())
    assert [row[0] for row in record["rows"]][:2] == ["found by EG-NAS", "DARTS_V2"]


@pytest.mark.parametrize("name", ["proxies", "revised"])
def test_a_table_that_is_missing_is_refused_in_one_line(name, load, tmp_path, capsys):
    words = ["--size", "tiny", "--out", tmp_path, "--table", tmp_path / "none.npz"]
    with pytest.raises(SystemExit, match="2"):
        load(name).main(list(map(str, words)))
    assert "none.npz does not exist" in capsys.readouterr().err
