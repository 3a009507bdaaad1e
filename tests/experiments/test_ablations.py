"""Experiments that fork from warm starts: stand-ins for their runs, one in earnest."""

import csv
import importlib
import io
import json
import math
import pathlib
import sys

import jax
import numpy as np
import pytest
from scipy import stats

from egnas_jax.nn.cost import count_params
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.runs import finished_search, search_config
from egnas_jax.space import SPACES, Space, Topology, zoo
from egnas_jax.storage import records
from egnas_jax.strategies.egnas.evaluation import evaluate_fitness
from egnas_jax.strategies.egnas.explore import first_generation
from egnas_jax.strategies.egnas.strategy import mixings_evaluated

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "experiments"
# one node and two primitives: a network that compiles in seconds
SPACE = Space("tiny", primitives=("avg_pool_3x3", "skip_connect"), num_nodes=1)


@pytest.fixture
def load(monkeypatch):
    """Imports a file of experiments/ as its own command does."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    return importlib.import_module


# of three populations: all pairs choose alike; in halves; the first pair otherwise
GRID = [[4] * 16, [1] * 8 + [2] * 8, [5] + [6] * 15]


class Egnas:
    """Stands in for the command: notes it, and writes what a run records."""

    def __init__(self, figures):
        self.commands, self.figures = [], figures

    def __call__(self, command):
        settings = dict(
            command[i + 1].split("=", 1)
            for i, word in enumerate(command)
            if word == "--set"
        )
        given = {
            word: command[i + 1]
            for i, word in enumerate(command[:-1])
            if word.startswith("--") and word != "--set"
        }
        self.commands.append((command[0], given, settings))
        folder = pathlib.Path(given["--out"])
        folder.mkdir(parents=True, exist_ok=True)
        summary = {
            "params": 2_500_000,
            "genotype": zoo["DARTS_V2"].genotype.format(),
            "valid_accuracy": 0.5,
            "test_error_last": 0.05,
            "seconds": 9.0,
        }
        records.write_json(folder / "summary.json", summary | self.figures(settings))
        for epoch, seconds in enumerate([9.0, 1.0, 50.0, 2.0, 4.0]):
            images = 100.0 if epoch >= 2 else 0.0
            line = {
                "epoch": epoch,
                "seconds": seconds,
                "valid_accuracy": 0.5,
                "candidate_images": images,
                "grid_chosen": GRID if images else [[-1] * 16] * 3,
            }
            records.append(folder / "metrics.jsonl", line)
        return 0


@pytest.fixture
def stand_in(load, monkeypatch):
    """Replaces `egnas` of the experiments by a stand-in with these figures."""

    def place(figures):
        fake = Egnas(figures)
        monkeypatch.setattr(load("methods"), "egnas", fake)
        return fake

    return place


def test_table_1_forks_every_setting_from_the_seeds_warm_start(
    load, stand_in, tmp_path, capsys
):
    def figures(settings):
        seed, zeta = int(settings["seed"]), float(settings.get("strategy.zeta", 0))
        eta = float(settings.get("strategy.eta", 0))
        return {"valid_accuracy": 0.8 + 0.01 * seed**2 + 0.1 * zeta - 0.05 * seed * eta}

    fake = stand_in(figures)
    command = ["--size", "tiny", "--seeds", "3", "--out", str(tmp_path)]
    load("table1").main([*command, "--set", "epochs=9"])
    assert len(fake.commands) == 3 * (1 + 11)  # ratios of the weights
    warm = [given for _, given, _ in fake.commands if "--stop-after" in given]
    assert [given["--stop-after"] for given in warm] == ["3"] * 3
    for name, given, settings in fake.commands:
        assert name == "search" and settings["epochs"] == "9"
        assert (
            settings["strategy.warmup"] == "3" and given["--variant"] == "reproduction"
        )
        if given not in warm:
            assert given["--restore"] == str(
                tmp_path / f"warm_start-{settings['seed']}"
            )
            assert settings["strategy.weight_grid"] == "true"
    rows = json.loads((tmp_path / "table1.json").read_text())["rows"]
    assert [row[:2] for row in rows[:3]] == [[1.0, 1.0], [1.0, 0.8], [1.0, 0.4]]
    values, default = (
        [0.8 + 0.01 * seed**2 + 0.1 - 0.05 * seed * eta for seed in range(3)]
        for eta in (1.0, 0.4)
    )
    assert rows[0][3]["mean"] == pytest.approx(100 * sum(values) / 3)
    assert rows[0][4] == pytest.approx(stats.ttest_rel(values, default).pvalue)
    assert rows[2][4] is None
    # 0.2, 0.2 is the search of 1.0, 1.0, and 0.2, 0.4 that of 0.4, 0.8
    assert rows[15][2:7] == rows[0][2:7] and rows[14][2:7] == rows[9][2:7]
    # 1.0, 1.0 is apart in one of three populations, and 1.0, 0.4 and the second half in
    # another one; 0.8, 0.8 and 0.4, 0.2 choose as 1.0, 1.0 and 0.8, 0.4 do
    shares = [round(row[5]["mean"]) for row in rows]
    assert shares == [67, 100, 100, 100] + [100, 67, 100, 100] + [67] * 3 + [100] + (
        [67] * 4
    )
    whole = json.loads((tmp_path / "table1-details.json").read_text())["details"]
    place = whole["pairs"].index("0.2,1.0")
    assert whole["agreement"][0][place] == pytest.approx(1 / 3)
    assert whole["agreement"][place][place] == 1
    with (tmp_path / "table1.csv").open() as file:
        points = {
            (row["panel"], row["group"]): float(row["y"])
            for row in csv.DictReader(file)
        }
    assert points["0.2, 1.0", "1.0, 1.0"] == pytest.approx(100 / 3)
    told = capsys.readouterr().out
    assert "| 1.0 | 0.4 | 2.50 | 89.67 ± 0.58 (n = 3) | - | 100 ± 0 (n = 3) |" in told
    assert "| 84.09 | 2.58 |" in told
    load("table1").main([*command, "--set", "epochs=9"])  # nothing is left to run
    assert len(fake.commands) == 36
    with pytest.raises(SystemExit, match="what another command made"):
        load("table1").main([*command, "--set", "epochs=8"])


def test_figure_3_measures_epochs_that_explore(load, stand_in, tmp_path):
    def figures(settings):
        seed, size = int(settings["seed"]), int(settings.get("strategy.population", 0))
        return {"valid_accuracy": 0.5 + 0.1 * seed + 0.001 * size}

    stand_in(figures)
    load("figure3").main(["--size", "tiny", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "figure3.json").read_text())
    # each record once: here all runs of a seed have those of its warm start
    assert found["seconds"] == 2 * (9 + 1 + 50 + 2 + 4)
    rows = found["rows"]
    assert [row[0] for row in rows] == [15, 30, 50, 70, 100]
    assert rows[0][2]["mean"] == 4.0  # of 50, 2 and 4
    with (tmp_path / "figure3.csv").open() as file:
        points = [tuple(point.values()) for point in csv.DictReader(file)]
    assert ("seconds", "here", "seed 1", "70", "4.0") in points
    assert ("seconds", "here", "mean", "70", "4.0") in points
    assert ("days", "report", "report", "100", "0.094") in points
    own = [point for point in points if point[:3] == ("accuracy", "here", "seed 1")]
    assert [(x, float(y)) for *_, x, y in own] == [
        (size, pytest.approx(60 + int(size) / 10))
        for size in ("15", "30", "50", "70", "100")
    ]


def test_figure_2_shows_what_separates_the_terms(load):
    figure2 = load("figure2")
    own, both = ({"seed 0": [(1, 60.0), (2, 70.0)]}, {"seed 0": [(1, 60.0), (2, 71.0)]})
    assert figure2.difference(own, both) == {"seed 0": [(1, 0.0), (2, -1.0)]}


def test_figure_2_compares_each_term_with_both(load, stand_in, tmp_path):
    def figures(settings):
        seed = int(settings["seed"])
        zeta, eta = (
            float(settings.get(f"strategy.{name}", 0)) for name in ("zeta", "eta")
        )
        return {"valid_accuracy": 0.6 + 0.1 * zeta + 0.05 * eta * (seed + 1) ** 2}

    stand_in(figures)
    load("figure2").main(["--size", "tiny", "--seeds", "3", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "figure2.json").read_text())
    rows = {row[0]: row[1:] for row in found["rows"]}
    both = [0.7 + 0.02 * (seed + 1) ** 2 for seed in range(3)]
    alone = [0.6 + 0.02 * (seed + 1) ** 2 for seed in range(3)]
    assert rows["L1 only"][0]["mean"] == pytest.approx(70)
    assert rows["L1 only"][1] == pytest.approx(stats.ttest_rel([0.7] * 3, both).pvalue)
    assert rows["L2 only"][0]["mean"] == pytest.approx(100 * sum(alone) / 3)
    assert rows["L1 and L2"][1] is None
    assert [rows[name][2] for name in rows] == [83.5, 83.3, 84.1]
    # of three populations: alike in all, in two or in one, as `GRID` has it
    assert "differ in zeta / eta choose the same" in found["note"]
    assert "(33 to 100)" in found["note"]


def test_agreement_is_told_of_weightings_that_differ(load):
    """By hand: all that are equal agree; 1, 0.2 and 0.2, 1 never, others in half."""
    grid = importlib.import_module("egnas_jax.strategies.egnas_grid")
    ratios = np.array([zeta / eta for zeta, eta in grid.PAIRS]).round(6)
    agreement = np.where(ratios[:, None] == ratios[None], 1.0, 0.5)
    assert len(set(ratios)) == 11
    assert "in 50 % (50 to 50)" in load("forks").agreed(agreement)
    i, j = grid.PAIRS.index((1.0, 0.2)), grid.PAIRS.index((0.2, 1.0))
    agreement[i, j] = agreement[j, i] = 0.0
    assert "(0 to 50)" in load("forks").agreed(agreement)
    assert load("forks").agreed(None) == ""
    runs = [
        load("methods").Found(
            "a",
            seed,
            {},
            [
                {"candidate_images": 0, "grid_chosen": [[-1] * 16]},
                {"candidate_images": 9, "grid_chosen": [[1] * 15 + [last]]},
            ],
        )
        for seed, last in enumerate((1, 2, 2, 2))
    ]
    found = load("forks").agreement(runs)
    assert (found[0, 1], found[0, 15]) == (1, 0.25)


def test_the_reports_table_1_counts_the_weights_of_its_cells(load):
    """The cells that it names, counted; it cuts their figures off."""
    weights = load("table1").WEIGHTS
    for i, eta in enumerate(weights, start=1):
        for j, zeta in enumerate(weights, start=1):
            _, printed = load("table1").REPORTED[zeta, eta]
            counted = count_params(zoo[f"seed_l{i}{j}"].genotype, NetworkConfig())
            assert printed == math.floor(counted / 1e4) / 100
    accuracies = {pair: one for pair, (one, _) in load("table1").REPORTED.items()}
    assert max(accuracies, key=accuracies.get) == (1.0, 0.4)
    # the sum of the 16 that it prints
    assert sum(accuracies.values()) == pytest.approx(1339.728)
    # by hand: 1, 1 and the like 84.036, 83.668, 83.632, 83.096; 2, 1 83.724, 83.184;
    # 1, 2 83.852, 83.684
    assert (
        "up to 0.94 points apart: standard deviation 0.35, that of all its 16 is 0.30"
        in load("table1").reported_noise()
    )


NOTE = " Alpha takes no part in the clipped norm, short last batches are dropped."


@pytest.mark.parametrize(
    "size, words, said",
    [
        (
            "tiny",
            [],
            "Ours on scikit-learn's digits (1,438 images of 8 x 8, and 359 to "
            "test)." + NOTE,
        ),
        ("full", [], "Ours on CIFAR-10."),
        (
            "full",
            ["strategy.alpha_in_clip=false", "strategy.last_batch=drop"],
            "Ours on CIFAR-10." + NOTE,
        ),
        (
            "small",
            ["data.path=x.npz"],
            "Ours on images that are not the size's." + NOTE,
        ),
        (
            "small",
            ["data.name=cifar10", "strategy.last_batch=short"],
            "Ours on images that are not the size's.",
        ),
    ],
)
def test_a_note_says_what_was_searched_on(size, words, said, load, tmp_path):
    settings = [word for one in words for word in ("--set", one)]
    parser = load("forks").parser("A text.")
    options = parser.parse_args(["--size", size, "--out", str(tmp_path), *settings])
    assert load("forks").images(options) == said


@pytest.mark.parametrize(
    "name, words",
    [
        ("figure3", ["--populations", "50", "50"]),
        ("table1", ["--weights", "1", "1.0"]),
    ],
)
def test_a_setting_that_is_named_twice_is_refused(name, words, load, tmp_path, capsys):
    with pytest.raises(SystemExit):
        load(name).main(["--size", "tiny", "--out", str(tmp_path), *words])
    assert "one twice" in capsys.readouterr().err


def test_methods_are_judged_by_trained_cells_against_chance(
    load, stand_in, tmp_path, capsys
):
    """Two random cells a seed, 4 points apart and 5.2 % in the mean."""
    apart = {
        "paper": [0, 0, 0, 0, 0],
        "official": [-1.2, -1.7, -1.6, -2.1, -3.4],
        "reproduction": [-2, -6, -2, -4, -1],
    }

    def figures(settings):
        return {"test_error_last": 0.05 + 0.001 * int(settings["seed"])}

    fake = stand_in(figures)
    chance, egnas = load("chance"), load("methods").egnas

    def trained(command):
        code = egnas(command)
        given = dict(zip(command, command[1:], strict=False))
        folder = pathlib.Path(given["--out"])
        variant, _, seed = folder.name.removeprefix("EG-NAS_").rpartition("-")
        if command[0] == "retrain" and variant in apart:
            summary = json.loads((folder / "summary.json").read_text())
            error = 0.052 + 0.01 * apart[variant][int(seed)]
            records.write_json(
                folder / "summary.json", summary | {"test_error_last": error}
            )
        for name, more in (("random_cells", 0.02), ("alpha", -0.02)):
            if command[0] == "retrain" and folder.name.startswith(name):
                summary = json.loads((folder / "summary.json").read_text())
                own = summary["test_error_last"] + more
                records.write_json(
                    folder / "summary.json", summary | {"test_error_last": own}
                )
        return code

    load("methods").egnas = trained  # `stand_in` puts the true one back
    chance.main(["--size", "tiny", "--out", str(tmp_path)])
    kinds = [name for name, _, _ in fake.commands]
    assert (kinds.count("search"), kinds.count("retrain")) == (5 * 4, 5 * 6)
    for _, given, settings in fake.commands:
        assert settings["seed"] == given["--out"].rpartition("-")[2]
    drawn = {
        given["--genotype"]
        for name, given, _ in fake.commands
        if "random_cells" in given["--out"] or "never" in given["--out"]
    }
    assert len(drawn) == 10  # each seed its own
    rows = {
        row[0]: row[1:]
        for row in json.loads((tmp_path / "chance.json").read_text())["rows"]
    }
    assert rows["EG-NAS official"][3] == "better than random cells"
    # by hand: means 4.52 and 3.43 standard errors from zero, where t(4) is 2.78 at
    # 95 %, 4.31 at 98.75 %, which four claims need, and 4.60 at 99 %
    assert rows["EG-NAS reproduction"][3] == "not told apart from random cells"
    assert rows["random search"][3] == "not told apart from random cells"
    assert (
        rows["random cells"][2:4] == rows["alpha that never moved"][2:4] == [None] * 2
    )
    assert rows["EG-NAS paper"][5] == 300


@pytest.mark.parametrize("name", ["tiny", "small", "full"])
def test_searches_that_are_compared_price_as_many_images(name, load):
    chance, images = load("chance"), []
    for method, words in chance.searches(chance.SIZES[name]).items():
        settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        given = dict(zip(words[::2], words[1::2], strict=True))
        built = search_config.build(
            given["--preset"],
            given.get("--strategy", "egnas"),
            given.get("--variant"),
            overrides=settings,
        )
        own = built.strategy
        if method == "random search":
            forwards = built.epochs * (own.candidates + 1)  # the best one beside them
        else:
            forwards = (built.epochs - own.warmup) * mixings_evaluated(own)
        images.append(forwards * own.fitness_batch_size)
    assert len(images) == 4 and max(images) <= 1.002 * min(images)


def test_supernets_are_ranked_beside_the_number_of_weights(
    load, stand_in, tmp_path, monkeypatch
):
    """Cells of 3x3 convolutions alone have the more weights the more of them."""
    cells = [Topology.of_choices([3] * n + [1] * (6 - n)).format() for n in range(4)]
    judged = "test_accuracy_200_epochs"
    fake = stand_in(lambda settings: {"valid_accuracy": 0.3})

    def ranked(command):
        code = fake(command)
        if command[0] == "rank-correlation":
            value = 0.25 if "EG-NAS" in command[1] else -0.5
            interval = {"value": value, "low": -1.0, "high": 1.0}
            entries = [
                {"supernet": supernet, "table": table, "kendall": one, "spearman": one}
                for supernet in ("loss", "accuracy")
                for table in ("valid_accuracy_12_epochs", judged)
                for one in (
                    [interval]
                    if (supernet, table) == ("loss", judged)
                    else [interval | {"value": 9.0}]
                )
            ]
            records.write_json(
                pathlib.Path(command[1]) / "rank_correlation.json",
                {
                    "epochs": 3,
                    "cells": 4,
                    "images": 64,
                    "seed": 0,
                    "optimum": 0.94,
                    "best_test_accuracy": 0.9,
                    "correlations": entries,
                    "sample": {"cell": cells, judged: [0.1, 0.2, 0.3, 0.4]},
                },
            )
        return code

    monkeypatch.setattr(load("rank_nasbench201"), "read_table", lambda *given: None)
    load("methods").egnas = ranked  # `stand_in` puts the true one back
    command = ["--size", "tiny", "--table", "FILE", "--out", str(tmp_path)]
    load("rank_nasbench201").main([*command, "--variant", "official"])
    kinds = [name for name, _, _ in fake.commands]
    assert (kinds.count("search"), kinds.count("rank-correlation")) == (6, 6)
    spaces = {
        given.get("--space") for name, given, _ in fake.commands if name == "search"
    }
    assert spaces == {"nasbench201"}
    found = json.loads((tmp_path / "rank_nasbench201.json").read_text())
    rows = {row[0]: row[1:] for row in found["rows"]}
    assert rows["EG-NAS official"][1]["mean"] == 0.25
    assert rows["random search"][2] == {"mean": -0.5, "spread": 0.0, "n": 2}
    assert rows["DARTS, first order"][3]["mean"] == 90
    assert rows["number of weights"][1].startswith("1.00 (")
    count = len(fake.commands)
    load("rank_nasbench201").main([*command, "--variant", "official"])
    assert len(fake.commands) == count


@pytest.mark.parametrize(
    "differences, said",
    [
        ([-0.02, -0.021, -0.019], "better"),
        ([0.02, 0.021, 0.019], "worse"),
        ([-0.01, 0.02, 0.0], "not told"),
        ([0.01, -0.02, 0.0], "not told"),
        ([-0.5], "one seed"),
    ],
)
def test_a_claim_is_what_its_interval_allows(load, differences, said):
    assert load("methods").verdict(differences).startswith(said)


def test_several_claims_need_wider_intervals(load):
    """By hand: mean -2.5, standard error 0.289; t(2) is 4.30 at 95 %, 9.92 at 99 %."""
    methods, differences = load("methods"), [-0.02, -0.03, -0.025]
    assert methods.verdict(differences).startswith("better")
    assert methods.verdict(differences, 0.99).startswith("not told")
    assert methods.interval(differences, 100) == "-3.74 to -1.26"
    assert methods.interval(differences, 100, 0.99) == "-5.37 to 0.37"


def test_the_tiny_size_of_an_ablation_as_it_is(load, tmp_path):
    """Figure 2 of one seed, in the whole space; others below take a small one."""
    load("figure2").main(["--size", "tiny", "--seeds", "1", "--out", str(tmp_path)])
    assert "<svg" in (tmp_path / "figure2.svg").read_text()
    with (tmp_path / "figure2.csv").open() as file:
        points = list(csv.DictReader(file))
    own = [point for point in points if point["panel"] == "ours"]
    assert [point["x"] for point in own] == ["1", "2", "3", "4", "5", "6"] * 3
    apart = [float(point["y"]) for point in points if point["panel"] == "difference"]
    assert len(apart) == 18 and apart[:3] == [0, 0, 0] and apart[-6:] == [0] * 6
    lines = [
        records.read(tmp_path / name / "metrics.jsonl")
        for name in ("L1_only-0", "L2_only-0", "L1_and_L2-0")
    ]
    digests = [[line["digest"] for line in own] for own in lines]
    # one warm start, bit for bit, then another for each fitness
    assert digests[0][:3] == digests[1][:3] == digests[2][:3]
    assert len({own[-1] for own in digests}) > 1
    found = json.loads((tmp_path / "figure2.json").read_text())
    # chance is 10 %; recorded are about 42 %
    assert all(row[1]["mean"] > 30 for row in found["rows"])


def test_a_tiny_table_1_in_earnest(load, tmp_path, monkeypatch):
    monkeypatch.setitem(SPACES, "tiny", SPACE)
    command = ["--size", "tiny", "--seeds", "1", "--out", str(tmp_path)]
    settings = ["--set", "supernet.space=tiny", "--set", "epochs=4"]
    load("table1").main([*command, *settings, "--weights", "1.0", "0.4"])
    rows = json.loads((tmp_path / "table1.json").read_text())["rows"]
    assert [row[:2] for row in rows] == [[1.0, 1.0], [1.0, 0.4], [0.4, 1.0], [0.4, 0.4]]
    assert not (tmp_path / "0.4,0.4-0").exists()
    # the setting itself chooses as it does
    agreement = [row[5]["mean"] for row in rows]
    assert agreement[1] == 100 and all(0 <= share <= 100 for share in agreement)


def test_a_tiny_figure_3_in_earnest(load, tmp_path, monkeypatch):
    monkeypatch.setitem(SPACES, "tiny", SPACE)
    command = ["--size", "tiny", "--seeds", "1", "--out", str(tmp_path)]
    settings = ["--set", "supernet.space=tiny", "--set", "epochs=4"]
    load("figure3").main([*command, *settings, "--populations", "4", "8"])
    lines = [
        records.read(tmp_path / f"population{size}-0" / "metrics.jsonl")
        for size in (4, 8)
    ]
    digests = [[line["digest"] for line in own] for own in lines]
    assert digests[0][:3] == digests[1][:3] and digests[0][3] != digests[1][3]
    # with alpha, and the leader once more
    assert [own[-1]["candidate_images"] / 64 for own in lines] == [6, 10]
    whole = json.loads((tmp_path / "figure3-details.json").read_text())
    rows = whole["record"]["rows"]
    assert [row[2]["mean"] for row in rows] == [own[-1]["seconds"] for own in lines]
    chosen = [own[-1]["grid_chosen"][0] for own in lines]
    same = [
        [sum(row[i] == row[j] for row in chosen) / 2 for i in range(16)]
        for j in range(16)
    ]
    assert whole["details"]["agreement"] == same


def test_chance_in_earnest(load, tmp_path, monkeypatch):
    """Of the DARTS space two primitives, of the methods two."""
    space = Space("darts7", primitives=("avg_pool_3x3", "skip_connect"))
    monkeypatch.setitem(SPACES, "darts7", space)
    chance, forks = load("chance"), load("forks")
    size = chance.SIZES["tiny"]._replace(
        retrain=(*forks.DIGITS, *forks.settings(network__layers=2, epochs=1)), seeds=1
    )
    monkeypatch.setitem(chance.SIZES, "tiny", size)
    monkeypatch.setattr(chance, "VARIANTS", ("official",))
    chance.main(["--size", "tiny", "--out", str(tmp_path)])
    whole = json.loads((tmp_path / "chance-details.json").read_text())
    runs = {run["method"]: run for run in whole["details"]}
    assert list(runs) == ["EG-NAS official", "random search", *chance.DRAWN]
    for name in list(runs)[:2]:
        folder = tmp_path / "search" / f"{name.replace(' ', '_')}-0"
        summary = json.loads((folder / "summary.json").read_text())
        assert runs[name]["genotype"] == summary["genotype"]
    # 3 explorations of 16 and alpha and the winner, and 6 of 8 and the best so far
    assert [run["candidate_images"] for run in runs.values()] == [3456, 3456, 0, 0]
    for name, run in runs.items():
        folder = tmp_path / f"{name.replace(' ', '_')}-0"
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["test_error_last"] == run["test_error"]
        assert summary["genotype"] == run["genotype"]
    rows = {row[0]: row[1]["mean"] for row in whole["record"]["rows"]}
    assert rows == pytest.approx(
        {name: 100 * run["test_error"] for name, run in runs.items()}
    )


def test_the_defects_in_earnest(load, tmp_path, monkeypatch):
    """The sign rule `off` takes the least cross entropy of each batch."""
    monkeypatch.setitem(SPACES, "tiny", SPACE)
    defects = load("defects")
    monkeypatch.setattr(defects, "SPACE", SPACE)
    words = [
        "--size",
        "tiny",
        "--seeds",
        "1",
        "--out",
        str(tmp_path),
        "--set",
        "supernet.space=tiny",
    ]
    options = load("forks").parser("A text.", None).parse_args(words)
    defects.main(words)
    made = json.loads((tmp_path / "defects-details.json").read_text())
    kinds = ("35 simulated updates", "3 simulated updates", "3 updates on images")
    named = [f"softmax(alpha) after {kind}" for kind in kinds]
    assert made["record"]["columns"][3:6] == named
    own = defects.of_variant(options, "official")
    went_on = load("forks").run({"search": []}, own)  # none is left
    walk = defects.real_walk(went_on, own.out, None)
    alpha = finished_search.load_search(own.out / "search-0").alpha
    shares = np.concatenate([np.ravel(jax.nn.softmax(rows)) for rows in alpha.values()])
    assert walk == {
        "updates": 3,
        "smallest_share": [pytest.approx(shares.min())],
        "largest_share": [pytest.approx(shares.max())],
    }
    rows = {(row[0], row[1]): row[2:] for row in made["record"]["rows"]}
    assert list(rows)[:3] == [("paper", ""), ("official", ""), ("reproduction", "")]
    assert len(rows) == 3 + 2 * 3
    walks = [*(defects.random_walk("official", updates) for updates in (35, 3)), walk]
    for cell, one in zip(rows["official", ""][1:4], walks, strict=True):
        ends = (
            sum(one[end]) / len(one[end]) for end in ("smallest_share", "largest_share")
        )
        assert cell == "{:.4f} to {:.4f}".format(*ends)
    shown = rows["official", "off"]
    (warm,) = load("forks").warm_starts(own)
    rows = {row["sign"]: row for row in defects.sign_rule("official", [warm], None)}
    assert [one["mean"] for one in shown[-3:]] == pytest.approx(
        [
            100 * rows["off"][part]
            for part in ("winner_less_accurate", "gain_on_batch", "gain_on_all")
        ]
    )
    found = finished_search.load_search(warm)
    config, state = found.config.strategy, found.state
    images, labels = finished_search.valid_batches(found, 11, 64, 0)
    z = first_generation(SPACE, config, jax.random.key(0), state.strategy)[0]
    evaluated = [
        evaluate_fitness(
            found.net, state.variables, state.strategy.alpha, z, *batch, config
        )
        for batch in zip(images, labels, strict=True)
    ]
    best = [int(one.cross_entropy.argmin()) for one in evaluated]
    gains = [
        int(one.correct[i]) - int(one.correct_current)
        for one, i in zip(evaluated, best, strict=True)
    ]
    assert rows["off"]["explorations"] == 11
    assert rows["off"]["gain_on_batch"] == pytest.approx(sum(gains) / 11 / 64)
    worse = sum(gain < 0 for gain in gains) / 11
    assert rows["off"]["winner_less_accurate"] == pytest.approx(worse)
    # on all batches, of each batch's winner
    whole = sum(np.asarray(one.correct) for one in evaluated)
    current = sum(int(one.correct_current) for one in evaluated)
    on_all = (whole[best].mean() - current) / labels.size
    assert rows["off"]["gain_on_all"] == pytest.approx(on_all)
    mean = (whole.mean() - current) / labels.size
    assert rows["off"]["mean_gain_of_population"] == pytest.approx(mean)
    # what the defect is: pushed away where it is as good as alpha
    assert rows["paper"]["winner_less_accurate"] > worse


def test_searches_in_a_table_in_earnest(load, write_table, tmp_path, monkeypatch):
    """A table in which validation prefers one cell and the test another."""
    table = tmp_path / "table.npz"

    def accuracies(cells):
        counts = (cells == 3).sum(axis=1)
        # two cells tie: all six edges 3x3 convolutions, all six none
        valid = np.where((cells == 0).all(axis=1), 80.0, 10.0 * counts + 20)
        return valid, 90 - 5.0 * np.abs(counts - 5)

    write_table(table, accuracies)
    nasbench201 = load("nasbench201")
    paper = [
        *nasbench201.SEARCHES["paper"],
        "--queries",
        "20",
        "--set",
        "egnas.population=4",
    ]
    monkeypatch.setattr(nasbench201, "SEARCHES", {"paper": paper})
    command = ["--table", str(table), "--datasets", "cifar10", "--out", str(tmp_path)]
    nasbench201.main([*command, "--runs", "3"])
    found = json.loads((tmp_path / "nasbench201.json").read_text())
    rows = {row[1]: row[2:] for row in found["rows"]}
    assert list(rows) == [
        "EG-NAS paper (eta 0)",
        "EG-NAS paper (eta 0.4)",
        "random search",
        "ageing evolution",
        "best of all by validation",
    ]
    # 5 and 25 points below the best cell
    assert rows["best of all by validation"] == [None, 15_625, "15.000", None, 0]
    assert "--runs 3 --datasets cifar10 --out" in found["command"]
    whole = json.loads((tmp_path / "cifar10-paper" / "curves.json").read_text())
    last = whole["entries"][1]["final"]["test_regret"]["mean"]
    assert rows["EG-NAS paper (eta 0.4)"][:2] == [3, 20]
    own = rows["EG-NAS paper (eta 0.4)"]
    assert own[2].startswith(f"{100 * last:.3f} (")
    entry = whole["entries"][1]
    assert own[3].startswith(f"{100 * entry['answer_regret']['mean']:.3f} (")
    evolved = rows["ageing evolution"][4]
    assert evolved == pytest.approx(100 * whole["entries"][3]["optimum_found"])
    # both settings of EG-NAS ran in one program
    seconds = {one["method"]: one["seconds"] for one in whole["entries"]}
    assert found["seconds"] == pytest.approx(sum(seconds.values()))
    with (tmp_path / "nasbench201.csv").open() as file:
        points = list(csv.DictReader(file))
    name = "EG-NAS paper (eta 0.4)"
    means = [
        float(point["y"])
        for point in points
        if (point["group"], point["run"]) == (name, "mean")
    ]
    assert means[-1] == pytest.approx(100 * last)
    with pytest.raises(SystemExit, match="what another command made"):
        nasbench201.main([*command, "--runs", "4"])
    # of one run no interval is known
    for entry in whole["entries"]:
        for interval in (
            *entry["curves"].values(),
            *entry["final"].values(),
            entry["answer_regret"],
        ):
            one = isinstance(interval["low"], float)
            interval |= {
                part: None if one else [None] * len(interval["mean"])
                for part in ("low", "high")
            }
    records.write_json(tmp_path / "cifar10-paper" / "curves.json", whole)
    nasbench201.main([*command, "--runs", "3"])
    rows = json.loads((tmp_path / "nasbench201.json").read_text())["rows"]
    assert rows[1][4] == f"{100 * last:.3f}"


def test_tiny_noise_in_earnest(load, tmp_path, monkeypatch):
    monkeypatch.setitem(SPACES, "tiny", SPACE)
    command = ["--size", "tiny", "--seeds", "2", "--out", str(tmp_path)]
    load("noise").main([*command, "--set", "supernet.space=tiny", "--set", "epochs=4"])
    found = json.loads((tmp_path / "noise.json").read_text())
    written = [
        json.loads((tmp_path / f"search-{seed}" / "noise.json").read_text())
        for seed in range(2)
    ]
    assert [one["size"] for one in written] == [20, 20]
    rows = {row[0]: row[1:] for row in found["rows"]}
    own = [one["statistics"]["batch"]["cross_entropy"] for one in written]
    shown = rows["cross entropy, batch statistics"]
    for column, values in (
        (0, [one["kendall"]["mean"] for one in own]),
        (1, [one["by_batches"][-1]["mean"] for one in own]),
        (2, [100 * one["variance_share"]["candidate"] for one in own]),
        (3, [100 * one["variance_share"]["batch"] for one in own]),
    ):
        assert shown[column]["mean"] == pytest.approx(sum(values) / 2)
    needed = [one["batches_for"]["batches"] for one in own]
    assert shown[-1] == ", ".join(f"{one}" if one else "> 4" for one in needed)
    with (tmp_path / "noise.csv").open() as file:
        points = list(csv.DictReader(file))
    assert {point["panel"] for point in points} == {"fitness", "cross_entropy"}
    last = [point for point in points if point["run"] == "seed 1"][-1]
    assert last["group"] == "batch statistics"
    assert float(last["y"]) == own[1]["by_batches"][-1]["mean"]


def test_a_tiny_table_2_in_earnest(load, tmp_path, monkeypatch):
    monkeypatch.setitem(SPACES, "tiny", SPACE)
    table2, egnas = load("table2"), load("methods").egnas
    command = [
        "--size",
        "tiny",
        "--seeds",
        "1",
        "--searches",
        "1",
        "--out",
        str(tmp_path),
        "--set",
        "supernet.space=tiny",
        "--set",
        "epochs=4",
        "--train",
        "epochs=1",
        "--train",
        "network.channels=4",
    ]
    command += ["--epochs-now", "5"]

    def run(words, deadline):
        return egnas(words)

    with pytest.raises(SystemExit, match="130"):  # the search and one training
        table2.main(command, run)
    table2.main(command, run)
    found = json.loads((tmp_path / "table2.json").read_text())
    errors = [
        json.loads((tmp_path / name / "summary.json").read_text())["test_error_last"]
        for name in ("seed0", "random0")
    ]
    means = [row[2]["mean"] for row in found["rows"][:2]]
    assert means == pytest.approx([100 * error for error in errors])
    searched = json.loads((tmp_path / "search0" / "genotype.json").read_text())
    assert json.loads((tmp_path / "seed0" / "genotype.json").read_text()) == searched


def test_the_constant_key_of_the_published_code_repeats_its_directions(load):
    """49 directions from the first of 50 individuals; 3 samples of 35 updates."""
    defects = load("defects")
    assert defects.distinct_directions("official") == (49, 49 * 105)
    assert defects.distinct_directions("paper") == (49 * 105, 49 * 105)


def test_a_step_of_the_published_code_is_nearly_uniform(load):
    """s* of `official` is a softmax of shares: within 1 / (1 + 6 e) and e / (e + 6)."""
    walk = load("defects").random_walk("official")
    assert (
        0.13 < min(walk["smallest_share"]) < 1 / 7 < max(walk["largest_share"]) < 0.16
    )
    share = math.e / (math.e + 6)
    assert 0 < walk["largest_relative_step"] < 0.1 * (share - 1 / 7)
    kept = walk["argmax_of_initial_noise"]
    assert len(kept) == 100
    # near chance after so many steps, far above it after one
    assert 1 / 7 < sum(kept) / 100 < 0.3
    one = load("defects").random_walk("official", 1)
    assert sum(one["argmax_of_initial_noise"]) / 100 > 0.4
    assert max(one["largest_share"]) < min(walk["largest_share"])


def test_the_defects_are_drawn_with_all_their_figures(load):
    signs = [
        {"variant": variant, "sign": sign, "gain_on_batch": 0.01 * seed}
        for variant in ("official", "paper")
        for sign in ("paper", "off")
        for seed in range(3)
    ]
    walks = {
        kind: {"official": {"smallest_share": [0.13, 0.14], "largest_share": largest}}
        for kind, largest in (("simulated", [0.16]), ("on images", [0.14, 0.15]))
    }
    picture = load("defects").drawn({"official": (49, 5145)}, walks, signs)
    points = list(csv.DictReader(io.StringIO(picture.csv)))
    assert len(points) == 1 + 4 + 12 and "<svg" in picture.svg
    ends = {(point["panel"], point["run"]): float(point["y"]) for point in points}
    assert ends["softmax(alpha), simulated", "largest"] == 0.16
    assert ends["softmax(alpha), on images", "largest"] == pytest.approx(0.145)
    assert ends["softmax(alpha), on images", "least"] == pytest.approx(0.135)
    assert (points[-1]["group"], points[-1]["run"]) == ("paper off", "seed 2")
    assert float(points[-1]["y"]) == pytest.approx(2)
