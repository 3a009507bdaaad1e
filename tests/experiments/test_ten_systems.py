"""All methods are compared at equal cost, under one correction."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

import egnas_jax as eg
from egnas_jax.nn.supernet import make_supernet
from egnas_jax.runs.stages import config_of_stage, planned_stages
from egnas_jax.search.cost import epoch_costs
from egnas_jax.settings import as_dict
from egnas_jax.space import SPACES, zoo
from egnas_jax.storage import records
from egnas_jax.strategies import STRATEGIES
from egnas_jax.studies.statistics import Comparison

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def sizes(load):
    return load("ten_systems_sizes").SIZES


@pytest.fixture
def configs(load, sizes):
    """(size, setting) -> the configuration of every method with a row there."""
    runs = load("ten_systems_runs")

    def make(size, setting="common"):
        names = [n for n in STRATEGIES if setting == "common" or n in runs.AS_PUBLISHED]
        return {
            name: runs.method_of(runs.Row(name, setting), sizes[size]).config()
            for name in names
        }

    return make


def candidates_of(strategy):
    """Cells that a search of the two-phase mode evaluates, by hand."""
    names = [n for n in ("population", "particles") if hasattr(strategy, n)]
    members = getattr(strategy, names[0])
    bred = getattr(strategy, "children", getattr(strategy, "offspring", members))
    blocks = -(-members // bred)
    again = strategy.finalists * strategy.final_batches
    return (blocks + strategy.generations) * bred + again


# method -> (configuration, its options) -> candidate images that it will record
RANKING = {
    "egnas": lambda c, s: (
        (c.epochs - s.warmup)
        * (s.samples * s.generations * (s.population + 1) * s.fitness_batch_size)
    ),
    "random_search": lambda c, s: c.epochs * (s.candidates + 1) * s.fitness_batch_size,
    "enas": lambda c, s: c.epochs * (s.samples * s.steps + s.finalists) * s.batch_size,
    "nasnet_ppo": lambda c, s: (
        c.epochs * (s.samples * s.steps + s.finalists + 1) * s.batch_size
    ),
    **dict.fromkeys(
        ("ageing_evolution", "nsga2", "epcnas_pso"),
        lambda c, s: candidates_of(s) * s.fitness_batch_size,
    ),
}


def lines_of(name, config, num_train):
    """Records of a search, as far as its cost depends on them."""
    images = 0.0
    if name in RANKING:
        images = RANKING[name](config, config.strategy) / config.epochs
    steps, lines = num_train // config.batch_size, []
    for index in range(max(len(planned_stages(config)), 1)):
        stage = config_of_stage(config, {"index": index, "live": None})
        _, make = STRATEGIES[name]
        passes = make(make_supernet(stage.supernet), stage.strategy).passes
        lines += [
            epoch_costs(
                passes,
                epoch,
                train_images=steps * stage.batch_size,
                valid_images=steps * stage.strategy.valid_batch_size,
                metrics={"candidate_images": images},
            )
            for epoch in range(stage.epochs)
        ]
    return lines


@pytest.mark.parametrize("size", ["tiny", "small", "full"])
def test_all_methods_take_equal_steps_and_images_to_choose_by(
    size, load, sizes, configs
):
    cost_of, budget = load("search_cost").cost_of, sizes[size].budget
    num_train = sizes[size].num_train
    costs = {
        name: cost_of(config, lines_of(name, config, num_train), num_train)
        for name, config in configs(size).items()
    }
    assert len({cost.weight_steps for cost in costs.values()}) == 1
    assert len({cost.weight_images for cost in costs.values()}) == 1
    assert costs.pop("snas").choice_images == 0  # it has no images of its own
    for name, cost in costs.items():
        assert abs(cost.choice_images / budget - 1) <= 0.01, (name, cost)


@pytest.mark.parametrize("size", ["tiny", "small", "full"])
@pytest.mark.parametrize("name", ["ageing_evolution", "nsga2", "epcnas_pso"])
def test_finalists_are_ranked_on_the_whole_validation_half(name, size, sizes, configs):
    strategy, half = configs(size)[name].strategy, sizes[size].num_train
    images = strategy.final_batches * strategy.fitness_batch_size
    assert half <= images < half + strategy.fitness_batch_size


@pytest.mark.parametrize("size", ["tiny", "small", "full"])
def test_all_methods_share_what_the_protocol_holds_equal(size, configs):
    shared = ("data", "supernet", "schedule")
    parts = {
        json.dumps({part: as_dict(config)[part] for part in shared}, sort_keys=True)
        for config in configs(size).values()
    }
    assert len(parts) == 1
    for name in ("learning_rate", "batch_size", "clip_norm", "epochs", "weight_decay"):
        assert len({getattr(config, name) for config in configs(size).values()}) == 1
    statistics = {
        config.strategy.batch_stats
        for config in configs(size).values()
        if hasattr(config.strategy, "batch_stats")
    }
    assert statistics == {"batch"}


@pytest.mark.parametrize("size", ["tiny", "small", "full"])
def test_published_rows_have_their_own_space_schedule_and_options(size, configs):
    published, common = configs(size, "as published"), configs(size)
    assert set(published) == {"egnas", "darts", "pc_darts", "p_darts", "snas", "enas"}
    assert published["darts"].strategy.second_order == "finite_difference"
    assert published["pc_darts"].supernet.partial_channels == 4
    assert published["snas"].strategy.derive == "edge_all"
    assert published["snas"].strategy.resource_cells == "six_and_two"
    assert published["egnas"].schedule.alpha_in_clip
    assert published["egnas"].strategy.generations == 1
    assert published["enas"].clip_norm == 1e12
    assert published["enas"].strategy.batches == "own"
    spaces = {name: config.supernet.space for name, config in published.items()}
    assert spaces == dict.fromkeys(
        ("darts", "pc_darts", "p_darts", "snas"), "darts8"
    ) | {
        "egnas": "darts7",
        "enas": "darts7",
    }
    for name in ("egnas", "darts", "pc_darts", "p_darts"):
        schedule = published[name].schedule
        assert (schedule.split, schedule.augment_valid) == ("file_order", True)
        assert schedule.learning_rate_epoch == "next"
    for name, config in published.items():
        assert config != common[name]
        for part in ("epochs", "batch_size", "learning_rate"):
            assert getattr(config, part) == getattr(common[name], part)


def test_stages_of_p_darts_are_the_published_ones_at_the_full_size(configs):
    config = configs("full", "as published")["p_darts"]
    stages = planned_stages(config)
    assert [stage.supernet.layers for stage in stages] == [5, 11, 17]
    assert config.strategy.skip_dropout == "0.1,0.4,0.7"
    assert config.strategy.kept == "5,3,1"


@pytest.mark.parametrize("size", ["tiny", "small", "full"])
def test_snas_as_published_has_the_published_rate_times_steps(size, sizes, configs):
    config = configs(size, "as published")["snas"]
    steps = config.epochs * (sizes[size].num_train // config.batch_size)
    published = 3e-4 * 150 * (50_000 // 64)
    assert config.strategy.alpha_optimizer == "sgd"
    assert config.strategy.learning_rate * steps == pytest.approx(published, rel=0.02)


def test_the_steps_of_an_epoch_count_a_short_last_batch_where_it_is_kept(load):
    digits = load("methods").Method("digits", "pc_darts")
    lines = [{"weight_cost": 240, "search_cost": 0}] * 2
    for last_batch, steps in (("drop", 5), ("keep", 6)):
        settings = {"batch_size": 16, "schedule.last_batch": last_batch}
        config = digits.with_settings(settings).config()
        cost = load("search_cost").cost_of(config, lines, num_train=95)
        assert cost == (2 * steps, 480, 0)


@pytest.mark.parametrize("size", ["tiny", "small", "full"])
def test_networks_agree_in_their_weights_within_the_tolerance(size, load, sizes):
    runs, chosen = load("ten_systems_runs"), sizes[size]
    options = (
        load("ten_systems").make_parser().parse_args("--out /nowhere --seeds 2".split())
    )
    trainings = runs.train_runs(options, chosen, load("subset").Source(None, {}), [])
    assert len(trainings) == 2 * 3
    for run in trainings:
        weights = eg.count_params(
            run.job.genotype,
            run.job.config.network,
            image_channels=chosen.image_channels,
        )
        assert abs(weights / chosen.target - 1) <= chosen.tolerance
    assert {run.job.config.split_seed for run in trainings} == {0, 1}


def comparison(low, high, n=5):
    return Comparison("a", "b", n, 0.0, low, high, None, None)


@pytest.mark.parametrize(
    "bounds, n, said, interval",
    [
        ((-2.0, -0.1), 5, "better", "-2.00 to -0.10"),
        ((0.1, 2.0), 5, "worse", "0.10 to 2.00"),
        ((-0.1, 2.0), 5, "not told apart", "-0.10 to 2.00"),
        ((0.0, 2.0), 5, "not told apart", "0.00 to 2.00"),
        ((None, None), 1, "nothing can be said", "one seed"),
        ((None, None), 2, "nothing can be said", "equal differences"),
    ],
)
def test_a_verdict_says_what_its_interval_allows(bounds, n, said, interval, load):
    tables, one = load("ten_systems_table"), comparison(*bounds, n=n)
    assert tables.verdict(one) == said
    assert tables.interval(one) == interval


def test_claims_follow_from_the_intervals(load):
    tables, make = load("ten_systems_table"), load("ten_systems_runs").Row
    rows = {
        make("darts", "common"): comparison(-2.0, -0.5),
        make("darts", "as published"): comparison(-3.0, -1.0),
        make("snas", "common"): comparison(0.25, 1.5),
        make("enas", "common"): comparison(-0.75, 1.25),
        make("random cells"): comparison(-0.5, 2.25),
        make("new_method", "common"): comparison(None, None),
    }
    search = make("random_search", "common")
    assert tables.claims(search, rows) == (
        "Better than random search: DARTS, DARTS as published (by 0.50 to 3.00 "
        "points). Worse than random search: SNAS (by 0.25 to 1.50 points). Not told "
        "apart from random search: ENAS, random cells; their intervals reach from 0.75 "
        "points better to 2.25 points worse, and differences within them remain "
        "possible. Beside random search nothing can be said of these: new_method."
    )
    del rows[make("darts", "common")], rows[make("darts", "as published")]
    said = tables.claims(make("random cells"), rows)
    assert said.startswith("No row is shown to be better than random cells. Worse")


def test_both_controls_are_one_family_and_are_compared_once(load):
    tables, make = load("ten_systems_table"), load("ten_systems_runs").Row
    rows = [make("darts", "common"), make("egnas", "common"), *tables.CONTROLS]
    pairs = tables.pairs_of(rows)
    assert len(pairs) == 3 + 2
    assert sum(set(pair) == set(tables.CONTROLS) for pair in pairs) == 1
    one = comparison(-0.5, 2.25)._replace(difference=1.0)
    turned = tables.turned(one)
    assert (turned.first, turned.second, turned.difference) == ("b", "a", -1.0)
    assert (turned.low, turned.high) == (-2.25, 0.5)
    assert tables.turned(comparison(None, None)).low is None


@pytest.mark.parametrize(
    "tested, seeds, said",
    [
        (25, 3, "Of all 25 comparisons, paired over 3 seed(s), an interval excludes 0"),
        (24, 3, "Of the 24 of 25 comparisons that have an interval, paired over 3"),
        (0, 1, "None of 25 comparisons, paired over 1 seed(s), has an interval."),
    ],
)
def test_the_correction_is_for_the_comparisons_that_have_an_interval(
    tested, seeds, said, load
):
    search, cells = load("ten_systems_table").CONTROLS
    known = {index: comparison(-1.0, 1.0) for index in range(tested)}
    unknown = {index: comparison(None, None) for index in range(tested, 25)}
    # the two controls are compared once, and are in both parts
    parts = {search: {**known, **unknown}, cells: {search: comparison(-1.0, 1.0)}}
    note = load("ten_systems_table").holm_note(parts, seeds)
    assert note.startswith(said)
    assert ("none does so wrongly" in note) is bool(tested)


def test_skips_of_both_cells_are_counted(load):
    count = load("ten_systems_table").num_skips
    assert count(zoo["DARTS_V1"].genotype.format()) == 3 + 3
    assert count(zoo["DARTS_V2"].genotype.format()) == 2 + 3


def test_the_largest_of_random_cells_has_the_most_weights(load):
    cells = load("random_cells")
    largest = cells.largest_genotype(3, 4)
    sizes = [
        eg.count_params(cells.largest_genotype(3, number), eg.NetworkConfig())
        for number in (1, 2, 4)
    ]
    # the cells of a seed do not depend on how many are drawn before them
    assert largest == cells.largest_genotype(3, 4)
    assert max(sizes) == sizes[-1] > sizes[0]


# error of each method in percent, minus that of random search, seed by seed
DIFFERENCES = {
    "darts": [-3.0, -3.1, -2.9, -3.2, -2.8],
    "egnas": [-0.4, 0.3, -0.2, 0.5, -0.1],
    "random_search": [0.0] * 5,
    "random_cells": [0.4, -0.3, 0.2, -0.5, 0.1],
    "untrained_alpha": [1.0, 2.0, 0.5, 1.5, 0.2],
    "largest_of_random_cells": [0.3, -0.2, 0.4, -0.1, 0.2],
}


def metrics(call):
    """Every random search has 5 % and its seed of error."""
    kind, name, seed = call.out.name.split("-")
    entries = {"epochs": call.config.epochs, "early_stop": None, "params": 101_000}
    if kind == "train":
        error = 5 + int(seed) + DIFFERENCES[name][int(seed)]
        entries |= {"test_error_last": error / 100, "test_error_best": 0.01}
    return entries


COMMAND = "--size tiny --methods egnas darts --set epochs=5 --train epochs=5".split()


@pytest.fixture
def compared(load, stand_in, tmp_path):
    """Calls and the record of a comparison of two methods."""
    fake = stand_in(metrics)
    load("ten_systems").main([*COMMAND, "--out", str(tmp_path)])
    return fake.calls, json.loads((tmp_path / "ten_systems.json").read_text())


def test_every_seed_of_every_method_is_trained_beside_three_controls(compared):
    calls, record = compared
    searches = [call for call in calls if call.is_search]
    assert len(searches) == 5 * 3 and len(calls) == 5 * (3 + 3 + 3)
    seeds = [call.config.seed for call in calls]
    assert seeds == sorted(seeds)  # so that early pieces hold whole seeds
    # random search joins by itself: all others are compared with it
    assert {call.config.strategy_name for call in searches} == {
        "egnas",
        "darts",
        "random_search",
    }
    # methods by their names and controls last, none by its error
    assert [row[0] for row in record["rows"]] == [
        "DARTS",
        "EG-NAS",
        "random search",
        "largest of random cells",
        "random cells",
        "untrained alpha",
    ]
    assert record["title"] == "3 methods on one supernet, size tiny"


def named_rows(record):
    """Row -> column -> cell, of a record."""
    columns = [c if isinstance(c, str) else c["name"] for c in record["columns"]]
    return {row[0]: dict(zip(columns, row, strict=True)) for row in record["rows"]}


def test_rows_hold_corrected_verdicts_costs_and_quoted_figures(compared):
    _, record = compared
    rows = named_rows(record)
    search, cells = (
        f"minus random {name}: interval (points)" for name in ("search", "cells")
    )
    assert rows["DARTS"][search].endswith(", better")
    assert rows["DARTS"][cells].endswith(", better")
    # nine comparisons: p = 0.028 is above 0.05 / 7
    assert rows["untrained alpha"][search].endswith(", not told apart")
    assert rows["EG-NAS"][search].endswith(", not told apart")
    assert rows["EG-NAS"][cells].endswith(", not told apart")
    assert rows["random search"][search] is rows["random cells"][cells] is None
    # the two controls stand beside each other in both rows, with turned signs
    numbers = rows["random search"][cells], rows["random cells"][search]
    first, second = (
        [float(word) for word in text.partition(",")[0].split(" to ")]
        for text in numbers
    )
    assert first == [-second[1], -second[0]]
    assert rows["DARTS"]["test error (%)"]["mean"] == pytest.approx(4.0)
    assert rows["DARTS"]["of the best epoch (%)"]["mean"] == pytest.approx(1.0)
    assert rows["DARTS"]["skips of both cells"]["n"] == 5
    # 5 epochs of 22 steps, and what the stand-in records
    for name in ("DARTS", "EG-NAS"):
        assert rows[name]["weight steps"] == 110
        assert rows[name]["images to choose"] == 300
    for name in ("weight steps", "images to choose", "seconds of a search"):
        assert rows["random cells"][name] is None
    quoted = "as quoted, CIFAR-10 (%)"
    assert rows["DARTS"][quoted].startswith("3.00 ± 0.14")
    assert rows["EG-NAS"][quoted] == "2.53" and rows["random search"][quoted] is None


def test_the_note_says_what_was_equal_and_what_was_not(compared):
    note = compared[1]["note"]
    assert "Better than random search: DARTS (by " in note
    assert "Better than random cells: DARTS (by " in note
    assert "Of all 9 comparisons, paired over 5 seed(s)" in note
    assert "exactly where Holm's procedure rejects" in note
    assert "110 weight steps, and 38,016 forward passes" in note
    assert "Other numbers: DARTS 300" in note
    assert "100,000 weights within 1.0 %" in note
    assert "As quoted: of other networks" in note


def test_the_note_names_the_images(load, sizes):
    name_images = load("ten_systems").name_images
    assert name_images(sizes["tiny"]).startswith("scikit-learn's digits")
    small = "5,000 images of CIFAR-10, averaged to 16 x 16 pixels"
    assert name_images(sizes["small"]) == small
    assert name_images(sizes["full"]) == "CIFAR-10"


def test_published_rows_stand_beside_the_common_ones(load):
    load_options = load("ten_systems").make_parser().parse_args
    words = "--out /nowhere --methods darts nsga2 --settings-of".split()
    rows_of = load("ten_systems_runs").rows_of
    assert [(row.name, row.setting) for row in rows_of(load_options([*words, "both"]))][
        :4
    ] == [
        ("random_search", "common"),
        ("darts", "common"),
        ("darts", "as published"),
        ("nsga2", "common"),
    ]
    published = [row.name for row in rows_of(load_options([*words, "published"]))]
    assert published[:2] == ["random_search", "darts"]
    assert published[2] == "random cells"


def test_every_method_of_the_table_takes_part(load):
    options = load("ten_systems").make_parser().parse_args(["--out", "/nowhere"])
    rows = load("ten_systems_runs").rows_of(options)
    assert {row.name for row in rows if row.setting} == set(STRATEGIES)


def test_a_method_that_is_named_twice_has_one_row(load):
    words = "--out /nowhere --methods darts egnas darts".split()
    options = load("ten_systems").make_parser().parse_args(words)
    rows = load("ten_systems_runs").rows_of(options)
    assert [row.name for row in rows][:4] == [
        "random_search",
        "darts",
        "egnas",
        "random cells",
    ]


def test_whole_runs_without_a_note_of_their_settings_make_no_record(
    compared, load, tmp_path
):
    """Tools that leave out hidden files take the notes from a folder of runs."""
    for note in tmp_path.glob("*/.*.json"):
        note.unlink()
    (tmp_path / "ten_systems.json").unlink()
    others = [*COMMAND, "--set", "learning_rate=0.5", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match="130"):
        load("ten_systems").main([*others, "--minutes", "0"])
    assert not (tmp_path / "ten_systems.json").exists()


def test_pieces_are_listed_without_running_any(load, stand_in, tmp_path, capsys):
    fake = stand_in(metrics)
    load("ten_systems").main([*COMMAND, "--out", str(tmp_path / "new"), "--list"])
    printed = capsys.readouterr().out
    assert "search-darts-4: 0 of 5 epochs" in printed
    assert "0 of 45 runs have ended" in printed
    assert not fake.calls and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "wrong, message",
    [
        (["--methods", "dart"], "Did you mean darts"),
        (["--set", "data.path=x.npz"], "share the images"),
        (["--train", "split_seed=3"], "share the images"),
        (["--train", "epoch=3"], "epoch"),
        (["--set", "epoch=3"], "epoch"),
        (["--settings-of", "own"], "own"),
        (
            ["--settings-of", "published", "--methods", "darts", "nsga2"],
            "nsga2 has no row as published, which these have: egnas, darts",
        ),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(
    wrong, message, load, tmp_path, capsys
):
    with pytest.raises(SystemExit) as ended:
        load("ten_systems").main(["--out", str(tmp_path / "out"), *wrong])
    assert ended.value.code == 2 and not (tmp_path / "out").exists()
    assert message in capsys.readouterr().err.partition("error:")[2]


# a comparison of minutes: one seed, two epochs of a search, one of a training
MINUTE = (
    "--size tiny --seeds 1 --methods nsga2 --set supernet.space=tiny --set epochs=2 "
    "--set supernet.layers=1 --train epochs=1 --train network.channels=4 "
    "--train network.layers=1 --out"
).split()
PIECE = """
import sys
from egnas_jax.space import SPACES, Space
SPACES["tiny"] = Space("tiny", ("avg_pool_3x3", "skip_connect"), num_nodes=1)
import ten_systems
ten_systems.main(sys.argv[1:])
"""


def run_until_killed(out, folder, epochs):
    """Runs in a process of its own, which dies when a run has recorded epochs."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'experiments'}"}
    command = [sys.executable, "-c", PIECE, *MINUTE, str(out)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        while len(records.read(out / folder / "metrics.jsonl")) < epochs:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()


@pytest.mark.longest
def test_two_methods_are_compared_and_a_killed_piece_goes_on_to_the_same_bits(
    load, tmp_path, monkeypatch, tiny_space, capsys
):
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    main = load("ten_systems").main
    main([*MINUTE, str(tmp_path / "whole")])
    run_until_killed(tmp_path / "killed", "search-nsga2-0", 1)
    with pytest.raises(SystemExit, match="130"):
        main([*MINUTE, str(tmp_path / "killed"), "--epochs-now", "2"])
    assert "of 7 runs have ended" in capsys.readouterr().out
    main([*MINUTE, str(tmp_path / "killed")])
    folders = ["search-nsga2-0", "search-random_search-0"]
    digests, losses = [], []
    for out in ("whole", "killed"):
        lines = [records.read(tmp_path / out / f / "metrics.jsonl") for f in folders]
        digests.append([[line["digest"] for line in run] for run in lines])
        losses.append([[line["train_loss"] for line in run] for run in lines])
    assert digests[0] == digests[1] and len(digests[0][0]) == 2
    # methods that rank share the training of the weights, seed by seed
    assert losses[0][0] == losses[0][1]
    rows = [
        named_rows(json.loads((tmp_path / out / "ten_systems.json").read_text()))
        for out in ("whole", "killed")
    ]
    same = ("test error (%)", "weights", "weight steps", "images to choose")
    for label, whole in rows[0].items():
        assert [whole[name] for name in same] == [rows[1][label][name] for name in same]
    images = [row["images to choose"] for row in rows[0].values()]
    assert images[:2] == [38_016 * 1.0, 2 * 66 * 64]
