"""Table 2 of the report: a found cell beside random cells, carried out in pieces."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import egnas_jax
from egnas_jax import NetworkConfig, count_params, zoo
from egnas_jax.space import SPACES
from egnas_jax.storage import records
from egnas_jax.training.interrupt import Interrupted

ROOT = pathlib.Path(__file__).resolve().parents[2]
CELL = zoo["DARTS_V2"].genotype
GIVEN = ["--size", "full", "--genotype", "DARTS_V2", "--train", "epochs=5"]
SUMMARY = dict(
    params=2_580_000,
    multiply_adds=None,
    multiply_adds_convention="convolutions",
    search_seconds=21_600,
    test_images=10_000,
)


class Runs:
    """Stands in for runs: writes what they record, and may interrupt them.

    Attributes:
      calls: (kind, configuration, genotype, search seconds) of every call.
      interrupt_after: epochs after which a run is interrupted, or None.
    """

    def __init__(self, interrupt_after=None):
        self.calls, self.interrupt_after = [], interrupt_after

    def run_search(self, config, **options):
        self.calls.append(("search", config, None, None))
        self._run(config, **options)

    def run_retraining(self, genotype, config, *, search_seconds, **options):
        self.calls.append(("retrain", config, genotype, search_seconds))
        self._run(config, **options)

    def _run(self, config, *, out, resume, stop_after, **options):
        kind, seed = re.fullmatch(r"(\D+)(\d+)", out.name).groups()
        assert resume == out.exists() and config.seed == int(seed)
        out.mkdir(parents=True, exist_ok=True)
        done = len(records.read(out / "metrics.jsonl"))
        last = done + (self.interrupt_after or stop_after)
        goal = min(stop_after, last)
        for epoch in range(done, goal):
            metrics = self._metrics(kind, int(seed), epoch)
            record = {"epoch": epoch, "seconds": 2, **metrics}
            records.append(out / "metrics.jsonl", record)
        if goal < stop_after:
            raise Interrupted
        self._summarise(kind, int(seed), goal, out)

    def _metrics(self, kind, seed, epoch):
        if kind == "search":
            return {"valid_accuracy": 0.5 + 0.1 * seed}
        return {"test_error": 0.1 * (seed + 1) / (epoch + 1) + (kind == "random") * 0.1}

    def _summarise(self, kind, seed, goal, out):
        summary = {"seconds": 2.0 * goal, "epochs": goal, "genotype": CELL.format()}
        metrics = self._metrics(kind, seed, goal - 1)
        if kind == "search":
            records.write_text(out / "genotype.json", CELL.to_json())
            summary |= metrics | {"early_stop": None}
        else:
            error = metrics["test_error"]
            summary |= {**SUMMARY, "test_error_last": error, "test_error_best": error}
        records.write_json(out / "summary.json", summary)


@pytest.fixture
def install(monkeypatch):
    """Replaces runs by stand-ins."""

    def replace(runs):
        monkeypatch.setattr(egnas_jax, "run_search", runs.run_search)
        monkeypatch.setattr(
            egnas_jax, "run_retraining", runs.run_retraining, raising=False
        )
        return runs

    return replace


@pytest.fixture
def call(load):
    """Calls one piece, whose exit code says whether it is the last."""

    def run_piece(command, *, is_last):
        try:
            load("table2").main(command)
        except SystemExit as ended:
            assert ended.code == 130 and not is_last
        else:
            assert is_last

    return run_piece


def printed_epochs(capsys):
    """Epochs of each run, as a piece prints them."""
    lines = re.findall(r"(\w+): (\d+) of \d+ epochs", capsys.readouterr().out)
    return {name: int(epochs) for name, epochs in lines}


def carry_out_in_pieces(call, tmp_path, capsys):
    """Two searches of 4 epochs, then two seeds of 5 for the best cell and for random
    cells: 28 epochs in pieces of 9."""
    words = f"--size tiny --out {tmp_path} --searches 2 --seeds 2 --variant official"
    command = f"{words} --set epochs=4 --train epochs=5".split()
    for expected in (
        [4, 4, 1, 0, 0, 0],
        [4, 4, 5, 5, 0, 0],
        [4, 4, 5, 5, 5, 4],
        [4, 4, 5, 5, 5, 5],
    ):
        is_last = expected[-1] == 5
        call([*command, "--epochs-now", "9"], is_last=is_last)
        names = ["search0", "search1", "seed0", "seed1", "random0", "random1"]
        assert printed_epochs(capsys) == dict(zip(names, expected, strict=True))
        assert (tmp_path / "table.md").exists() == is_last
    return command


def test_a_table_is_carried_out_in_pieces(call, install, tmp_path, capsys):
    runs = install(Runs())
    command = carry_out_in_pieces(call, tmp_path, capsys)
    searches = [config for kind, config, *_ in runs.calls if kind == "search"]
    assert {config.strategy.candidates for config in searches} == {"constant"}
    trainings = [entry for entry in runs.calls if entry[0] == "retrain"]
    assert trainings[0][2] == CELL
    assert trainings[0][3] == 8.0  # seconds of its search
    assert trainings[-1][1].seed == 1 and trainings[-1][1].epochs == 5
    count = len(runs.calls)
    call(command, is_last=True)
    assert len(runs.calls) == count  # nothing is left to do


def test_the_cell_of_the_best_search_is_trained_on_its_split(call, install, tmp_path):
    """The second search has the higher validation accuracy."""
    runs = install(Runs())
    run = runs.run_search

    def run_search(config, *, out, **options):
        run(config, out=out, **options)
        records.write_json(out / "config.json", {"seed": 40 + config.seed})

    runs.run_search = run_search
    install(runs)
    words = f"--size tiny --out {tmp_path} --searches 2 --seeds 1 --set epochs=1"
    call([*words.split(), "--train", "epochs=1"], is_last=True)
    configs = [config for kind, config, *_ in runs.calls if kind == "retrain"]
    assert [config.split_seed for config in configs] == [41, 0]


def test_rows_hold_ours_and_the_reports_figures(call, install, tmp_path, capsys):
    install(Runs())
    carry_out_in_pieces(call, tmp_path, capsys)
    record = json.loads((tmp_path / "table2.json").read_text())
    rows = {row[0]: row[1:] for row in record["rows"]}
    assert rows["found by EG-NAS"][0] == "2.00, 4.00"
    assert rows["random cells, one a seed"][1]["mean"] == pytest.approx(13)
    assert rows["found by EG-NAS"][3] == 0.25  # of a day
    # means that the report's text gives
    for name, error, weights in (("CIFAR-10", 2.735, 2.58), ("CIFAR-100", 17.91, 2.39)):
        row = rows[f"report, {name}"]
        assert row[1]["mean"] == pytest.approx(error) and row[1]["n"] == 4
        assert row[2:] == [pytest.approx(weights), 0.08]
    assert "(variant official)" in record["note"]
    assert "--variant official" in record["command"]
    assert "-10.00 to -10.00 points (95 %), better than" in record["note"]
    assert "digits" in record["note"] and "--searches 2" in record["command"]


@pytest.mark.parametrize(
    "wrong, message",
    [
        (["--genotype", "DARTS_V3"], "DARTS_V3"),
        (["--genotype", ""], "genotype"),
        (["--genotype", "DARTS_V2", "--searches", "3"], "nothing is searched"),
        (["--genotype", "DARTS_V2", "--set", "epochs=3"], "nothing is searched"),
        (["--size", "tiny", "--preset", "cifar10"], "tiny is on digits"),
        (["--seeds", "0"], "--seeds: 0 is less than 1"),
        (["--searches", "0"], "--searches: 0 is less than 1"),
        (["--epochs-now", "-3"], "--epochs-now: -3 is less than 1"),
        (["--minutes", "nan"], "nan is no number of minutes"),
        (["--minutes", "-5"], "-5 is no number of minutes"),
        (["--minutes", "inf"], "inf is no number of minutes"),
        (["--set", "seed=3"], "--set: seeds are counted by --seeds"),
        (["--set", "epochs"], "takes PATH=VALUE, got 'epochs'"),
        (["--set", "epoch=3"], "epoch"),
        (["--train", "epoch=3"], "epoch"),
        (["--train", "data.path=x.npz"], "share the images"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(
    wrong, message, load, tmp_path, capsys
):
    command = ["--size", "full", "--out", str(tmp_path / "out"), *wrong]
    with pytest.raises(SystemExit) as ended:
        load("table2").main(command)
    assert ended.value.code == 2 and not (tmp_path / "out").exists()
    # below the usage, which names all options
    assert message in capsys.readouterr().err.partition("error:")[2]


def test_each_data_set_has_a_record_of_its_own(call, install, tmp_path):
    runs = install(Runs())
    words = f"--seeds 1 --preset cifar100 --out {tmp_path}"
    call([*GIVEN, *words.split()], is_last=True)
    assert [config.data.name for _, config, *_ in runs.calls] == ["cifar100"] * 2
    record = json.loads((tmp_path / "table2_cifar100.json").read_text())
    assert "Ours on CIFAR-100" in record["note"]
    assert "--preset cifar100" in record["command"]


@pytest.mark.parametrize("name, classes", [("cifar10", 10), ("cifar100", 100)])
def test_weights_are_counted_for_the_classes_of_the_data(
    name, classes, call, load, install, tmp_path, monkeypatch
):
    install(Runs())
    arguments = []

    def channels(cell, network, image_channels, target):
        arguments.append((network.num_classes, image_channels, target))
        return 36

    monkeypatch.setattr(load("random_cells"), "equal_channels", channels)
    words = f"--seeds 1 --preset {name} --out {tmp_path}"
    call([*GIVEN, *words.split()], is_last=True)
    weights = count_params(CELL, NetworkConfig(num_classes=classes))
    assert set(arguments) == {(classes, 3, weights)}


@pytest.mark.parametrize("changed", ["--genotype NSGANet", "--train epochs=3"])
def test_a_folder_with_another_cell_or_recipe_is_refused(
    changed, call, load, install, tmp_path
):
    install(Runs())
    command = [*f"--out {tmp_path} --seeds 1".split(), *GIVEN]
    call(command, is_last=True)
    with pytest.raises(SystemExit, match="what another command made"):
        load("table2").main([*command, *changed.split()])


def test_random_cells_are_as_large_as_the_given_one(call, install, tmp_path):
    runs = install(Runs())
    (tmp_path / "cifar10-5000.npz").touch()  # whose images no run here reads
    words = f"--size small --out {tmp_path} --seeds 3 --genotype DARTS_V2"
    call([*words.split(), "--train", "epochs=1"], is_last=True)
    weights = []
    for _, config, genotype, _ in runs.calls:
        network = NetworkConfig(channels=config.network.channels, layers=5)
        weights.append(count_params(genotype, network))
    assert len(weights) == 6 and len(set(weights[:3])) == 1
    # a width more or less of these cells is 15 % to 30 % of its weights
    assert all(abs(number / weights[0] - 1) < 0.15 for number in weights[3:])
    assert len(set(weights[3:])) > 1


def test_a_run_interrupted_after_its_last_epoch_is_finished_by_the_next_piece(
    call, install, tmp_path
):
    runs, folder = install(Runs()), tmp_path / "random0"
    command = [*f"--out {tmp_path} --seeds 1".split(), *GIVEN]
    call([*command, "--epochs-now", "9"], is_last=False)
    run_retraining = runs.run_retraining

    def interrupted(*arguments, **options):
        record = {"epoch": 4, "test_error": 0.02, "seconds": 2}
        records.append(folder / "metrics.jsonl", record)
        raise Interrupted  # the summary is still that of four epochs

    runs.run_retraining = interrupted
    install(runs)
    call(command, is_last=False)
    assert not (tmp_path / "summary.json").exists()
    runs.run_retraining = run_retraining
    install(runs)
    call(command, is_last=True)
    record = json.loads((tmp_path / "table2.json").read_text())
    assert record["rows"][1][1] == "12.00"


def test_an_interrupted_piece_starts_no_further_run(call, install, tmp_path, capsys):
    runs = install(Runs(interrupt_after=2))
    command = ["--out", str(tmp_path), *GIVEN]
    call([*command, "--minutes", "60"], is_last=False)
    assert len(runs.calls) == 1
    assert "seed0: 2 of 5 epochs, test error 5.00 %" in capsys.readouterr().out
    call([*command, "--minutes", "0"], is_last=False)
    assert len(runs.calls) == 1


def test_compiling_alone_needs_a_given_cell(load, tmp_path, capsys):
    command = ["--size", "tiny", "--out", str(tmp_path), "--compile-only"]
    with pytest.raises(SystemExit) as stop:
        load("table2").main(command)
    assert stop.value.code == 2
    assert "--compile-only needs the cell" in capsys.readouterr().err


@pytest.mark.longest
def test_a_training_reads_the_program_that_was_compiled_before_it(tmp_path):
    """Weight steps are compiled once, by the first of the two processes."""
    words = "--size tiny --seeds 1 --genotype DARTS_V2 --epochs-now 1 --train"
    command = [*f"{words} network.layers=1 --out {tmp_path / 'out'}".split()]
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

    def compiled(*options):
        script = [sys.executable, str(ROOT / "experiments" / "table2.py")]
        subprocess.run([*script, *command, *options], env=os.environ | cache)
        names = (path.name for path in (tmp_path / "cache").iterdir())
        return {name for name in names if "train_steps" in name and "atime" not in name}

    first = compiled("--compile-only")
    assert len(first) == 1 and not (tmp_path / "out" / "seed0").exists()
    assert compiled() == first
    assert (tmp_path / "out" / "seed0").exists()


@pytest.mark.longest
def test_a_tiny_table_2_trains(call, tmp_path, monkeypatch, tiny_space):
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    words = f"--size tiny --seeds 1 --searches 1 --out {tmp_path} --epochs-now 5"
    search = "--set supernet.space=tiny --set epochs=4"
    train = "--train epochs=1 --train network.channels=4"
    command = f"{words} {search} {train}".split()
    call(command, is_last=False)  # the search and one training
    call(command, is_last=True)
    record = json.loads((tmp_path / "table2.json").read_text())

    def read(folder, name):
        return json.loads((tmp_path / folder / name).read_text())

    folders = ("seed0", "random0")
    errors = [read(folder, "summary.json")["test_error_last"] for folder in folders]
    means = [row[2]["mean"] for row in record["rows"][:2]]
    assert means == pytest.approx([100 * error for error in errors])
    assert read("seed0", "genotype.json") == read("search0", "genotype.json")
    summary = read("search0", "summary.json")
    assert read("seed0", "summary.json")["search_seconds"] == summary["seconds"]
